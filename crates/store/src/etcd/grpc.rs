//! gRPC over one HTTP/2 connection: just enough of it for etcd.
//!
//! ```text
//! Connection::unary   POST <path>, one framed message there, one back, `grpc-status` in the trailers
//! Connection::stream  the same with the request left open and messages coming
//! frame               one byte of flags (0: not compressed), four of length, the message
//! ```
//! The protocol is gRPC's "PROTOCOL-HTTP2.md". HTTP/2 itself, its flow control and its keep-alive pings are hyper's.
//!
//! Invariant: a [`Failure`] says whether the server can have seen the request ([`Failure::NotSent`]: no).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::endpoint::Endpoint;
use super::limits;

type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The request did not leave this process.
    #[error("{0}")]
    NotSent(Arc<str>),
    /// It may have been received, and there is no answer.
    #[error("{0}")]
    Cut(Arc<str>),
    /// The server's answer is an error.
    #[error("{message} (gRPC status {code})")]
    Status {
        /// gRPC's number of it.
        code: u32,
        /// The server's words.
        message: Arc<str>,
    },
    /// A message is larger than what is accepted.
    #[error("a message of {size} bytes came, at most {limit} are accepted")]
    TooLarge {
        /// Its announced size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// What came is not gRPC, or not the message that should come.
    #[error("the answer cannot be read: {0}")]
    Malformed(Arc<str>),
}

/// Numbers of gRPC's statuses ("Status codes and their use in gRPC").
pub(super) mod code {
    pub(in crate::etcd) const UNKNOWN: u32 = 2;
    pub(in crate::etcd) const CANCELLED: u32 = 1;
    pub(in crate::etcd) const DEADLINE_EXCEEDED: u32 = 4;
    pub(in crate::etcd) const INTERNAL: u32 = 13;
    pub(in crate::etcd) const UNAVAILABLE: u32 = 14;
}

/// A connection to one endpoint; clones share it. It ends when the last clone and the last stream are gone.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    sender: http2::SendRequest<Body>,
    endpoint: Arc<Endpoint>,
}

impl Connection {
    /// Connects, with TLS if a configuration is given.
    pub(super) async fn open(
        endpoint: Arc<Endpoint>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::NotSent(format!("cannot connect to {endpoint}: {why}").into())
        };
        let address = (endpoint.host.as_str(), endpoint.port);
        let tcp = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
        tcp.set_nodelay(true).map_err(|e| failed(&e))?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(limits::PING_EVERY)
            .keep_alive_timeout(limits::PING_PATIENCE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_header_list_size(limits::HEADER_BYTES);
        let sender = match tls {
            None => {
                let (sender, driver) = builder
                    .handshake(TokioIo::new(tcp))
                    .await
                    .map_err(|e| failed(&e))?;
                tokio::spawn(driver);
                sender
            }
            Some(config) => {
                let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| failed(&e))?;
                let stream = TlsConnector::from(config)
                    .connect(name, tcp)
                    .await
                    .map_err(|e| failed(&e))?;
                let (sender, driver) = builder
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(|e| failed(&e))?;
                tokio::spawn(driver);
                sender
            }
        };
        Ok(Self { sender, endpoint })
    }

    /// Whether nothing more can be sent on it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// One message there, one back. The caller bounds the time; the server is told of it.
    pub(super) async fn unary<A: Message + Default>(
        &self,
        path: &str,
        message: &impl Message,
        patience: Duration,
    ) -> Result<A, Failure> {
        let request = self.request(path, Either::Left(Full::new(frame(message))));
        let mut request = request?;
        let timeout = format!("{}m", patience.as_millis().max(1));
        if let Ok(timeout) = timeout.parse() {
            request.headers_mut().insert("grpc-timeout", timeout);
        }
        let response = self.send(request).await?;
        let mut messages = Messages::new(response)?;
        let answer = messages.next().await?;
        // The status is after the message.
        while messages.next::<A>().await?.is_some() {}
        answer.ok_or_else(|| Failure::Malformed("there is no message in it".into()))
    }

    /// A call whose answers keep coming, begun with one message. `None` at its end.
    pub(super) async fn stream(
        &self,
        path: &str,
        message: &impl Message,
    ) -> Result<Stream, Failure> {
        let (mut requests, body) = Channel::new(1);
        let request = self.request(path, Either::Right(body))?;
        let first = frame(message);
        let (sent, response) = tokio::join!(requests.send_data(first), self.send(request));
        let response = response?;
        sent.map_err(|_| Failure::Cut("the request's stream was closed".into()))?;
        Ok(Stream {
            messages: Messages::new(response)?,
            _requests: requests,
        })
    }

    fn request(&self, path: &str, body: Body) -> Result<Request<Body>, Failure> {
        Request::post(format!("{}{path}", self.endpoint.base()))
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, "application/grpc")
            // A member that has lost its leader says so at once instead of waiting for one.
            .header("hasleader", "true")
            .body(body)
            .map_err(|e| Failure::NotSent(e.to_string().into()))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.sender.clone();
        let closed = |e: &hyper::Error| {
            Failure::NotSent(format!("the connection to {} ended: {e}", self.endpoint).into())
        };
        sender.ready().await.map_err(|e| closed(&e))?;
        sender.try_send_request(request).await.map_err(|mut e| {
            if e.take_message().is_some() {
                return closed(e.error());
            }
            Failure::Cut(format!("{}: {}", self.endpoint, chain(e.error())).into())
        })
    }
}

