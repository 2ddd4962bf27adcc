//! Values as HTTP answers: JSON or YAML, tables and partial objects, warnings, gzip.

use std::io::Write as _;

use apimachinery::status::ApiError;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::body::{Pieces, ResponseBody};
use crate::limits;
use crate::negotiate::{Accept, Format};
use crate::subresource::Response;

/// Writes a value in the agreed format.
pub(crate) fn value(status: StatusCode, value: &Value, accept: Accept) -> Response {
    let (data, media) = match accept.format {
        Format::Json if accept.pretty => (serde_json::to_vec_pretty(value), "application/json"),
        Format::Json => (serde_json::to_vec(value), "application/json"),
        Format::Yaml => (
            Ok(serde_saphyr::to_string(value)
                .unwrap_or_default()
                .into_bytes()),
            "application/yaml",
        ),
    };
    match data {
        Ok(data) => bytes(status, data.into(), media, accept),
        Err(e) => error(
            &ApiError::internal(format!("encoding the answer: {e}")),
            accept,
        ),
    }
}

/// Writes compact JSON.
pub(crate) fn json(status: StatusCode, data: Bytes, accept: Accept) -> Response {
    bytes(status, data, "application/json", accept)
}

/// Writes bytes of a known media type, compressed when that pays.
pub(crate) fn bytes(status: StatusCode, data: Bytes, media: &str, accept: Accept) -> Response {
    let zipped = if accept.gzip && data.len() >= limits::GZIP_THRESHOLD {
        gzip(&data)
    } else {
        None
    };
    let encoded = zipped.is_some();
    let mut response = http::Response::new(ResponseBody::from(zipped.unwrap_or(data)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(media) = HeaderValue::from_str(media) {
        headers.insert(header::CONTENT_TYPE, media);
    }
    if encoded {
        compressed(&mut response);
    }
    response
}

/// Writes compact JSON that is made while it is sent. What is small is made at once; what is compressed is made here,
/// where the request still holds its place among others, and lets these work between two pieces.
pub(crate) async fn pieces(status: StatusCode, pieces: Pieces, accept: Accept) -> Response {
    if pieces.left() < limits::GZIP_THRESHOLD as u64 {
        return json(status, pieces.whole(), accept);
    }
    let mut response = bytes(status, Bytes::new(), "application/json", accept);
    if !accept.gzip {
        *response.body_mut() = ResponseBody::Pieces(pieces);
        return response;
    }
    match gzip_pieces(pieces).await {
        Ok(data) => {
            *response.body_mut() = ResponseBody::from(data);
            compressed(&mut response);
            response
        }
        Err(e) => error(
            &ApiError::internal(format!("compressing the answer: {e}")),
            accept,
        ),
    }
}

async fn gzip_pieces(pieces: Pieces) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        encoder.write_all(&piece)?;
        tokio::task::yield_now().await;
    }
    encoder.finish().map(Bytes::from)
}

fn compressed(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

fn gzip(data: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(data.len() / 4), Compression::fast());
    encoder.write_all(data).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    bytes(
        status,
        text.into(),
        "text/plain;charset=utf-8",
        Accept::default(),
    )
}

/// A failure as `Status`.
pub(crate) fn error(error: &ApiError, accept: Accept) -> Response {
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_value(&*error.0).unwrap_or_default();
    let accept = Accept {
        gzip: false,
        ..accept
    };
    let mut response = if accept.format == Format::Yaml {
        value(status, &body, accept)
    } else {
        crate::subresource::json(status, &body)
    };
    if let Some(seconds) = error
        .0
        .details
        .as_ref()
        .map(|d| d.retry_after_seconds)
        .filter(|s| *s > 0)
        && matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        )
    {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning` headers (RFC 7234 section 5.5, as Kubernetes uses them).
pub(crate) fn warn(response: &mut Response, warnings: Vec<String>) {
    for warning in warnings {
        let clean: String = warning.chars().filter(|c| !c.is_control()).collect();
        let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(header) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, header);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    /// Small or large, compressed or not, what is made in pieces is what it would be as a whole.
    #[tokio::test]
    async fn pieces_arrive_whole() {
        for (count, gzip, encoded) in [(1, true, false), (40, false, false), (40, true, true)] {
            let piece = Bytes::from(vec![b'x'; limits::GZIP_THRESHOLD / 20]);
            let whole = piece.repeat(count);
            let made = Pieces::new(whole.len() as u64, std::iter::repeat_n(piece, count));
            let accept = Accept {
                gzip,
                ..Accept::default()
            };
            let response = pieces(StatusCode::OK, made, accept).await;
            let encoding = response.headers().get(header::CONTENT_ENCODING);
            assert_eq!(encoding.is_some(), encoded, "{count} {gzip}");
            let said = response.body().size_hint().exact();
            let sent = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(said, Some(sent.len() as u64), "{count} {gzip}");
            let mut plain = sent.to_vec();
            if encoded {
                plain.clear();
                GzDecoder::new(&sent[..]).read_to_end(&mut plain).unwrap();
            }
            assert!(plain == whole, "{count} {gzip}");
        }
    }
}
