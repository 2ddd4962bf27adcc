//! Requests for objects: verbs and the subresources that every server has.

use std::sync::Arc;

use apimachinery::status::{ApiError, Reason};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::dispatch::Routed;
use super::{Inner, connect};
use crate::body::{self, RequestBody};
use crate::decode::{self, Decoded};
use crate::flow::Watches;
use crate::kinds::Kind;
use crate::negotiate::{Accept, Format, View};
use crate::registry::{
    self, Call, DeleteOptions, ListShape, Listed, PatchType, WatchRequest, WriteOptions,
};
use crate::subresource::Response;
use crate::table::{self, IncludeObject};
use crate::{respond, reviews, strategies, token};

/// Serves a request for objects of `kind`.
pub(super) async fn serve(
    inner: &Arc<Inner>,
    kind: &Arc<Kind>,
    routed: &Routed,
    body: RequestBody,
) -> Result<Response, ApiError> {
    // A namespace lies in itself, and in no other: what was authorized is the namespace of the path.
    let is_own = kind.is("", "namespaces") && routed.info.namespace == routed.info.path_name();
    let in_namespace = !routed.info.namespace.is_empty() && !is_own;
    if !kind.namespaced && in_namespace {
        return Err(ApiError::unknown_resource());
    }
    if kind.namespaced && !in_namespace && !matches!(routed.info.verb, "list" | "watch") {
        let creates = routed.info.verb == "create" || routed.info.verb == "deletecollection";
        return Err(if creates {
            ApiError::method_not_allowed()
        } else {
            ApiError::unknown_resource()
        });
    }
    if !matches!(
        routed.accept.view,
        View::Object | View::Table { .. } | View::Partial { .. }
    ) {
        return Err(ApiError::not_acceptable(&[
            "application/json",
            "application/yaml",
        ]));
    }
    suits(kind, routed)?;
    if routed.info.verb == "watch" {
        return watch(inner, kind, routed).await;
    }
    if kind.behaviour.is_virtual {
        return virtual_kind(inner, kind, routed, body).await;
    }
    match routed.info.subresource.as_str() {
        "" => main(inner, kind, routed, body).await,
        name if connect::leads(kind, name) => {
            let object = connect::serve(inner, kind, routed).await?;
            Ok(present(kind, StatusCode::OK, object, routed))
        }
        _ if !routed.info.tail.is_empty() => Err(ApiError::unknown_resource()),
        "status" | "scale"
            if kind.is_crd() && !matches!(routed.info.verb, "get" | "update" | "patch") =>
        {
            Err(ApiError::method_not_supported(
                &kind.group_resource(),
                routed.info.verb,
            ))
        }
        "status" if kind.behaviour.status => writable(inner, kind, routed, body).await,
        "scale" if kind.subresources.iter().any(|s| s.name == "scale") => {
            scale(inner, kind, routed, body).await
        }
        "finalize" if kind.is("", "namespaces") && routed.info.verb == "update" => {
            writable(inner, kind, routed, body).await
        }
        "resize" if kind.is("", "pods") => writable(inner, kind, routed, body).await,
        name @ ("binding" | "eviction") if kind.is("", "pods") => {
            posted(inner, kind, routed, body, name).await
        }
        "token" if kind.is("", "serviceaccounts") => {
            posted(inner, kind, routed, body, "token").await
        }
        _ => Err(ApiError::unknown_resource()),
    }
}

async fn watch(
    inner: &Arc<Inner>,
    kind: &Arc<Kind>,
    routed: &Routed,
) -> Result<Response, ApiError> {
    if !routed.info.subresource.is_empty() {
        return Err(ApiError::method_not_allowed());
    }
    let place = if routed.in_process {
        Watches::in_process()
    } else {
        inner.watches.enter(&routed.user.name)?
    };
    let request = WatchRequest {
        kind: Arc::clone(kind),
        namespace: if kind.namespaced {
            &routed.info.namespace
        } else {
            ""
        },
        name: routed.info.path_name(),
        query: &routed.info.query,
        accept: routed.accept,
        stop: inner.stop.clone(),
        series: Arc::clone(&routed.series),
        place,
        abort: routed.abort.clone(),
    };
    let body = registry::watch(&inner.registry, request).await?;
    let mut response = http::Response::new(body);
    let media = match routed.accept.format {
        Format::Json => "application/json",
        Format::Yaml => "application/yaml",
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(response)
}

fn call<'a>(
    inner: &'a Arc<Inner>,
    kind: &'a Kind,
    routed: &'a Routed,
    options_kind: &str,
) -> Result<Call<'a>, ApiError> {
    let options = WriteOptions::parse(&routed.info.query, &routed.headers, options_kind)?;
    let place = (routed.info.namespace.as_str(), routed.info.path_name());
    Ok(Call::new(
        &inner.registry,
        kind,
        place,
        &routed.info.subresource,
        &routed.user,
        options,
    ))
}

