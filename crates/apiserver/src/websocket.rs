//! WebSockets (RFC 6455) over an upgraded HTTP/1.1 connection.

use std::io;

use apimachinery::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::body::ResponseBody;
use crate::subresource::Response;

/// Largest message taken from a client; consoles and VNC send small ones.
const MAX_MESSAGE: usize = 1024 * 1024;

/// A message of a WebSocket; pings are answered and not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Binary data.
    Binary(Bytes),
    /// Text.
    Text(String),
}

/// An open WebSocket.
pub struct WebSocket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    protocol: Option<String>,
}

/// The half that receives.
pub struct WebSocketReader(SplitStream<WebSocketStream<TokioIo<Upgraded>>>);

/// The half that sends.
pub struct WebSocketWriter(SplitSink<WebSocketStream<TokioIo<Upgraded>>, tungstenite::Message>);

impl WebSocket {
    /// The protocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Splits into two halves for two tasks.
    #[must_use]
    pub fn split(self) -> (WebSocketReader, WebSocketWriter) {
        let (sink, stream) = self.stream.split();
        (WebSocketReader(stream), WebSocketWriter(sink))
    }
}

impl WebSocketReader {
    /// The next message; `None` at the end of the conversation.
    ///
    /// # Errors
    /// When the connection broke or the peer violates the protocol.
    pub async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            return match self.0.next().await {
                None | Some(Ok(tungstenite::Message::Close(_))) => Ok(None),
                Some(Ok(tungstenite::Message::Binary(data))) => Ok(Some(Message::Binary(data))),
                Some(Ok(tungstenite::Message::Text(text))) => {
                    Ok(Some(Message::Text(text.as_str().to_owned())))
                }
                Some(Ok(_)) => continue,
                Some(Err(
                    tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed,
                )) => Ok(None),
                Some(Err(e)) => Err(io::Error::other(e)),
            };
        }
    }
}

impl WebSocketWriter {
    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, message: Message) -> io::Result<()> {
        let message = match message {
            Message::Binary(data) => tungstenite::Message::Binary(data),
            Message::Text(text) => tungstenite::Message::Text(text.into()),
        };
        self.0.send(message).await.map_err(io::Error::other)
    }

    /// Ends the conversation with a close frame: status code (RFC 6455 section 7.4) and reason.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let frame = tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.0
            .send(tungstenite::Message::Close(Some(frame)))
            .await
            .map_err(io::Error::other)?;
        self.0.close().await.map_err(io::Error::other)
    }
}

fn has_token(headers: &HeaderMap, name: http::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// Whether the request asks to become a WebSocket.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket")
}

/// See [`crate::SubresourceRequest::websocket`].
pub(crate) fn accept(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    protocols: &[&str],
) -> Result<
    (
        Response,
        impl Future<Output = io::Result<WebSocket>> + Send + 'static + use<>,
    ),
    ApiError,
> {
    if !is_upgrade(headers) {
        return Err(ApiError::bad_request(
            "this endpoint speaks WebSocket: upgrade the connection",
        ));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|v| v.as_bytes() != b"13")
    {
        return Err(ApiError::bad_request(
            "only WebSocket version 13 is supported",
        ));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| {
            STANDARD
                .decode(key.as_bytes())
                .is_ok_and(|raw| raw.len() == 16)
        })
        .ok_or_else(|| ApiError::bad_request("Sec-WebSocket-Key is missing or malformed"))?;
    let upgrade =
        upgrade.ok_or_else(|| ApiError::bad_request("this connection cannot be upgraded"))?;
    let protocol = protocols
        .iter()
        .find(|p| has_token(headers, SEC_WEBSOCKET_PROTOCOL, p))
        .map(|p| (*p).to_owned());
    let mut response = http::Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        out.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(Ok(value)) = protocol.as_deref().map(HeaderValue::from_str) {
        out.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    let open = async move {
        let upgraded = upgrade.await.map_err(io::Error::other)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let stream =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config))
                .await;
        Ok(WebSocket { stream, protocol })
    };
    Ok((response, open))
}
