//! Serves one file on loopback, with byte ranges (RFC 9110, section 14).

use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The server; it ends when it is dropped.
pub(super) struct Server {
    url: String,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Serves a file under its name.
    pub(super) async fn start(file: &Path) -> Result<Self> {
        let image: Bytes = std::fs::read(file)
            .with_context(|| format!("reading {} (`make images` builds it)", file.display()))?
            .into();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("listening on loopback")?;
        let address = listener.local_addr().context("finding the port")?;
        let url = format!("http://{address}/{name}");
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let image = image.clone();
                let answers = service_fn(move |request: Request<Incoming>| {
                    let image = image.clone();
                    async move { Ok::<_, Infallible>(answer(&request, &image)) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), answers),
                );
            }
        });
        Ok(Self { url, accepting })
    }

    /// Where the file is.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }
}

fn answer(request: &Request<Incoming>, image: &Bytes) -> Response<Full<Bytes>> {
    let (status, range, body) = match asked(request.headers(), image.len()) {
        None => (StatusCode::OK, None, image.clone()),
        Some(Some((from, to))) => (
            StatusCode::PARTIAL_CONTENT,
            Some(format!("bytes {from}-{}/{}", to - 1, image.len())),
            image.slice(from..to),
        ),
        Some(None) => (
            StatusCode::RANGE_NOT_SATISFIABLE,
            Some(format!("bytes */{}", image.len())),
            Bytes::new(),
        ),
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, body.len())
        .header(header::CONTENT_TYPE, "application/octet-stream");
    if let Some(range) = range {
        response = response.header(header::CONTENT_RANGE, range);
    }
    let body = match *request.method() {
        Method::HEAD => Bytes::new(),
        _ => body,
    };
    response
        .body(Full::new(body))
        .unwrap_or_else(|_| Response::new(Full::new(Bytes::new())))
}

/// `None`: everything. `Some(None)`: a range that is not there. Else from and to (exclusive).
fn asked(headers: &HeaderMap, length: usize) -> Option<Option<(usize, usize)>> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    // Several ranges, and other units, may be answered with everything.
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from, to) {
        ("", last) => (length.saturating_sub(last.parse().ok()?), length),
        (from, "") => (from.parse().ok()?, length),
        (from, to) => (
            from.parse().ok()?,
            to.parse::<usize>().ok()?.saturating_add(1),
        ),
    };
    Some((from < length && from < to).then_some((from, to.min(length))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranged(range: &str) -> Option<Option<(usize, usize)>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        asked(&headers, 10)
    }

    #[test]
    fn ranges() {
        assert_eq!(asked(&HeaderMap::new(), 10), None);
        assert_eq!(ranged("bytes=0-3"), Some(Some((0, 4))));
        assert_eq!(ranged("bytes=7-"), Some(Some((7, 10))));
        assert_eq!(ranged("bytes=-2"), Some(Some((8, 10))));
        assert_eq!(ranged("bytes=5-99"), Some(Some((5, 10))));
        assert_eq!(ranged("bytes=10-"), Some(None));
        assert_eq!(ranged("bytes=4-2"), Some(None));
        assert_eq!(ranged("bytes=0-1,4-5"), None);
        assert_eq!(ranged("lines=1-2"), None);
    }
}
