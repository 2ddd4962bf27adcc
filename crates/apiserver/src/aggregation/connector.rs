//! TLS connections to one server, wherever it is at the moment.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::body::BoxError;
use crate::service_resolver::{Address, Unavailable, connect};

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
        match &*self.destination.load_full() {
            Ok(addresses) => connect(addresses, &self.name, &self.tls)
                .await
                .map(|stream| Link(TokioIo::new(stream))),
            Err(unavailable) => Err(unavailable.message.clone()),
        }
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
