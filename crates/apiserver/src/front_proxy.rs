//! The front-proxy protocol: who may speak for others, and how that is published.
//!
//! ```text
//! aggregating server ── TLS, certificate of the front-proxy CA ──► this server
//!                       X-Remote-User, -Group, -Uid, -Extra-*        believed from that peer alone
//! ```
//! A server that others aggregate to, and the servers that this one aggregates, learn whom to believe from the
//! ConfigMap `extension-apiserver-authentication` in `kube-system`, which every server keeps (as upstream).
//!
//! The CA must be one of its own: whoever has a certificate of it can be anybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::authz::User;
use apimachinery::status::ApiError;
use http::HeaderMap;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use serde_json::{Map, Value, json};
use store::{StoreError, WatchItem};
use tokio_util::sync::CancellationToken;

use crate::authn::{CertificateUser, authenticated};
use crate::decode::Decoded;
use crate::registry::{Call, Reader, Registry, WriteOptions, create, update_with};
use crate::tls_client;

/// Who may speak for others, and in which headers.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    /// PEM certificates of the CA that vouches for proxies.
    pub ca_pem: String,
    /// Common names of proxies; empty for all that the CA vouches for.
    pub allowed_names: Vec<String>,
    /// Headers that name the user; the first that is there counts.
    pub username_headers: Vec<String>,
    /// Headers that give the user's uid.
    pub uid_headers: Vec<String>,
    /// Headers that name groups; all count.
    pub group_headers: Vec<String>,
    /// Begins of headers of further facts; the rest of the name, percent-decoded, is the key.
    pub extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// With the usual headers.
    #[must_use]
    pub fn new(ca_pem: impl Into<String>, allowed_names: Vec<String>) -> Self {
        let one = |name: &str| vec![name.to_owned()];
        FrontProxy {
            ca_pem: ca_pem.into(),
            allowed_names,
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }

    /// Whom a proxy speaks for; `None` when it says nothing, and so speaks for itself.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Result<Option<User>, ApiError> {
        let text = |value: &http::HeaderValue| {
            String::from_utf8(value.as_bytes().to_vec()).map_err(|_| ApiError::unauthorized())
        };
        let first = |names: &[String]| match names.iter().find_map(|name| headers.get(name)) {
            Some(value) => text(value),
            None => Ok(String::new()),
        };
        let name = first(&self.username_headers)?;
        if name.is_empty() {
            return Ok(None);
        }
        let groups = self
            .group_headers
            .iter()
            .flat_map(|name| headers.get_all(name))
            .map(text)
            .collect::<Result<_, _>>()?;
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for (name, value) in headers {
                if let Some(key) = name.as_str().strip_prefix(&prefix) {
                    let key = crate::request::percent_decode(key).to_lowercase();
                    extra.entry(key).or_default().push(text(value)?);
                }
            }
        }
        Ok(Some(User {
            name,
            uid: first(&self.uid_headers)?,
            groups,
            extra,
        }))
    }

    fn config_map(&self, client_ca: Option<&str>) -> Map<String, Value> {
        let list = |names: &[String]| Value::String(json!(names).to_string());
        let mut data = Map::new();
        if let Some(pem) = client_ca {
            data.insert("client-ca-file".to_owned(), json!(pem));
        }
        for (key, value) in [
            ("requestheader-client-ca-file", json!(self.ca_pem)),
            ("requestheader-allowed-names", list(&self.allowed_names)),
            (
                "requestheader-username-headers",
                list(&self.username_headers),
            ),
            ("requestheader-uid-headers", list(&self.uid_headers)),
            ("requestheader-group-headers", list(&self.group_headers)),
            (
                "requestheader-extra-headers-prefix",
                list(&self.extra_prefixes),
            ),
        ] {
            data.insert(key.to_owned(), value);
        }
        data
    }
}

/// What a connection's certificate says of the peer.
#[derive(Clone, Default)]
pub(crate) struct Peer {
    pub user: Option<CertificateUser>,
    pub proxy: Option<SpeaksForOthers>,
}

/// Marks requests of a peer that may speak for others. Only connections set it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpeaksForOthers;

/// Tells peers apart by the CA that vouches for them.
#[derive(Default)]
pub(crate) struct PeerTrust {
    /// Without it, everybody whom TLS accepted and who is no proxy is a user.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    proxies: Option<(Arc<dyn ClientCertVerifier>, Vec<String>)>,
}

impl PeerTrust {
    pub(crate) fn new(client_ca: Option<&str>, proxy: Option<&FrontProxy>) -> Result<Self, String> {
        let verifier = |pem: &str, what: &str| {
            tls_client::client_verifier(pem).map_err(|e| format!("the {what} CA: {e}"))
        };
        Ok(PeerTrust {
            clients: client_ca.map(|pem| verifier(pem, "client")).transpose()?,
            proxies: proxy
                .map(|proxy| {
                    let verifier = verifier(&proxy.ca_pem, "front-proxy")?;
                    Ok::<_, String>((verifier, proxy.allowed_names.clone()))
                })
                .transpose()?,
        })
    }

