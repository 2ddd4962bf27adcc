//! TLS connections to one server, wherever it is at the moment.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::resolve::{Address, Unavailable, is_allowed};
use crate::body::BoxError;
use crate::https;

/// Time for one address: connecting and the TLS handshake.
const PER_ADDRESS: Duration = Duration::from_secs(5);
/// Addresses tried for one request.
const ATTEMPTS: usize = 3;

/// Where a server is, or why not.
pub(super) type Destination = ArcSwap<Result<Vec<Address>, Unavailable>>;

/// Makes connections for the pool; the URI's host is the server's name, not where it is.
#[derive(Clone)]
pub(super) struct Connector {
    pub destination: Arc<Destination>,
    /// Name in the server's certificate.
    pub name: Arc<str>,
    pub tls: Arc<ClientConfig>,
}

impl tower::Service<Uri> for Connector {
    type Response = Link;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect().await.map_err(BoxError::from) })
    }
}

impl Connector {
    async fn connect(&self) -> Result<Link, String> {
        let destination = self.destination.load_full();
        let addresses = match &*destination {
            Ok(addresses) => addresses,
            Err(unavailable) => return Err(unavailable.message.clone()),
        };
        let mut failed = String::from("there is no address");
        let start = rand::random_range(0..addresses.len().max(1));
        let turned = addresses.iter().cycle().skip(start);
        for address in turned.take(addresses.len().min(ATTEMPTS)) {
            match tokio::time::timeout(PER_ADDRESS, self.connect_to(address)).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(why)) => failed = why,
                Err(_) => {
                    failed = format!(
                        "connecting to {}:{}: no answer within {PER_ADDRESS:?}",
                        address.host, address.port
                    );
                }
            }
        }
        Err(failed)
    }

    async fn connect_to(&self, address: &Address) -> Result<Link, String> {
        let Address { host, port } = address;
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port))
            .await
            .map_err(|e| format!("finding {host:?}: {e}"))?
            .collect();
        let allowed: Vec<SocketAddr> = found
            .iter()
            .copied()
            .filter(|address| is_allowed(address.ip()))
            .collect();
        if allowed.is_empty() {
            return Err(format!(
                "{host:?} leads to {found:?}, where no server of a cluster can be"
            ));
        }
        let stream = https::connect(allowed.as_slice(), &self.name, Arc::clone(&self.tls)).await?;
        Ok(Link(TokioIo::new(stream)))
    }
}

/// A connection as the pool wants it.
pub(super) struct Link(TokioIo<TlsStream<TcpStream>>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
