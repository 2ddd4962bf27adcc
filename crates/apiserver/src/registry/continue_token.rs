//! Tokens that continue a list: at the revision it began with or, once that is gone and the client wants so, with
//! newer state.

use apimachinery::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store::Revision;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

/// In place of a revision: whatever is newest.
const NEWEST: i64 = -1;

/// A token that goes on behind `key`, a key below `prefix`; without revision, with the newest state.
pub(super) fn encode(revision: Option<Revision>, prefix: &str, key: &str) -> String {
    let token = Token {
        v: VERSION.to_owned(),
        rv: revision.map_or(NEWEST, |at| i64::try_from(at.0).unwrap_or(NEWEST)),
        start: key.strip_prefix(prefix).unwrap_or(key).to_owned(),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// The revision, unless the newest is wanted, and the key to go on behind.
pub(super) fn decode(text: &str, prefix: &str) -> Result<(Option<Revision>, String), ApiError> {
    let invalid = |detail: &str| {
        ApiError::bad_request(format!(
            "invalid continue token: continue key is not valid: {detail}"
        ))
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|e| invalid(&e.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|e| invalid(&e.to_string()))?;
    if token.v != VERSION {
        let detail = format!(
            "server does not recognize this encoded version {:?}",
            token.v
        );
        return Err(invalid(&detail));
    }
    let is_clean = |part: &str| !["", ".", ".."].contains(&part);
    if !token.start.split('/').all(is_clean) {
        return Err(invalid(&token.start));
    }
    let revision = match u64::try_from(token.rv) {
        Err(_) if token.rv == NEWEST => None,
        Ok(revision) if revision > 0 => Some(Revision(revision)),
        _ => {
            let detail = format!("incorrect encoded start resourceVersion (version {VERSION})");
            return Err(invalid(&detail));
        }
    };
    Ok((revision, format!("{prefix}{}", token.start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Result<(Option<Revision>, String), String> {
        let token = URL_SAFE_NO_PAD.encode(text);
        decode(&token, "/things/").map_err(|e| e.to_string())
    }

    #[test]
    fn a_token_leads_back_to_where_the_page_ended() {
        for at in [Some(Revision(5)), None] {
            let token = encode(at, "/things/", "/things/ns/a");
            assert_eq!(
                decode(&token, "/things/").ok(),
                Some((at, "/things/ns/a".to_owned()))
            );
        }
    }

    #[test]
    fn a_token_of_nobodys_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"v":"meta.k8s.io/v2","rv":5,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":-2,"start":"a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":5,"start":""}"#,
            r#"{"v":"meta.k8s.io/v1","rv":5,"start":"../secrets/a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":5,"start":"a//b"}"#,
        ] {
            let error = token(text).unwrap_err();
            assert!(error.contains("invalid continue token"), "{text}: {error}");
        }
        assert!(decode("no base64!", "/things/").is_err());
    }
}
