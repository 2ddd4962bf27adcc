//! The TLS accept loop: HTTP/1.1 with upgrades and HTTP/2 on one port.
//!
//! ```text
//! accept ─ bounded in all, and by peer ─► TCP ─► StallGuard ─► TLS, 10 s ─► HTTP/1.1: head in 30 s
//!                                                                        └► HTTP/2: streams, resets, windows bounded
//! ```
//! Every connection costs a bounded amount: heads, windows and send buffers have bounds, and a peer that takes nothing
//! of what is written to it is cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits;
use crate::server::ApiServer;

mod peers;
mod stall;

use self::peers::Peers;
use self::stall::{Patience, StallGuard};

/// The connection that a request came on.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who is at its other end.
    pub peer: SocketAddr,
    /// Whether it may wait for its peer for ever.
    pub patience: Patience,
    /// Cuts it.
    pub cut: CancellationToken,
}

/// How long connections may take to end after the shutdown began.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Pause after an accept that failed.
const ACCEPT_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// Serves connections until `shutdown`; then lets requests in flight end, for a bounded time.
///
/// # Errors
/// Only when the listener itself fails.
pub async fn serve(
    server: ApiServer,
    listener: TcpListener,
    tls: ServerConfig,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let slots = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    let peers = Peers::default();
    let connections = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot.map_err(io::Error::other)?,
            () = shutdown.cancelled() => break,
        };
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) if is_transient(&e) => {
                    tracing::warn!(error = %e, "accepting a connection");
                    // Out of descriptors: the connection stays in the queue, and the next attempt fails at once.
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
                Err(e) => return Err(e),
            },
            () = shutdown.cancelled() => break,
        };
        let Some(place) = peers.enter(address.ip()) else {
            tracing::debug!(%address, "a peer has too many connections; this one is closed");
            continue;
        };
        let (server, acceptor, shutdown) = (server.clone(), acceptor.clone(), shutdown.clone());
        connections.spawn(async move {
            let _places = (slot, place);
            if let Err(e) = connection(server, acceptor, stream, address, shutdown).await {
                tracing::debug!(error = %e, "a connection ended early");
            }
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait())
        .await
        .is_err()
    {
        tracing::info!(left = connections.len(), "connections are cut at shutdown");
    }
    Ok(())
}

/// Out of descriptors, or a connection that died in the queue: the listener itself is well.
fn is_transient(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    ) || matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

async fn connection(
    server: ApiServer,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let patience = Patience::default();
    let stream = StallGuard::new(stream, patience.clone());
    let stream = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = server.inner.peers.identify(chain)?;
    let cut = CancellationToken::new();
    let link = Arc::new(Link {
        peer: address,
        patience,
        cut: cut.clone(),
    });
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        let server = server.clone();
        // The transport alone says who is at the other end.
        request.extensions_mut().remove::<::authz::User>();
        let extensions = request.extensions_mut();
        extensions.insert(peer.clone());
        extensions.insert(Arc::clone(&link));
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            Ok::<_, std::convert::Infallible>(server.handle(request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_TIMEOUT)
        .max_buf_size(limits::MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_pending_accept_reset_streams(limits::MAX_RESET_STREAMS)
        .max_header_list_size(u32::try_from(limits::MAX_HEADERS).unwrap_or(u32::MAX))
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_send_buf_size(limits::SEND_BUFFER)
        .keep_alive_interval(std::time::Duration::from_secs(30))
        .keep_alive_timeout(std::time::Duration::from_secs(20));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        done = connection.as_mut() => done,
        () = cut.cancelled() => Err("its client does not read".into()),
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
