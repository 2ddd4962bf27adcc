//! What a request is counted under.

use std::sync::Arc;

use super::Inner;
use crate::metrics::{Key, Series};
use crate::request::RequestInfo;

/// First segments of paths that are counted by themselves.
const PATHS: [&str; 9] = [
    "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi", "/openid", "/readyz", "/version",
];

/// The record of a request. What is not served here is one resource, however it is called.
pub(super) fn series(inner: &Inner, info: &RequestInfo) -> Arc<Series> {
    let requests = &inner.metrics.requests;
    if !info.is_resource {
        let first = PATHS
            .into_iter()
            .find(|p| {
                info.path
                    .strip_prefix(p)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .unwrap_or("");
        return requests.series(Key {
            verb: verb(info, false),
            group: "",
            version: "",
            resource: "",
            subresource: first,
            scope: "",
        });
    }
    let registered = inner.subresources.iter().any(|s| {
        s.group == info.group && s.resource == info.resource && s.subresource == info.subresource
    });
    let kinds = inner.registry.kinds.load();
    let kind = kinds.get(&info.group, &info.version, &info.resource);
    if kind.is_none() && !registered {
        return requests.series(Key {
            verb: verb(info, false),
            group: "",
            version: "",
            resource: "unknown",
            subresource: "",
            scope: "",
        });
    }
    let of_kind = |name: &str| kind.is_some_and(|k| k.subresources.iter().any(|s| s.name == name));
    requests.series(Key {
        verb: verb(info, registered),
        group: &info.group,
        // A registered subresource may be asked for in any version.
        version: if kind.is_some() { &info.version } else { "" },
        resource: &info.resource,
        subresource: match info.subresource.as_str() {
            "" => "",
            name if registered || of_kind(name) => name,
            _ => "unknown",
        },
        scope: if !info.path_name().is_empty() {
            "resource"
        } else if info.namespace.is_empty() {
            "cluster"
        } else {
            "namespace"
        },
    })
}

/// Verbs as kube-apiserver's metrics name them. A registered subresource that is got may be a conversation.
fn verb(info: &RequestInfo, registered: bool) -> &'static str {
    match info.verb {
        "get" if registered && !info.subresource.is_empty() => "CONNECT",
        "get" => "GET",
        "head" => "HEAD",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "options" => "OPTIONS",
        _ => "other",
    }
}
