//! From a request to the code that answers it; see the order in the crate's documentation.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use ::authz::User;
use apimachinery::status::ApiError;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::{Inner, counted, forwarded, impersonate, priority, resources};
use crate::audit::{self, AuditSource, Record};
use crate::authn::authenticated;
use crate::authz::attributes;
use crate::body::{RequestBody, ResponseBody};
use crate::flow::Class;
use crate::front_proxy::Peer;
use crate::listener::Link;
use crate::metrics::Series;
use crate::negotiate::Accept;
use crate::registry::{Abort, Reader};
use crate::request::RequestInfo;
use crate::subresource::{Response, SubresourceRegistration, SubresourceRequest};
use crate::{apiservices, discovery, health, limits, metrics, respond};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// A request on its way, after authorization.
pub(super) struct Routed {
    pub info: RequestInfo,
    pub user: User,
    pub accept: Accept,
    pub method: Method,
    pub headers: http::HeaderMap,
    pub upgrade: Option<OnUpgrade>,
    /// Whether the caller is in this process.
    pub in_process: bool,
    /// What the request is counted under.
    pub series: Arc<Series>,
    /// Ends the connection of a client that does not read its watch.
    pub abort: Option<Abort>,
}

/// What is noted of a request on its way, for its answer's headers, the metrics and the audit log.
struct Trail {
    series: Arc<Series>,
    class: Option<Class>,
    audit_id: HeaderValue,
    record: Option<Arc<Record>>,
}

/// The id that a request has in logs: the client's, when it sent one.
fn audit_id(headers: &http::HeaderMap) -> HeaderValue {
    let given = headers
        .get(AUDIT_ID)
        .and_then(|v| v.to_str().ok())
        .filter(|id| !id.is_empty());
    let id = match given {
        Some(id) => id.chars().take(limits::MAX_AUDIT_ID).collect(),
        None => uuid::Uuid::new_v4().to_string(),
    };
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""))
}

/// Answers a request.
pub(super) async fn route(inner: &Arc<Inner>, request: Request<RequestBody>) -> Response {
    let began = Instant::now();
    let info = RequestInfo::parse(request.method(), request.uri());
    let info = longest_subresource(inner, info);
    let accept = Accept::parse(request.headers());
    let shown = accept.as_ref().copied().unwrap_or_default();
    let link = request.extensions().get::<Arc<Link>>().cloned();
    let mut trail = Trail {
        series: counted::series(inner, &info),
        class: None,
        audit_id: audit_id(request.headers()),
        record: None,
    };
    let is_watch = info.verb == "watch";
    let in_flight = (!is_watch).then(|| inner.metrics.in_flight(info.verb));
    // Boxed here, where it is large, and nowhere else.
    let serving = serve(inner, request, info, accept, &mut trail);
    let serving = Box::pin(AssertUnwindSafe(serving).catch_unwind());
    let served = if inner.audit.is_some() {
        let (served, notes) = audit::noting(serving).await;
        if let Some(record) = &trail.record {
            record.noted(notes);
        }
        served
    } else {
        serving.await
    };
    let panicked = served.is_err();
    let mut response = match served {
        Ok(Ok(response)) => response,
        Ok(Err(e)) => respond::error(&e, shown),
        Err(_) => {
            let error = ApiError::internal("the request made the server panic; see its log");
            respond::error(&error, Accept::default())
        }
    };
    drop(in_flight);
    let code = response.status();
    let is_conversation = code == StatusCode::SWITCHING_PROTOCOLS;
    // An upgraded connection is no answer that took so long, nor is a watch.
    let took = (!is_watch && !is_conversation).then(|| began.elapsed());
    trail.series.answered(code.as_u16(), took);
    let may_pause = is_conversation || matches!(response.body(), ResponseBody::Stream(_));
    if let Some(link) = link.filter(|_| may_pause) {
        link.patience.endless();
    }
    if let Some(record) = &trail.record {
        if panicked {
            record.panicked().await;
        } else {
            response = recorded(record, response).await;
        }
    }
    let headers = response.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    headers.insert(AUDIT_ID, trail.audit_id);
    for (name, uid) in trail.class.iter().flat_map(|class| {
        [
            ("x-kubernetes-pf-flowschema-uid", &class.schema.uid_header),
            ("x-kubernetes-pf-prioritylevel-uid", &class.level_uid),
        ]
    }) {
        headers.insert(HeaderName::from_static(name), uid.clone());
    }
    response
}

/// Logs an answer: a whole one as complete, a stream as started, and complete when it is over.
async fn recorded(record: &Arc<Record>, response: Response) -> Response {
    let code = response.status().as_u16();
    let response = if record.wants_body(code) {
        response.map(ResponseBody::gathered)
    } else {
        response
    };
    let whole = match response.body() {
        ResponseBody::Full(data) => Some(data.clone()),
        _ => None,
    };
    match whole {
        Some(data) => {
            record
                .complete(code, response.headers(), data.as_ref())
                .await;
            response
        }
        None => {
            let streaming = record.started(code).await;
            response.map(|body| body.holding(streaming))
        }
    }
}

