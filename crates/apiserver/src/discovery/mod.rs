//! Discovery: which groups, versions and resources are served, in the legacy form, the aggregated form, and
//! as OpenAPI v3 and v2.

mod aggregated;
mod legacy;
mod openapi;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::aggregation;
use crate::kinds::KindSet;
use crate::negotiate::{Accept, View};
use crate::request::RequestInfo;
use crate::respond;
use crate::server::Inner;
use crate::subresource::{Response, SubresourceRegistration};

pub(crate) use openapi::{OpenApi, wants_protobuf};

/// Serves a discovery path; `None` when the path is another or nothing is there.
pub(crate) fn serve(
    inner: &Inner,
    info: &RequestInfo,
    accept: Accept,
    headers: &HeaderMap,
) -> Option<Response> {
    let kinds = inner.registry.kinds.load();
    let parts: Vec<&str> = info.path.split('/').filter(|p| !p.is_empty()).collect();
    let ok = |value: &Value| Some(respond::value(StatusCode::OK, value, accept));
    match parts.as_slice() {
        [] => ok(&json!({"paths": paths(&kinds, &inner.subresources)})),
        ["api"] if accept.view == View::Discovery => {
            Some(aggregated::serve(inner, &kinds, true, accept, headers))
        }
        ["apis"] if accept.view == View::Discovery => {
            Some(aggregated::serve(inner, &kinds, false, accept, headers))
        }
        ["api"] => ok(&legacy::api_versions()),
        ["apis"] => {
            let mut list = legacy::groups(&kinds, &inner.subresources);
            aggregation::add_to_groups(&inner.aggregator, &mut list);
            ok(&list)
        }
        ["api", version] => ok(&legacy::resources(
            &kinds,
            &inner.subresources,
            "",
            version,
        )?),
        ["apis", group] => {
            let own = legacy::group(&kinds, &inner.subresources, group);
            ok(&aggregation::add_to_group(&inner.aggregator, group, own)?)
        }
        ["apis", group, version] => ok(&legacy::resources(
            &kinds,
            &inner.subresources,
            group,
            version,
        )?),
        ["openapi", "v3", rest @ ..] => {
            let others = inner.aggregator.openapi();
            let asked = (rest, &info.query);
            inner.openapi.serve(&kinds, asked, &others, accept, headers)
        }
        ["openapi", "v2"] => {
            let others = inner.aggregator.openapi_v2();
            Some(inner.openapi.serve_v2(&kinds, &others, accept, headers))
        }
        _ => None,
    }
}

fn paths(kinds: &KindSet, subresources: &[SubresourceRegistration]) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, versions) in groups(kinds, subresources) {
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
            paths.extend(
                versions
                    .iter()
                    .map(|version| format!("/apis/{group}/{version}")),
            );
        }
    }
    paths.sort();
    paths
}

/// Groups and their versions, best first: those of kinds, and those that have subresources only.
fn groups(kinds: &KindSet, subresources: &[SubresourceRegistration]) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = kinds
        .groups()
        .map(|(group, versions)| {
            (
                group.to_owned(),
                versions.iter().map(|(v, _)| v.clone()).collect(),
            )
        })
        .collect();
    for registration in subresources {
        match all
            .iter_mut()
            .find(|(group, _)| *group == registration.group)
        {
            Some((group, versions)) => {
                if kinds.versions(group).is_none() {
                    for version in &registration.versions {
                        if !versions.contains(version) {
                            versions.push(version.clone());
                        }
                    }
                }
            }
            None => all.push((registration.group.clone(), registration.versions.clone())),
        }
    }
    all
}

/// Registered subresources of a group and version.
fn registered<'a>(
    subresources: &'a [SubresourceRegistration],
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a SubresourceRegistration> {
    subresources
        .iter()
        .filter(move |s| s.group == group && s.versions.iter().any(|v| v == version))
}

/// The hash that clients compare to see whether storage changed: group, version and kind, in base64.
fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    use base64::Engine as _;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{group}/{version}/{kind}").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    base64::engine::general_purpose::STANDARD.encode(hash.to_be_bytes())
}
