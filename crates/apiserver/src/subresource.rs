//! Subresources that are code: logs, consoles, actions.

use std::sync::Arc;

use ::authz::User;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

use crate::body::{self, RequestBody, ResponseBody};
use crate::registry::Reader;
use crate::request::RequestInfo;
use crate::websocket::{self, WebSocket};

/// What a subresource answers.
pub type Response = http::Response<ResponseBody>;

/// A request for a subresource, after authorization.
pub struct SubresourceRequest {
    /// Group, resource, namespace, name, subresource, the path behind it (`info.tail`) and the query.
    pub info: RequestInfo,
    /// The HTTP method.
    pub method: Method,
    /// The headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub user: User,
    /// Reads objects.
    pub reader: Reader,
    pub(crate) body: RequestBody,
    pub(crate) upgrade: Option<OnUpgrade>,
}

impl SubresourceRequest {
    /// The whole body, within the server's limits.
    ///
    /// # Errors
    /// 413 when it is too large, 400 when it does not arrive.
    pub async fn bytes(&mut self) -> Result<Bytes, ApiError> {
        body::read(std::mem::replace(&mut self.body, body::empty_request())).await
    }

    /// The body as JSON or YAML; `None` when it is empty.
    ///
    /// # Errors
    /// As [`Self::bytes`], and 400 for malformed bodies, 415 for other media types.
    pub async fn object(&mut self) -> Result<Option<Value>, ApiError> {
        let bytes = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        crate::decode::decode(&self.headers, &bytes).map(|decoded| Some(decoded.value))
    }

    /// Whether the client asks for a WebSocket.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        websocket::is_upgrade(&self.headers)
    }

    /// Accepts the WebSocket handshake and gives the 101 response to return, and the stream, which
    /// opens once the response was sent. `protocols` are those this side speaks, best first; a client
    /// that offers others only is served without a protocol.
    ///
    /// # Errors
    /// 400 when the request is no WebSocket handshake or the transport cannot be upgraded.
    pub fn websocket(
        &mut self,
        protocols: &[&str],
    ) -> Result<
        (
            Response,
            impl Future<Output = std::io::Result<WebSocket>> + Send + 'static + use<>,
        ),
        ApiError,
    > {
        websocket::accept(&self.headers, self.upgrade.take(), protocols)
    }
}

/// A subresource that is code.
#[async_trait]
pub trait Subresource: Send + Sync + 'static {
    /// Serves one request. Errors become a `Status` in the client's format.
    async fn call(&self, request: SubresourceRequest) -> Result<Response, ApiError>;
}

/// A subresource, where it is served, and how discovery shows it.
#[derive(Clone)]
pub struct SubresourceRegistration {
    /// API group, e.g. `subresources.kubevirt.io`; empty for core.
    pub group: String,
    /// Versions it is served in, best first.
    pub versions: Vec<String>,
    /// Plural resource, e.g. `virtualmachineinstances`.
    pub resource: String,
    /// Subresource, e.g. `console` or `vnc/screenshot` (the longest match wins); empty for a resource that has
    /// no objects (`version`, `healthz`).
    pub subresource: String,
    /// Whether the resource lies in namespaces.
    pub namespaced: bool,
    /// Kind shown in discovery.
    pub kind: String,
    /// Verbs: `get` (GET, and WebSockets), `update` (PUT), `create` (POST), `patch`, `delete`. Others answer 405.
    pub verbs: Vec<String>,
    /// The code.
    pub handler: Arc<dyn Subresource>,
}

/// Makes a response with a JSON body.
#[must_use]
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let data = serde_json::to_vec(value).unwrap_or_default();
    let mut response = http::Response::new(ResponseBody::from(Bytes::from(data)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

impl SubresourceRequest {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: StatusCode, value: &Value) -> Response {
        json(status, value)
    }

    /// An answer of plain text.
    #[must_use]
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
        let mut response = http::Response::new(ResponseBody::from(text.into()));
        *response.status_mut() = status;
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/plain"),
        );
        response
    }
}
