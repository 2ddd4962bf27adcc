//! A request's turn: its body, then its seats.

use ::authz::User;
use apimachinery::status::ApiError;
use bytes::Bytes;
use http_body::Body as _;

use super::Inner;
use crate::body::{self, RequestBody};
use crate::flow::{Class, Place, RETRY_AFTER, Received, Refusal};
use crate::limits;
use crate::request::RequestInfo;

/// A request that runs; its seats and what its body holds go back when this is dropped.
pub(super) struct Admitted {
    pub body: RequestBody,
    /// The body, when it was received beforehand.
    pub bytes: Option<Bytes>,
    _received: Option<Received>,
    _place: Option<Place>,
}

fn refused(why: Refusal) -> ApiError {
    let seconds = u32::try_from(RETRY_AFTER.as_secs()).unwrap_or(1);
    tracing::debug!(reason = why.label(), "a request is sent away");
    ApiError::too_many_requests("Too many requests, please try again later.", seconds)
}

/// A caller in this process: its body is in memory, its seats are its own. The body is read here when it is `audited`.
pub(super) async fn in_process(
    inner: &Inner,
    body: RequestBody,
    audited: bool,
) -> Result<Admitted, ApiError> {
    let place = inner.flow.enter_in_process().await.map_err(refused)?;
    let (body, bytes) = if audited && !body.is_end_stream() {
        let bytes = body::read(body).await?;
        (body::full_request(bytes.clone()), Some(bytes))
    } else {
        (body, None)
    };
    Ok(Admitted {
        body,
        bytes,
        _received: None,
        _place: Some(place),
    })
}

/// A client: receives the body, without a seat that others wait for; then waits for its seats.
pub(super) async fn admit(
    inner: &Inner,
    info: &RequestInfo,
    user: &User,
    class: Option<&Class>,
    body: RequestBody,
) -> Result<Admitted, ApiError> {
    let (body, received) = if takes_body(inner, info, &body) {
        let received = inner.intake.receive(&user.name, body).await?;
        (body::full_request(received.bytes.clone()), Some(received))
    } else {
        (body, None)
    };
    let place = match class {
        Some(class) => {
            let lists = matches!(info.verb, "list" | "watch" | "deletecollection");
            let stored = if lists && info.is_resource {
                let stats = &inner.registry.store_stats;
                stats.count(&info.group, &info.resource)
            } else {
                0
            };
            let width = Class::width(info, stored);
            Some(inner.flow.enter(class, width).await.map_err(refused)?)
        }
        None => None,
    };
    Ok(Admitted {
        body,
        bytes: received.as_ref().map(|r| r.bytes.clone()),
        _received: received,
        _place: place,
    })
}

/// Whether the body is received beforehand: not when there is none, when nobody reads it, or when it is a stream that
/// a registered subresource takes as it comes.
fn takes_body(inner: &Inner, info: &RequestInfo, body: &RequestBody) -> bool {
    if body.is_end_stream()
        || !info.is_resource
        || matches!(info.verb, "get" | "list" | "watch" | "")
    {
        return false;
    }
    let streams = inner.subresources.iter().any(|s| {
        s.group == info.group && s.resource == info.resource && s.subresource == info.subresource
    });
    let is_small = body
        .size_hint()
        .exact()
        .is_some_and(|bytes| bytes <= limits::MAX_BODY as u64);
    is_small || !streams
}
