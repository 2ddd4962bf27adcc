//! From a request to the code that answers it; see the order in the crate's documentation.

use std::sync::Arc;

use ::authz::User;
use apimachinery::status::ApiError;
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::{Inner, impersonate, resources};
use crate::authn::{CertificateUser, authenticated};
use crate::authz::attributes;
use crate::body::RequestBody;
use crate::negotiate::Accept;
use crate::registry::Reader;
use crate::request::RequestInfo;
use crate::subresource::{Response, SubresourceRegistration, SubresourceRequest};
use crate::{apiservices, discovery, health, limits, respond};

/// A request on its way, after authorization.
pub(super) struct Routed {
    pub info: RequestInfo,
    pub user: User,
    pub accept: Accept,
    pub method: Method,
    pub headers: http::HeaderMap,
    pub upgrade: Option<OnUpgrade>,
}

/// Answers a request; also says its verb, for metrics.
pub(super) async fn route(
    inner: &Arc<Inner>,
    request: Request<RequestBody>,
) -> (&'static str, Response) {
    let info = RequestInfo::parse(request.method(), request.uri());
    let verb = info.verb;
    let accept = Accept::parse(request.headers());
    let shown = accept.as_ref().copied().unwrap_or_default();
    let mut response = match serve(inner, request, info, accept).await {
        Ok(response) => response,
        Err(e) => respond::error(&e, shown),
    };
    let headers = response.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert(HeaderName::from_static("audit-id"), id);
    }
    (verb, response)
}

async fn serve(
    inner: &Arc<Inner>,
    request: Request<RequestBody>,
    info: RequestInfo,
    accept: Result<Accept, ApiError>,
) -> Result<Response, ApiError> {
    if request
        .uri()
        .path_and_query()
        .is_some_and(|p| p.as_str().len() > limits::MAX_URI)
    {
        return Err(ApiError::bad_request("the URI is too long").with_code(414));
    }
    let (mut parts, body) = request.into_parts();
    let reader = Reader(Arc::clone(&inner.registry));
    let user = match parts.extensions.remove::<User>() {
        Some(user) => authenticated(user),
        None => {
            let certificate = parts.extensions.get::<CertificateUser>();
            inner
                .authenticator
                .authenticate(&parts.headers, certificate, &reader)
                .await?
        }
    };
    let user = impersonate::impersonate(&inner.registry.authorizer, user, &parts.headers)?;
    let info = longest_subresource(inner, info);
    inner.registry.authorizer.check(&attributes(&info, &user))?;
    let accept = Accept {
        pretty: info.query.flag("pretty"),
        ..accept?
    };
    let routed = Routed {
        info,
        user,
        accept,
        method: parts.method,
        headers: parts.headers,
        upgrade: parts.extensions.remove::<OnUpgrade>(),
    };
    if routed.info.is_resource {
        return resource(inner, routed, body).await;
    }
    path(inner, &routed).await
}

/// A registered subresource may have slashes in its name (`vnc/screenshot`): the longest that fits is meant.
fn longest_subresource(inner: &Inner, mut info: RequestInfo) -> RequestInfo {
    let taken = inner
        .subresources
        .iter()
        .filter(|s| s.group == info.group && s.resource == info.resource)
        .filter_map(|s| {
            let mut segments = s.subresource.split('/');
            let rest: Vec<&str> =
                (segments.next() == Some(info.subresource.as_str())).then(|| segments.collect())?;
            (rest.len() <= info.tail.len()
                && rest.iter().zip(&info.tail).all(|(a, b)| *a == b.as_str()))
            .then_some(rest.len())
        })
        .max()
        .unwrap_or(0);
    for segment in info.tail.drain(..taken) {
        info.subresource.push('/');
        info.subresource.push_str(&segment);
    }
    info
}

async fn resource(
    inner: &Arc<Inner>,
    routed: Routed,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let info = &routed.info;
    if let Some(registration) = inner.subresources.iter().find(|s| {
        s.group == info.group
            && s.resource == info.resource
            && s.subresource == info.subresource
            && s.versions.contains(&info.version)
    }) {
        return subresource(inner, registration, routed, body).await;
    }
    let kind = inner
        .registry
        .kinds
        .load()
        .get(&info.group, &info.version, &info.resource)
        .cloned();
    match kind {
        Some(kind) => {
            let mut response = resources::serve(inner, &kind, &routed, body).await?;
            let warning = kind
                .crd
                .as_ref()
                .and_then(|crd| crd.deprecation_warning.clone());
            respond::warn(&mut response, warning.into_iter().collect());
            Ok(response)
        }
        None => {
            let reader = Reader(Arc::clone(&inner.registry));
            Err(apiservices::unavailable(&reader, &info.group, &info.version).await)
        }
    }
}

async fn subresource(
    inner: &Arc<Inner>,
    registration: &SubresourceRegistration,
    routed: Routed,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let verb = match routed.info.verb {
        // A resource without objects is asked without a name.
        "list" => "get",
        other => other,
    };
    if !registration.verbs.iter().any(|v| v == verb)
        || registration.namespaced == routed.info.namespace.is_empty()
    {
        return Err(ApiError::method_not_allowed());
    }
    let request = SubresourceRequest {
        info: routed.info,
        method: routed.method,
        headers: routed.headers,
        user: routed.user,
        reader: Reader(Arc::clone(&inner.registry)),
        body,
        upgrade: routed.upgrade,
    };
    registration.handler.call(request).await
}

async fn path(inner: &Arc<Inner>, routed: &Routed) -> Result<Response, ApiError> {
    let info = &routed.info;
    if !matches!(routed.method, Method::GET | Method::HEAD) {
        return Err(ApiError::method_not_allowed());
    }
    if matches!(
        info.path.trim_matches('/').split('/').next(),
        Some("healthz" | "livez" | "readyz")
    ) {
        let alive = inner.registry.store.get("/").await.is_ok();
        if let Some(response) = health::serve(info, alive) {
            return Ok(response);
        }
    }
    match info.path.trim_end_matches('/') {
        "/version" => Ok(respond::value(
            StatusCode::OK,
            &health::version(&inner.product),
            Accept {
                pretty: true,
                ..routed.accept
            },
        )),
        "/metrics" => Ok(respond::text(StatusCode::OK, inner.metrics.render())),
        "/openid/v1/jwks" => {
            let jwks = inner.keys.jwks().map_err(ApiError::internal)?;
            Ok(respond::value(StatusCode::OK, &jwks, routed.accept))
        }
        path => match discovery::serve(inner, info, routed.accept, &routed.headers) {
            Some(response) => Ok(response),
            None => {
                let reader = Reader(Arc::clone(&inner.registry));
                let mut parts = path.trim_start_matches("/apis/").split('/');
                let (group, version) = (parts.next(), parts.next());
                let (group, version) = (group.unwrap_or_default(), version.unwrap_or_default());
                Err(apiservices::unavailable(&reader, group, version).await)
            }
        },
    }
}
