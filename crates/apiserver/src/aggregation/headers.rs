//! Headers of forwarded requests and answers.
//!
//! What belongs to one connection stays on it (RFC 9110, 7.6.1); what proves who the caller is stays here; who the
//! caller is, is said in the headers of the front-proxy protocol, which nobody else can set.

use ::authz::User;
use apimachinery::status::ApiError;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

/// Begin of the WebSocket protocol in which browsers carry a bearer token.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

fn belongs_to_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    let named = || {
        headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
    };
    [
        CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || named()
}

/// The protocol that a request or answer wants to change the connection to.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let wants = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| wants)
}

/// Puts the upgrade of `from` into what was made of it.
fn keep_upgrade(from: &HeaderMap, to: &mut HeaderMap) {
    if let Some(protocol) = upgrade(from) {
        to.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        to.insert(UPGRADE, protocol.clone());
    }
}

/// The headers of a request as they are sent on for `user`.
pub(super) fn request(headers: &HeaderMap, user: &User) -> Result<HeaderMap, ApiError> {
    let mut sent = HeaderMap::with_capacity(headers.len() + 8);
    for (name, value) in headers {
        let text = name.as_str();
        let ours = *name == AUTHORIZATION
            // The length is that of the body that is sent, the host the server's own.
            || *name == CONTENT_LENGTH
            || *name == HOST
            || text.starts_with("x-remote-")
            || text.starts_with("impersonate-");
        if ours || belongs_to_connection(headers, name) {
            continue;
        }
        if *name == SEC_WEBSOCKET_PROTOCOL {
            sent.extend(without_bearer(value).map(|value| (name.clone(), value)));
        } else {
            sent.append(name.clone(), value.clone());
        }
    }
    keep_upgrade(headers, &mut sent);
    identify(user, &mut sent)?;
    Ok(sent)
}

fn without_bearer(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let kept: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|protocol| !protocol.starts_with(BEARER_PROTOCOL))
        .collect();
    HeaderValue::from_str(&kept.join(", "))
        .ok()
        .filter(|value| !value.is_empty())
}

/// Says who asks.
pub(super) fn identify(user: &User, headers: &mut HeaderMap) -> Result<(), ApiError> {
    let wrong = |what: &str| {
        ApiError::bad_request(format!(
            "the {what} of the caller cannot be put into a header"
        ))
    };
    let value =
        |what: &str, text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(|_| wrong(what));
    headers.insert("x-remote-user", value("name", &user.name)?);
    if !user.uid.is_empty() {
        headers.insert("x-remote-uid", value("uid", &user.uid)?);
    }
    for group in &user.groups {
        headers.append("x-remote-group", value("group", group)?);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escape(key));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("extra"))?;
        for text in values {
            headers.append(name.clone(), value("extra", text)?);
        }
    }
    Ok(())
}

/// Percent-encodes what a header's name cannot have (RFC 9110, 5.6.2), and `%`.
fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The headers of an answer as the caller gets them.
pub(super) fn answer(headers: &HeaderMap, upgraded: bool) -> HeaderMap {
    let mut sent = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !belongs_to_connection(headers, name) {
            sent.append(name.clone(), value.clone());
        }
    }
    if upgraded {
        keep_upgrade(headers, &mut sent);
    }
    sent
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn map(list: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        let mut headers = HeaderMap::new();
        for (name, value) in list.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn joe() -> User {
        User {
            uid: "7".to_owned(),
            extra: BTreeMap::from([(
                "example.com/Team%".to_owned(),
                vec!["a".to_owned(), "b".to_owned()],
            )]),
            ..User::new("joe", &["ops", "dev"])
        }
    }

    #[test]
    fn who_asks_is_said_by_us_alone() {
        let sent = request(
            &map(&[
                ("x-remote-user", "root"),
                ("x-remote-group", "system:masters"),
                ("x-remote-extra-scopes", "all"),
                ("authorization", "Bearer secret"),
                ("impersonate-user", "root"),
                ("accept", "application/json"),
            ]),
            &joe(),
        )
        .unwrap();
        assert_eq!(sent["x-remote-user"], "joe");
        assert_eq!(sent["x-remote-uid"], "7");
        assert_eq!(
            sent.get_all("x-remote-group").iter().collect::<Vec<_>>(),
            ["ops", "dev"]
        );
        let extra: Vec<_> = sent
            .get_all("x-remote-extra-example.com%2fteam%25")
            .iter()
            .collect();
        assert_eq!(extra, ["a", "b"]);
        assert_eq!(sent["accept"], "application/json");
        for gone in ["authorization", "impersonate-user", "x-remote-extra-scopes"] {
            assert!(!sent.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn what_belongs_to_a_connection_stays_on_it() {
        let received = map(&[
            ("connection", "keep-alive, x-private"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-type", "text/plain"),
        ]);
        for sent in [
            request(&received, &joe()).unwrap(),
            answer(&received, false),
        ] {
            let names: Vec<_> = sent
                .keys()
                .filter(|n| !n.as_str().starts_with("x-remote"))
                .collect();
            assert_eq!(names, ["content-type"]);
        }
    }

    #[test]
    fn an_upgrade_is_passed_on_without_its_token() {
        let sent = request(
            &map(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
                (
                    "sec-websocket-protocol",
                    "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0",
                ),
            ]),
            &joe(),
        )
        .unwrap();
        assert_eq!(sent["connection"], "Upgrade");
        assert_eq!(sent["upgrade"], "websocket");
        assert_eq!(sent["sec-websocket-protocol"], "v5.channel.k8s.io");
    }

    #[test]
    fn names_that_would_break_the_protocol_are_refused() {
        let user = User::new("joe\r\nx-remote-group: system:masters", &[]);
        assert!(request(&HeaderMap::new(), &user).is_err());
    }
}