async fn serve(
    inner: &Arc<Inner>,
    request: Request<RequestBody>,
    info: RequestInfo,
    accept: Result<Accept, ApiError>,
    trail: &mut Trail,
) -> Result<Response, ApiError> {
    if request
        .uri()
        .path_and_query()
        .is_some_and(|p| p.as_str().len() > limits::MAX_URI)
    {
        return Err(ApiError::bad_request("the URI is too long").with_code(414));
    }
    let (mut parts, body) = request.into_parts();
    let link = parts.extensions.remove::<Arc<Link>>();
    let link = link.as_ref();
    let reader = Reader::new(Arc::clone(&inner.registry));
    let caller = parts.extensions.remove::<User>();
    let in_process = caller.is_some();
    let authenticated = match caller {
        Some(user) => Ok(authenticated(user)),
        None => {
            let peer = parts.extensions.remove::<Peer>().unwrap_or_default();
            inner
                .authenticator
                .authenticate(&parts.headers, &peer, &reader)
                .await
        }
    };
    if let Some(audit) = &inner.audit {
        let source = AuditSource {
            id: trail.audit_id.to_str().unwrap_or_default(),
            uri: &parts.uri,
            headers: &parts.headers,
            peer: link.map(|link| link.peer.ip()),
        };
        // Who could not say who he is is logged as nobody.
        let nobody = User::default();
        let user = authenticated.as_ref().unwrap_or(&nobody);
        trail.record = audit.begin(&source, &info, user).await?;
    }
    let record = trail.record.as_ref();
    let caller = authenticated?;
    let impersonates = parts.headers.contains_key("impersonate-user");
    let user = impersonate::impersonate(&inner.registry.authorizer, caller, &parts.headers)?;
    if let Some(record) = record.filter(|_| impersonates) {
        record.impersonates(&user);
    }
    let allowed = authorize(inner, &info, &user).await;
    if let Some(record) = record {
        match &allowed {
            Ok(reason) => record.authorized("allow", reason),
            Err(_) => record.authorized("forbid", ""),
        }
    }
    allowed?;
    if let Some(route) = inner.aggregator.find(&info) {
        if !in_process {
            trail.class = inner.flow.classify(&info, &user);
        }
        let caller = forwarded::Caller {
            user,
            class: trail.class.as_ref(),
            in_process,
        };
        return forwarded::serve(inner, route, &info, caller, (parts, body)).await;
    }
    let accept = match accept {
        // A form that only this document has.
        Err(_) if info.path == "/openapi/v2" && discovery::wants_protobuf(&parts.headers) => {
            Accept::default()
        }
        other => other?,
    };
    let accept = Accept {
        pretty: info.query.flag("pretty"),
        ..accept
    };
    // Held until the head of the answer is ready: a watch or a log goes on without a seat.
    let admitted = if in_process {
        priority::in_process(inner, body, record.is_some()).await?
    } else {
        trail.class = inner.flow.classify(&info, &user);
        priority::admit(inner, &info, &user, trail.class.as_ref(), body).await?
    };
    if let (Some(record), Some(bytes)) = (&trail.record, &admitted.bytes) {
        record.received(&info, &parts.headers, bytes);
    }
    let routed = Routed {
        info,
        user,
        accept,
        method: parts.method,
        headers: parts.headers,
        upgrade: parts.extensions.remove::<OnUpgrade>(),
        in_process,
        series: Arc::clone(&trail.series),
        abort: link.map(|link| Abort {
            cut: link.cut.clone(),
            shared: parts.version == http::Version::HTTP_2,
        }),
    };
    if routed.info.is_resource {
        return resource(inner, routed, admitted.body).await;
    }
    path(inner, &routed).await
}

/// Asks again when roles have changed through another replica since this one has looked.
async fn authorize(
    inner: &Arc<Inner>,
    info: &RequestInfo,
    user: &User,
) -> Result<String, ApiError> {
    let asked = attributes(info, user);
    let registry = &inner.registry;
    let first = registry.authorizer.decide(&asked);
    let known = &registry.authorizer.caught_up;
    if first.is_err() && registry.learn(crate::authz::PREFIX, known).await {
        return registry.authorizer.decide(&asked);
    }
    first
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
    let registry = &inner.registry;
    let find = || {
        let kinds = registry.kinds.load();
        kinds
            .get(&info.group, &info.version, &info.resource)
            .cloned()
    };
    let mut kind = find();
    if kind.is_none() && registry.learn(crate::crd::PREFIX, &registry.crds_at).await {
        kind = find();
    }
    match kind {
        Some(kind) => {
            let mut response = resources::serve(inner, &kind, &routed, body).await?;
            let warning = kind
                .crd
                .as_ref()
                .and_then(|crd| crd.deprecation_warning.clone())
                .or_else(|| kind.deprecation().map(str::to_owned));
            respond::warn(&mut response, warning.into_iter().collect());
            Ok(response)
        }
        None => {
            let reader = Reader::new(Arc::clone(&inner.registry));
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
        reader: Reader::new(Arc::clone(&inner.registry)),
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
    if let Some(response) = health::serve(inner, info).await {
        return Ok(response);
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
        "/metrics" => Ok(respond::bytes(
            StatusCode::OK,
            metrics::render(inner).into(),
            metrics::text::MEDIA,
            routed.accept,
        )),
        "/openid/v1/jwks" => {
            let jwks = inner.keys.jwks().map_err(ApiError::internal)?;
            Ok(respond::value(StatusCode::OK, &jwks, routed.accept))
        }
        path => match discovery::serve(inner, info, routed.accept, &routed.headers) {
            Some(response) => Ok(response),
            None => {
                let reader = Reader::new(Arc::clone(&inner.registry));
                let mut parts = path.trim_start_matches("/apis/").split('/');
                let (group, version) = (parts.next(), parts.next());
                let (group, version) = (group.unwrap_or_default(), version.unwrap_or_default());
                Err(apiservices::unavailable(&reader, group, version).await)
            }
        },
    }
}
