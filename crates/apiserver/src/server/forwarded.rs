//! Requests that another server answers: their turn is ours to give, their bodies are streamed.

use ::authz::User;
use apimachinery::status::ApiError;
use http::header::UPGRADE;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;

use super::{Inner, priority};
use crate::aggregation::{Incoming, Route};
use crate::body::{self, RequestBody};
use crate::flow::{Class, Watches};
use crate::request::RequestInfo;
use crate::subresource::Response;

/// Who asks.
pub(super) struct Caller<'a> {
    pub user: User,
    /// How the request is classified; callers in this process are not.
    pub class: Option<&'a Class>,
    pub in_process: bool,
}

/// Sends a request on.
pub(super) async fn serve(
    inner: &Inner,
    route: Route,
    info: &RequestInfo,
    caller: Caller<'_>,
    (mut parts, body): (Parts, RequestBody),
) -> Result<Response, ApiError> {
    let Caller {
        user,
        class,
        in_process,
    } = caller;
    let runs_long = info.verb == "watch" || parts.headers.contains_key(UPGRADE);
    let permit = match (runs_long, in_process) {
        (false, _) => None,
        (true, true) => Some(Watches::in_process()),
        (true, false) => Some(inner.watches.enter(&user.name)?),
    };
    // Held until the head of the answer is there.
    let _seat = if in_process {
        priority::in_process(inner, body::empty_request(), false).await?
    } else {
        priority::admit(inner, info, &user, class, body::empty_request()).await?
    };
    let uri = match &route.speaker {
        // The newest document, whichever the caller knows of.
        Some(_) => parts.uri.path().parse().map_err(ApiError::internal)?,
        None => parts.uri,
    };
    let incoming = Incoming {
        method: parts.method,
        uri,
        headers: parts.headers,
        body,
        upgrade: parts.extensions.remove::<OnUpgrade>(),
        user: route.speaker.unwrap_or(user),
        permit,
    };
    route.remote.forward(incoming).await
}
