//! HTTPS to webhooks: HTTP/1.1, connections kept for the next call.
//!
//! ```text
//! post ─► an idle connection of (authority, caBundle), else connect + TLS ─► POST ─► answer, bounded ─► idle
//!                                                            └─ of a Service: `crate::service_resolver`
//! ```
//! The whole exchange has the webhook's timeout. An idle connection that the peer has closed is no failure: the
//! request goes on a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::config::{Endpoint, Webhook};
use crate::limits;
use crate::registry::Registry;
use crate::service_resolver;
use crate::tls_client;

/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("Post {0:?}: context deadline exceeded")]
    Timeout(String),
    #[error("Post {url:?}: {reason}")]
    Failed { url: String, reason: String },
    #[error("an error on the server ({0}) has prevented the request from succeeding")]
    Code(u16),
}

type Connection = SendRequest<Full<Bytes>>;

/// Where a connection leads and what it trusts.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    authority: String,
    /// The authority names a Service, not a host.
    service: bool,
    ca: Vec<u8>,
}

/// Idle connections that are kept for one webhook.
const IDLE: usize = 8;

/// Idle connections by where they lead and what they trust.
#[derive(Default)]
pub(crate) struct Client {
    idle: Mutex<HashMap<Key, Vec<Connection>>>,
}

impl Client {
    /// Posts a review and gives the answer's body.
    pub(super) async fn post(
        &self,
        registry: &Registry,
        webhook: &Webhook,
        body: Vec<u8>,
    ) -> Result<Bytes, ClientError> {
        let Webhook { endpoint, ca, .. } = webhook;
        self.post_to(registry, endpoint, ca, webhook.timeout, body)
            .await
    }

    /// Posts a review to an endpoint that shows a certificate of `ca` (PEM; empty for the system's roots).
    pub(crate) async fn post_to(
        &self,
        registry: &Registry,
        endpoint: &Endpoint,
        ca: &[u8],
        timeout: Duration,
        body: Vec<u8>,
    ) -> Result<Bytes, ClientError> {
        let url = endpoint.url();
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}timeout={}s", timeout.as_secs());
        let exchange = self.exchange(registry, endpoint, ca, &url, Bytes::from(body));
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout(url)),
        }
    }

    async fn exchange(
        &self,
        registry: &Registry,
        endpoint: &Endpoint,
        ca: &[u8],
        url: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let failed = |reason: String| ClientError::Failed {
            url: url.to_owned(),
            reason,
        };
        let uri: Uri = url.parse().map_err(|e| failed(format!("{e}")))?;
        let authority = uri
            .authority()
            .ok_or_else(|| failed("the URL names no host".to_owned()))?
            .as_str()
            .to_owned();
        let key = Key {
            authority: authority.clone(),
            service: matches!(endpoint, Endpoint::Service(..)),
            ca: ca.to_vec(),
        };
        let request = || {
            Request::post(uri.path_and_query().map_or("/", |p| p.as_str()))
                .header(header::HOST, &authority)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json")
                .header(header::USER_AGENT, "kube-apiserver-admission")
                .body(Full::new(body.clone()))
                .map_err(|e| failed(e.to_string()))
        };
        let mut reused = self.take(&key);
        let response = loop {
            let (mut connection, was_idle) = match reused.take() {
                Some(connection) => (connection, true),
                None => {
                    let connected = connect(registry, endpoint, &uri, ca).await;
                    (connected.map_err(failed)?, false)
                }
            };
            match connection.send_request(request()?).await {
                Ok(response) => break (connection, response),
                Err(_) if was_idle => {}
                Err(e) => return Err(failed(e.to_string())),
            }
        };
        let (connection, response) = response;
        let code = response.status();
        let bytes = Limited::new(response.into_body(), limits::MAX_BODY)
            .collect()
            .await
            .map_err(|e| failed(e.to_string()))?
            .to_bytes();
        self.keep(key, connection);
        if code.is_success() {
            Ok(bytes)
        } else {
            Err(ClientError::Code(code.as_u16()))
        }
    }

    fn take(&self, key: &Key) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let list = idle.get_mut(key)?;
        while let Some(connection) = list.pop() {
            if !connection.is_closed() && connection.is_ready() {
                return Some(connection);
            }
        }
        idle.remove(key);
        None
    }

    fn keep(&self, key: Key, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of webhooks that are gone close some day and are dropped here.
        idle.retain(|_, list| {
            list.retain(|c| !c.is_closed());
            !list.is_empty()
        });
        let list = idle.entry(key).or_default();
        if list.len() < IDLE {
            list.push(connection);
        }
    }
}

async fn connect(
    registry: &Registry,
    endpoint: &Endpoint,
    uri: &Uri,
    ca: &[u8],
) -> Result<Connection, String> {
    let config = Arc::new(tls_client::config(ca)?);
    let stream = match endpoint {
        Endpoint::Service(reference, _) => {
            let found = service_resolver::locate(registry, reference).await;
            let addresses = found
                .map_err(|e| e.to_string())?
                .map_err(|unavailable| reference.dial_error(&unavailable))?;
            service_resolver::connect(&addresses, &reference.host(), &config).await?
        }
        Endpoint::Url(_) => {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let port = uri.port_u16().unwrap_or(443);
            let name = rustls::pki_types::ServerName::try_from(host.to_owned())
                .map_err(|e| format!("{host:?}: {e}"))?;
            let stream = TcpStream::connect((host, port))
                .await
                .map_err(|e| format!("dial tcp {host}:{port}: {e}"))?;
            tokio_rustls::TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(|e| format!("tls: {e}"))?
        }
    };
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "a connection to a webhook ended");
        }
    });
    Ok(sender)
}
