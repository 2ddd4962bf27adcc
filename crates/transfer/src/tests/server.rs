//! An HTTP/1.1 server on loopback whose answers a test decides.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub type Body = BoxBody<Bytes, std::io::Error>;

/// What a client asked for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// How many requests came before.
    pub number: usize,
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub token: Option<String>,
}

impl Ask {
    /// The bytes that are meant, of `length`.
    pub fn bounds(&self, length: usize) -> (usize, usize) {
        let Some(range) = self
            .range
            .as_deref()
            .and_then(|range| range.strip_prefix("bytes="))
        else {
            return (0, length);
        };
        let (start, last) = range.split_once('-').unwrap();
        (
            start.parse().unwrap(),
            last.parse()
                .map_or(length, |last: usize| (last + 1).min(length)),
        )
    }
}

/// Stops with its last reference.
pub struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Ask>>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Arc<dyn Fn(Ask) -> Response<Body> + Send + Sync>;

impl Server {
    /// Serves plain HTTP.
    pub async fn start(answer: impl Fn(Ask) -> Response<Body> + Send + Sync + 'static) -> Self {
        let (listener, port) = listen().await;
        let asked: Arc<Mutex<Vec<Ask>>> = Arc::default();
        let (seen, answer): (_, Answer) = (asked.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, seen.clone(), answer.clone()));
            }
        });
        Self {
            address: format!("http://127.0.0.1:{port}"),
            asked,
            task: task.abort_handle(),
        }
    }

    /// Serves HTTPS as `localhost`; returns the authority's certificate too.
    pub async fn start_tls(
        answer: impl Fn(Ask) -> Response<Body> + Send + Sync + 'static,
    ) -> (Self, String) {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let private =
            rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (listener, port) = listen().await;
        let asked: Arc<Mutex<Vec<Ask>>> = Arc::default();
        let (seen, answer): (_, Answer) = (asked.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), answer.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, seen, answer).await;
                    }
                });
            }
        });
        let address = format!("https://localhost:{port}");
        (
            Self {
                address,
                asked,
                task: task.abort_handle(),
            },
            key.cert.pem(),
        )
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Ask> {
        self.asked.lock().unwrap().clone()
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn connection<S>(stream: S, seen: Arc<Mutex<Vec<Ask>>>, answer: Answer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let ask = {
            let mut seen = seen.lock().unwrap();
            let text = |name: &str| header_text(request.headers(), name);
            let ask = Ask {
                number: seen.len(),
                path: request.uri().path().to_owned(),
                range: text("range"),
                if_range: text("if-range"),
                token: text("x-token"),
            };
            seen.push(ask.clone());
            ask
        };
        let response = answer(ask);
        async move { Ok::<_, Infallible>(response) }
    });
    // A body that breaks ends the connection with an error: that is the point.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// Answers like a file server; `send` decides how the bytes are sent.
pub fn file(
    ask: &Ask,
    content: &[u8],
    ranges: bool,
    send: impl Fn(Bytes) -> Body,
) -> Response<Body> {
    let (start, end) = if ranges {
        ask.bounds(content.len())
    } else {
        (0, content.len())
    };
    let partial = ranges && ask.range.is_some();
    if partial && start >= content.len() {
        let mut answer = Response::new(body(Bytes::new()));
        *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        return answer;
    }
    let part = Bytes::copy_from_slice(&content[start..end]);
    let mut answer = Response::builder()
        .header(header::CONTENT_LENGTH, part.len())
        .header(header::ETAG, "\"v1\"");
    if partial {
        let range = format!("bytes {start}-{}/{}", end - 1, content.len());
        answer = answer
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range);
    }
    answer.body(send(part)).unwrap()
}

/// All at once.
pub fn body(part: Bytes) -> Body {
    Full::new(part).map_err(|never| match never {}).boxed()
}

/// `keep` bytes, then the connection breaks (unless that was all).
pub fn broken(part: &Bytes, keep: usize) -> Body {
    let broke = || std::io::Error::other("told to break");
    let whole = part.len() <= keep;
    let sent = stream::iter([Ok(Frame::data(part.slice(..keep.min(part.len()))))]);
    // The bytes sent so far reach the client before the connection is reset.
    let end = stream::once(async move {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        Err(broke())
    });
    match whole {
        true => BodyExt::boxed(StreamBody::new(sent)),
        false => BodyExt::boxed(StreamBody::new(sent.chain(end))),
    }
}

/// Nothing, for ever.
pub fn silent(_: Bytes) -> Body {
    BodyExt::boxed(StreamBody::new(stream::pending()))
}

/// A byte every 50 ms.
pub fn dripping(part: Bytes) -> Body {
    let ticks = stream::unfold(
        (
            part,
            tokio::time::interval(std::time::Duration::from_millis(50)),
        ),
        |(mut part, mut ticks)| async move {
            ticks.tick().await;
            if part.is_empty() {
                return None;
            }
            let byte = part.split_to(1);
            Some((Ok(Frame::data(byte)), (part, ticks)))
        },
    );
    BodyExt::boxed(StreamBody::new(Box::pin(ticks)))
}

/// Bytes that do not repeat and do not compress much.
pub fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect();
    out.shrink_to_fit();
    out
}