/// The error and its causes: hyper's own words are few.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Messages that keep coming.
#[derive(Debug)]
pub(super) struct Stream {
    messages: Messages,
    // Closing it tells the server that we are done.
    _requests: Sender<Bytes, Infallible>,
}

impl Stream {
    /// The next message; `None` when the server has ended the stream without an error. Cancel safe.
    pub(super) async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, Failure> {
        self.messages.next().await
    }
}

fn frame(message: &impl Message) -> Bytes {
    let size = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + size);
    frame.put_u8(0);
    // Longer ones are refused long before: keys and values have limits.
    frame.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    message.encode_raw(&mut frame);
    frame.freeze()
}

/// The messages of a response.
#[derive(Debug)]
struct Messages {
    body: Incoming,
    buffer: BytesMut,
    /// The status came with the headers, or the body is over.
    ended: Option<Result<(), Failure>>,
}

impl Messages {
    fn new(response: Response<Incoming>) -> Result<Self, Failure> {
        let (head, body) = response.into_parts();
        let ended = status(&head.headers);
        if ended.is_none() && head.status != StatusCode::OK {
            let what = format!("HTTP status {}", head.status);
            return Err(Failure::Malformed(what.into()));
        }
        Ok(Self {
            body,
            buffer: BytesMut::new(),
            ended,
        })
    }

    async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, Failure> {
        loop {
            if let Some(message) = take_frame(&mut self.buffer)? {
                let message = A::decode(message);
                return message
                    .map(Some)
                    .map_err(|e| Failure::Malformed(e.to_string().into()));
            }
            if let Some(ended) = &self.ended {
                return ended.clone().map(|()| None);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        self.ended = frame.trailers_ref().and_then(status);
                    }
                },
                Some(Err(e)) => {
                    self.ended = Some(Err(Failure::Cut(chain(&e).into())));
                }
                None => {
                    let cut = Failure::Cut("the answer ended without a status".into());
                    self.ended = Some(Err(cut));
                }
            }
        }
    }
}

/// The first message of a buffer, if all of it is there.
fn take_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, Failure> {
    let Some((&[flags, a, b, c, d], _)) = buffer.split_first_chunk::<5>() else {
        return Ok(None);
    };
    if flags != 0 {
        return Err(Failure::Malformed("a compressed message".into()));
    }
    let size = u32::from_be_bytes([a, b, c, d]) as usize;
    if size > limits::MESSAGE_BYTES {
        return Err(Failure::TooLarge {
            size,
            limit: limits::MESSAGE_BYTES,
        });
    }
    if buffer.len() < 5 + size {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(size).freeze()))
}

/// What headers or trailers say of the outcome; `None` if nothing.
fn status(headers: &HeaderMap) -> Option<Result<(), Failure>> {
    let value = headers.get("grpc-status")?.to_str().ok()?;
    let code = value.parse().unwrap_or(code::UNKNOWN);
    if code == 0 {
        return Some(Ok(()));
    }
    let message = headers
        .get("grpc-message")
        .map(|message| percent_decode(message.as_bytes()))
        .unwrap_or_default();
    Some(Err(Failure::Status {
        code,
        message: message.into(),
    }))
}

/// `grpc-message` is percent-encoded UTF-8. What is not is shown as it is.
fn percent_decode(encoded: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| byte == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_out_when_they_are_whole() {
        let mut buffer = BytesMut::new();
        let whole = [0, 0, 0, 0, 3, b'a', b'b', b'c', 0, 0, 0, 0, 0];
        let mut taken = Vec::new();
        for byte in whole {
            buffer.put_u8(byte);
            taken.extend(take_frame(&mut buffer).unwrap());
        }
        assert_eq!(taken, [Bytes::from_static(b"abc"), Bytes::new()]);
    }

    #[test]
    fn what_is_too_large_or_compressed_is_refused_by_its_head() {
        let mut large = BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(matches!(
            take_frame(&mut large),
            Err(Failure::TooLarge { .. })
        ));
        let mut compressed = BytesMut::from(&[1, 0, 0, 0, 0][..]);
        assert!(matches!(
            take_frame(&mut compressed),
            Err(Failure::Malformed(_))
        ));
    }

    #[test]
    fn the_status_tells_the_outcome() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(status(&headers), Some(Ok(())));
        headers.insert("grpc-status", "14".parse().unwrap());
        headers.insert("grpc-message", "no%20leader%3a 100%".parse().unwrap());
        assert_eq!(
            status(&headers),
            Some(Err(Failure::Status {
                code: code::UNAVAILABLE,
                message: "no leader: 100%".into()
            }))
        );
        headers.insert("grpc-status", "x".parse().unwrap());
        assert!(matches!(
            status(&headers),
            Some(Err(Failure::Status {
                code: code::UNKNOWN,
                ..
            }))
        ));
    }
}