async fn main(
    inner: &Arc<Inner>,
    kind: &Arc<Kind>,
    routed: &Routed,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let info = &routed.info;
    let named = !info.path_name().is_empty();
    if !kind.verbs.contains(&info.verb) {
        return Err(ApiError::method_not_allowed());
    }
    match (info.verb, named) {
        ("get", true) | ("update" | "patch", true) => writable(inner, kind, routed, body).await,
        ("list", _) => {
            let namespace = if kind.namespaced {
                info.namespace.as_str()
            } else {
                ""
            };
            if let Some(shape) = list_shape(routed.accept) {
                let registry = &inner.registry;
                let list = registry::list_json(registry, kind, namespace, &info.query, shape);
                return Ok(respond::pieces(StatusCode::OK, list.await?, routed.accept).await);
            }
            let listed = registry::list(&inner.registry, kind, namespace, &info.query).await?;
            Ok(list_response(kind, listed, routed))
        }
        ("create", false) => {
            let call = call(inner, kind, routed, "CreateOptions")?;
            let decoded = read(routed, body).await?;
            let object = registry::create(&call, decoded).await?;
            Ok(shown(kind, StatusCode::CREATED, object, routed, &call))
        }
        ("delete", true) => {
            let call = call(inner, kind, routed, "DeleteOptions")?;
            let options = delete_options(routed, body).await?;
            let object = registry::delete(&call, &options).await?;
            Ok(shown(kind, StatusCode::OK, object, routed, &call))
        }
        ("deletecollection", _) => {
            let call = call(inner, kind, routed, "DeleteOptions")?;
            let options = delete_options(routed, body).await?;
            let listed = registry::delete_collection(&call, &info.query, &options).await?;
            Ok(list_response(kind, listed, routed))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Whether what is read can be shown in the view that was asked for.
fn suits(kind: &Kind, routed: &Routed) -> Result<(), ApiError> {
    let refused = match (routed.accept.view, routed.info.verb) {
        (View::Partial { list: false, .. }, "list") => format!(
            "you requested PartialObjectMetadata, but the requested object is a list ({})",
            kind.list_kind
        ),
        (View::Partial { list: true, .. }, "get") => format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
            kind.kind
        ),
        (View::Table { .. }, _) => return IncludeObject::check(&routed.info.query),
        _ => return Ok(()),
    };
    Err(ApiError::new(Reason::NotAcceptable, refused, None))
}

/// What a list shows that can be made of what is stored, as compact JSON.
fn list_shape(accept: Accept) -> Option<ListShape> {
    match accept.view {
        _ if accept.format != Format::Json || accept.pretty => None,
        View::Object => Some(ListShape::Objects),
        View::Partial { beta, .. } => Some(ListShape::Metadata { beta }),
        View::Table { .. } | View::Discovery => None,
    }
}

/// Whether the answer is what is stored, as compact JSON.
fn is_plain(accept: Accept) -> bool {
    accept.format == Format::Json && accept.view == View::Object && !accept.pretty
}

/// Get, update and patch: of the object, its status, or a namespace's finalizers.
async fn writable(
    inner: &Arc<Inner>,
    kind: &Arc<Kind>,
    routed: &Routed,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let info = &routed.info;
    match info.verb {
        "get" => {
            registry::at_least(&inner.registry, &info.query).await?;
            let namespace = if kind.namespaced {
                info.namespace.as_str()
            } else {
                ""
            };
            if is_plain(routed.accept) {
                let body = registry::get_json(&inner.registry, kind, namespace, &info.name);
                return Ok(respond::json(StatusCode::OK, body.await?, routed.accept));
            }
            let object = registry::get(&inner.registry, kind, namespace, &info.name).await?;
            Ok(present(kind, StatusCode::OK, object, routed))
        }
        "update" => {
            let call = call(inner, kind, routed, "UpdateOptions")?;
            let decoded = read(routed, body).await?;
            let outcome = registry::replace(&call, decoded).await?;
            let status = if outcome.created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            Ok(shown(kind, status, outcome.object, routed, &call))
        }
        "patch" => {
            let ty = PatchType::parse(&routed.headers, kind)?;
            let call = call(inner, kind, routed, "PatchOptions")?;
            let bytes = body::read(body).await?;
            let outcome = registry::patch(&call, ty, &bytes).await?;
            let status = if outcome.created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            Ok(shown(kind, status, outcome.object, routed, &call))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn scale(
    inner: &Arc<Inner>,
    kind: &Arc<Kind>,
    routed: &Routed,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let call = match routed.info.verb {
        "update" => call(inner, kind, routed, "UpdateOptions")?,
        _ => call(inner, kind, routed, "PatchOptions")?,
    };
    let scale = match routed.info.verb {
        "get" => registry::scale_get(&call).await?,
        "update" => registry::scale_update(&call, read(routed, body).await?).await?,
        "patch" => {
            let ty = PatchType::parse(&routed.headers, kind)?;
            let format = if ty == PatchType::Apply {
                decode::BodyFormat::Yaml
            } else {
                decode::BodyFormat::Json
            };
            let decoded = decode::decode_as(format, &body::read(body).await?)?;
            registry::scale_patch(&call, ty, decoded).await?
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let mut response = respond::value(StatusCode::OK, &scale, routed.accept);
    respond::warn(&mut response, call.take_warnings());
    Ok(response)
}

/// Subresources that take a POST: binding, eviction, token.
async fn posted(
    inner: &Arc<Inner>,
    kind: &Arc<Kind>,
    routed: &Routed,
    body: RequestBody,
    name: &str,
) -> Result<Response, ApiError> {
    if routed.info.verb != "create" {
        return Err(ApiError::method_not_allowed());
    }
    let options = WriteOptions::parse(&routed.info.query, &routed.headers, "CreateOptions")?;
    let place = (routed.info.namespace.as_str(), routed.info.name.as_str());
    let call = Call::new(&inner.registry, kind, place, name, &routed.user, options);
    let decoded = read(routed, body).await?;
    let answer = match name {
        "binding" => strategies::bind(&call, decoded.value).await?,
        "eviction" => strategies::evict(&call, decoded.value).await?,
        _ => token::request(inner, &call, decoded.value).await?,
    };
    Ok(respond::value(StatusCode::CREATED, &answer, routed.accept))
}

async fn virtual_kind(
    inner: &Arc<Inner>,
    kind: &Arc<Kind>,
    routed: &Routed,
    body: RequestBody,
) -> Result<Response, ApiError> {
    if routed.info.verb != "create" || !routed.info.name.is_empty() {
        return Err(ApiError::method_not_allowed());
    }
    let decoded = read(routed, body).await?;
    let answer = reviews::serve(
        inner,
        kind,
        &routed.info.namespace,
        &routed.user,
        decoded.value,
    )
    .await?;
    Ok(present(kind, StatusCode::CREATED, answer, routed))
}

async fn read(routed: &Routed, body: RequestBody) -> Result<Decoded, ApiError> {
    // An unknown format is refused before the body is read.
    let format = decode::format_of(&routed.headers)?;
    decode::decode_as(format, &body::read(body).await?)
}

async fn delete_options(routed: &Routed, body: RequestBody) -> Result<DeleteOptions, ApiError> {
    let bytes = body::read(body).await?;
    let decoded = if bytes.is_empty() {
        None
    } else {
        Some(decode::decode(&routed.headers, &bytes)?.value)
    };
    DeleteOptions::parse(&routed.info.query, decoded.as_ref())
}

fn shown(
    kind: &Kind,
    status: StatusCode,
    object: Value,
    routed: &Routed,
    call: &Call<'_>,
) -> Response {
    let mut response = present(kind, status, object, routed);
    respond::warn(&mut response, call.take_warnings());
    response
}

/// One object (or a `Status`) in the view that was asked for.
fn present(kind: &Kind, status: StatusCode, object: Value, routed: &Routed) -> Response {
    let accept = routed.accept;
    let is_status = object.get("kind").is_some_and(|k| k == "Status");
    let object = match accept.view {
        _ if is_status => object,
        View::Table { beta } => {
            let include = IncludeObject::parse(&routed.info.query);
            let version = object
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            table::list(
                kind,
                vec![object],
                &apimachinery::meta::ListMeta {
                    resource_version: version,
                    ..Default::default()
                },
                include,
                beta,
            )
        }
        View::Partial { beta, .. } => table::partial(object, beta),
        View::Object | View::Discovery => object,
    };
    respond::value(status, &object, accept)
}

fn list_response(kind: &Kind, listed: Listed, routed: &Routed) -> Response {
    let accept: Accept = routed.accept;
    let value = match accept.view {
        View::Table { beta } => table::list(
            kind,
            listed.items,
            &listed.meta,
            IncludeObject::parse(&routed.info.query),
            beta,
        ),
        View::Partial { beta, .. } => table::partial_list(listed.items, &listed.meta, beta),
        View::Object | View::Discovery => {
            let items = listed.items.into_iter();
            let items = items.map(|item| registry::untyped(kind, item)).collect();
            let mut map = Map::new();
            map.insert("kind".to_owned(), Value::String(kind.list_kind.clone()));
            map.insert("apiVersion".to_owned(), Value::String(kind.api_version()));
            map.insert(
                "metadata".to_owned(),
                serde_json::to_value(&listed.meta).unwrap_or_default(),
            );
            map.insert("items".to_owned(), Value::Array(items));
            Value::Object(map)
        }
    };
    respond::value(StatusCode::OK, &value, accept)
}
