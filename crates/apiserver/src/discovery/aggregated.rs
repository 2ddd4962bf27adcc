//! `APIGroupDiscoveryList`: all groups in one document, with an ETag.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{groups, registered};
use crate::aggregation;
use crate::kinds::{Kind, KindSet};
use crate::negotiate::{Accept, Format};
use crate::respond;
use crate::server::Inner;
use crate::subresource::{Response, SubresourceRegistration};

const MEDIA: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(super) fn serve(
    inner: &Inner,
    kinds: &KindSet,
    core: bool,
    accept: Accept,
    headers: &HeaderMap,
) -> Response {
    let mut items: Vec<Value> = groups(kinds, &inner.subresources)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| group_entry(kinds, &inner.subresources, &group, &versions))
        .collect();
    if !core {
        aggregation::add_to_aggregated(&inner.aggregator, &mut items);
    }
    let document = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let data = serde_json::to_vec(&document).unwrap_or_default();
    let tag = format!("\"{}\"", schema::openapi::document_hash(&data));
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response = if known {
        respond::bytes(StatusCode::NOT_MODIFIED, bytes::Bytes::new(), MEDIA, accept)
    } else {
        respond::bytes(
            StatusCode::OK,
            data.into(),
            MEDIA,
            Accept {
                format: Format::Json,
                ..accept
            },
        )
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn group_entry(
    kinds: &KindSet,
    subresources: &[SubresourceRegistration],
    group: &str,
    versions: &[String],
) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let mut resources: Vec<Value> = kinds
                .versions(group)
                .and_then(|all| all.iter().find(|(v, _)| v == version))
                .into_iter()
                .flat_map(|(_, kinds)| kinds)
                .map(|kind| resource(kind))
                .collect();
            add_registered(&mut resources, subresources, group, version);
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": group, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn scope(namespaced: bool) -> &'static str {
    if namespaced { "Namespaced" } else { "Cluster" }
}

fn resource(kind: &Kind) -> Value {
    // Built-in kinds leave group and version of their own kind out; custom ones state them.
    let own = |name: &str| {
        if kind.is_crd() {
            json!({"group": kind.group, "version": kind.version, "kind": name})
        } else {
            json!({"group": "", "version": "", "kind": name})
        }
    };
    let mut map = Map::new();
    map.insert("resource".to_owned(), json!(kind.plural));
    map.insert("responseKind".to_owned(), own(&kind.kind));
    map.insert("scope".to_owned(), json!(scope(kind.namespaced)));
    map.insert("singularResource".to_owned(), json!(kind.singular));
    map.insert("verbs".to_owned(), json!(kind.shown_verbs()));
    if !kind.short_names.is_empty() {
        map.insert("shortNames".to_owned(), json!(kind.short_names));
    }
    if !kind.categories.is_empty() {
        map.insert("categories".to_owned(), json!(kind.categories));
    }
    if !kind.subresources.is_empty() {
        let list: Vec<Value> = kind
            .subresources
            .iter()
            .map(|s| {
                let shown = if s.group.is_empty() && s.version.is_empty() {
                    own(&s.kind)
                } else {
                    json!({"group": s.group, "version": s.version, "kind": s.kind})
                };
                json!({"subresource": s.name, "responseKind": shown, "verbs": s.verbs})
            })
            .collect();
        map.insert("subresources".to_owned(), Value::Array(list));
    }
    Value::Object(map)
}

fn add_registered(
    resources: &mut Vec<Value>,
    subresources: &[SubresourceRegistration],
    group: &str,
    version: &str,
) {
    for registration in registered(subresources, group, version) {
        let kind = json!({"group": "", "version": "", "kind": registration.kind});
        let at = match resources
            .iter()
            .position(|r| r["resource"] == registration.resource)
        {
            Some(at) => at,
            None => {
                resources.push(json!({
                    "resource": registration.resource,
                    "responseKind": {"group": "", "version": "", "kind": registration.kind},
                    "scope": scope(registration.namespaced),
                    "singularResource": "",
                    "verbs": if registration.subresource.is_empty() { registration.verbs.clone() } else { Vec::new() },
                }));
                resources.len() - 1
            }
        };
        let Some(entry) = resources.get_mut(at).and_then(Value::as_object_mut) else {
            continue;
        };
        if registration.subresource.is_empty() {
            continue;
        }
        let list = entry.entry("subresources").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut()
            && !list
                .iter()
                .any(|s| s["subresource"] == registration.subresource)
        {
            list.push(json!({"subresource": registration.subresource, "responseKind": kind, "verbs": registration.verbs}));
        }
    }
}