    /// Who shows this chain, which TLS has accepted for one of the CAs.
    pub(crate) fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<Peer, pki::PkiError> {
        let Some((end, intermediates)) = chain.split_first() else {
            return Ok(Peer::default());
        };
        let vouches = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier
                .verify_client_cert(end, intermediates, UnixTime::now())
                .is_ok()
        };
        let (name, groups) = pki::peer_identity(end)?;
        let by_proxy_ca = self
            .proxies
            .as_ref()
            .filter(|(verifier, _)| vouches(verifier));
        let proxy = by_proxy_ca
            .filter(|(_, allowed)| allowed.is_empty() || allowed.contains(&name))
            .map(|_| SpeaksForOthers);
        let is_user = match &self.clients {
            // One CA needs no telling apart.
            _ if self.proxies.is_none() => true,
            Some(verifier) => vouches(verifier),
            None => by_proxy_ca.is_none(),
        };
        let user = is_user.then(|| {
            CertificateUser(Arc::new(authenticated(User {
                name,
                groups,
                ..User::default()
            })))
        });
        Ok(Peer { user, proxy })
    }
}

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// Pause after the store failed.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Keeps the ConfigMap from which other servers learn whom to believe, until `stop`.
pub(crate) fn publish(
    registry: Arc<Registry>,
    client_ca: Option<String>,
    proxy: FrontProxy,
    stop: CancellationToken,
) {
    let keep = async move {
        let key = format!("/core/configmaps/{NAMESPACE}/{NAME}");
        loop {
            let kept = match registry.store.revision().await {
                Ok(at) => ensure(&registry, client_ca.as_deref(), &proxy)
                    .await
                    .map(|()| at),
                Err(StoreError::Closed) => return,
                Err(e) => Err(crate::registry::store_error(e)),
            };
            let watched = match kept {
                Ok(at) => registry.store.watch(&key, at).await,
                Err(e) => {
                    tracing::warn!(error = %e, "keeping the ConfigMap {NAMESPACE}/{NAME}");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            let mut events = match watched {
                Ok(events) => events,
                Err(StoreError::Closed) => return,
                Err(_) => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            loop {
                match events.next().await {
                    Ok(WatchItem::Progress(_)) => {}
                    Ok(WatchItem::Event(event)) => {
                        // Our own writes come round once and change nothing.
                        tracing::debug!(revision = event.revision.0, "{NAMESPACE}/{NAME} changed");
                        break;
                    }
                    Err(store::WatchError::Closed) => return,
                    Err(_) => break,
                }
            }
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(keep));
}

async fn ensure(
    registry: &Arc<Registry>,
    client_ca: Option<&str>,
    proxy: &FrontProxy,
) -> Result<(), ApiError> {
    let reader = Reader::new(Arc::clone(registry));
    let Some(kind) = reader.kind("", "configmaps") else {
        return Ok(());
    };
    let user = User::new("system:apiserver", &["system:masters"]);
    let options = WriteOptions {
        manager: "kube-apiserver".to_owned(),
        ..WriteOptions::default()
    };
    let wanted = proxy.config_map(client_ca);
    if reader
        .get("", "configmaps", NAMESPACE, NAME)
        .await?
        .is_none()
    {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": wanted});
        let call = Call::new(registry, &kind, (NAMESPACE, ""), "", &user, options).in_background();
        let duplicates = Vec::new();
        return match create(&call, Decoded { value, duplicates }).await {
            Err(e) if !e.is_already_exists() => Err(e),
            _ => Ok(()),
        };
    }
    let call = Call::new(registry, &kind, (NAMESPACE, NAME), "", &user, options).in_background();
    update_with(&call, |object| {
        let mut data = wanted.clone();
        // Servers of one control plane may have CAs of their own: all are believed.
        for key in ["client-ca-file", "requestheader-client-ca-file"] {
            if let Some(there) = object["data"][key].as_str()
                && let Some(own) = data.get(key).and_then(Value::as_str)
            {
                data.insert(key.to_owned(), json!(together(there, own)));
            }
        }
        object["data"] = Value::Object(data);
        Ok(())
    })
    .await
    .map(|_| ())
}

/// Most certificates that are kept together.
const MAX_CERTIFICATES: usize = 100;

/// The certificates of two PEM texts, each once, those of `there` first.
fn together(there: &str, own: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let mut blocks: Vec<&str> = Vec::new();
    for text in [there, own] {
        for block in text.split_inclusive(END) {
            let block = block.trim();
            if block.ends_with(END) && !blocks.contains(&block) {
                blocks.push(block);
            }
        }
    }
    // The own ones are last, and stay.
    let excess = blocks.len().saturating_sub(MAX_CERTIFICATES);
    let mut text = blocks[excess..].join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    #[test]
    fn headers_name_the_user() {
        let proxy = FrontProxy::new("", Vec::new());
        let user = proxy
            .user(&headers(&[
                ("x-remote-user", "joe"),
                ("x-remote-uid", "7"),
                ("x-remote-group", "ops"),
                ("x-remote-group", "dev"),
                ("x-remote-extra-example.com%2fteam", "a"),
            ]))
            .unwrap()
            .unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("joe", "7"));
        assert_eq!(user.groups, ["ops", "dev"]);
        assert_eq!(user.extra["example.com/team"], ["a"]);
        // Groups alone name nobody.
        let nobody = proxy.user(&headers(&[("x-remote-group", "system:masters")]));
        assert!(nobody.unwrap().is_none());
    }

    #[test]
    fn certificates_are_kept_together_once() {
        let pem = |name: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n")
        };
        let (a, b) = (pem("a"), pem("b"));
        assert_eq!(together(&a, &b), format!("{a}{b}"));
        assert_eq!(together(&format!("{a}{b}"), &b), format!("{a}{b}"));
        assert_eq!(together("nonsense", &a), a);
    }
}
