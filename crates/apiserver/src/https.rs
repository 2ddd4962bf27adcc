//! HTTPS to servers that an administrator named: identity providers and aggregated API servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// Connects, and checks that the server is `name`.
pub(crate) async fn connect(
    address: impl tokio::net::ToSocketAddrs + std::fmt::Debug,
    name: &str,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let server =
        ServerName::try_from(name.to_owned()).map_err(|e| format!("{name:?} is no name: {e}"))?;
    let shown = format!("{address:?}");
    let stream = TcpStream::connect(address)
        .await
        .map_err(|e| format!("connecting to {shown}: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    TlsConnector::from(tls)
        .connect(server, stream)
        .await
        .map_err(|e| format!("TLS with {name}: {e}"))
}

/// Gets a small JSON document: at most `limit` bytes, all within `bound`, without redirects.
pub(crate) async fn get(
    uri: &Uri,
    tls: Arc<ClientConfig>,
    limit: usize,
    bound: Duration,
) -> Result<Bytes, String> {
    match tokio::time::timeout(bound, exchange(uri, tls, limit)).await {
        Ok(done) => done.map_err(|e| format!("GET {uri}: {e}")),
        Err(_) => Err(format!("GET {uri}: no answer within {bound:?}")),
    }
}

async fn exchange(uri: &Uri, tls: Arc<ClientConfig>, limit: usize) -> Result<Bytes, String> {
    if uri.scheme_str() != Some("https") {
        return Err("only https is spoken".to_owned());
    }
    let authority = uri.authority().ok_or("no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = connect((host, authority.port_u16().unwrap_or(443)), host, tls).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(uri.path_and_query().map_or("/", |p| p.as_str()))
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|e| e.to_string())?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("the server answered {status}"));
    }
    let body = Limited::new(response.into_body(), limit).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => {
            Err(format!("the answer is larger than {limit} bytes"))
        }
        Err(e) => Err(e.to_string()),
    }
}
