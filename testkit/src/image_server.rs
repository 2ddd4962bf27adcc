//! An HTTP server of one file, on loopback, that can misbehave.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One piece of a body.
const PIECE: usize = 64 << 10;

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// As it should, ranges included.
    Well,
    /// 404 for everything.
    NotFound,
    /// The file ends after so many bytes, and the server believes it.
    Short(usize),
    /// The connection breaks at this offset, always.
    Broken(usize),
    /// At most so many bytes per second and connection.
    Slow(usize),
}

struct Shared {
    file: Bytes,
    serving: Mutex<Serving>,
    requests: AtomicU64,
}

/// The server; it ends when it is dropped.
pub struct ImageServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ImageServer {
    /// Serves a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn start(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        Self::of(bytes.into()).await
    }

    /// Serves the tiny guest.
    ///
    /// # Errors
    /// When there is no image.
    pub async fn tiny() -> Result<Self> {
        Self::start(&crate::tiny_image()?).await
    }

    /// Serves bytes.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn of(file: Bytes) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("listening")?;
        let address = listener.local_addr().context("finding the port")?;
        let shared = Arc::new(Shared {
            file,
            serving: Mutex::new(Serving::Well),
            requests: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/image", self.address)
    }

    /// Behaves differently from now on.
    pub fn serve(&self, serving: Serving) {
        if let Ok(mut now) = self.shared.serving.lock() {
            *now = serving;
        }
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((connection, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let answer = answer(&shared, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A connection that breaks is the other side's affair, or what was asked for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), answer)
                .await;
        });
    }
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Body> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let serving = shared.serving.lock().map_or(Serving::Well, |s| *s);
    let file = match serving {
        Serving::NotFound => return empty(StatusCode::NOT_FOUND),
        Serving::Short(length) => shared.file.slice(..length.min(shared.file.len())),
        _ => shared.file.clone(),
    };
    let length = file.len();
    let (status, first, end) = match range(request.headers(), length) {
        None => (StatusCode::OK, 0, length),
        Some(Ok((first, end))) => (StatusCode::PARTIAL_CONTENT, first, end),
        Some(Err(())) => return empty(StatusCode::RANGE_NOT_SATISFIABLE),
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, format!("\"{length}\""))
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, end - first);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = end.saturating_sub(1);
        response = response.header(
            header::CONTENT_RANGE,
            format!("bytes {first}-{last}/{length}"),
        );
    }
    let body = if request.method() == Method::HEAD {
        empty_body()
    } else {
        body(file, first, end, serving)
    };
    response.body(body).unwrap_or_default()
}

/// `bytes=A-B`, `bytes=A-` and `bytes=-N` of RFC 9110, section 14.
fn range(headers: &HeaderMap, length: usize) -> Option<Result<(usize, usize), ()>> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, length.min(last.saturating_add(1))),
        (Ok(first), Err(_)) => (first, length),
        (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length),
        (Err(_), Err(_)) => return None,
    };
    Some(if first < end {
        Ok((first, end))
    } else {
        Err(())
    })
}

fn body(file: Bytes, first: usize, end: usize, serving: Serving) -> Body {
    let pieces = stream::unfold(Some(first), move |at| {
        let file = file.clone();
        async move {
            let at = at.filter(|at| *at < end)?;
            let mut next = end.min(at + PIECE);
            match serving {
                Serving::Broken(limit) if at >= limit => {
                    let broken = std::io::Error::other("broken off, as it was asked for");
                    return Some((Err(broken), None));
                }
                Serving::Broken(limit) => next = next.min(limit),
                Serving::Slow(per_second) => {
                    next = next.min(at + per_second.div_ceil(10).max(1));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Serving::Well | Serving::NotFound | Serving::Short(_) => {}
            }
            Some((Ok(Frame::data(file.slice(at..next))), Some(next)))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty_body());
    *response.status_mut() = status;
    response
}
