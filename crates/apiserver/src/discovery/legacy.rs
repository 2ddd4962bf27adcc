//! `APIVersions`, `APIGroupList`, `APIGroup`, `APIResourceList`.

use serde_json::{Map, Value, json};

use super::{groups as all_groups, registered, storage_hash};
use crate::kinds::{Kind, KindSet, SubresourceInfo};
use crate::subresource::SubresourceRegistration;

pub(super) fn api_versions() -> Value {
    json!({"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn entry(name: &str, versions: &[String]) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

pub(super) fn groups(kinds: &KindSet, subresources: &[SubresourceRegistration]) -> Value {
    let list: Vec<Value> = all_groups(kinds, subresources)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| entry(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
}

pub(super) fn group(
    kinds: &KindSet,
    subresources: &[SubresourceRegistration],
    name: &str,
) -> Option<Value> {
    let groups = all_groups(kinds, subresources);
    let (group, versions) = groups
        .iter()
        .find(|(group, _)| group == name && !group.is_empty())?;
    let mut value = entry(group, versions);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Some(value)
}

pub(super) fn resources(
    kinds: &KindSet,
    subresources: &[SubresourceRegistration],
    group: &str,
    version: &str,
) -> Option<Value> {
    let mut list = Vec::new();
    let served = kinds
        .versions(group)
        .and_then(|versions| versions.iter().find(|(v, _)| v == version));
    for kind in served.into_iter().flat_map(|(_, kinds)| kinds) {
        list.push(resource(kind));
        list.extend(kind.subresources.iter().map(|s| subresource(kind, s)));
    }
    for registration in registered(subresources, group, version) {
        let name = match registration.subresource.as_str() {
            "" => registration.resource.clone(),
            sub => format!("{}/{sub}", registration.resource),
        };
        if !list
            .iter()
            .any(|r: &Value| r.get("name").is_some_and(|n| *n == name))
        {
            list.push(json!({
                "name": name, "singularName": "", "namespaced": registration.namespaced,
                "kind": registration.kind, "verbs": registration.verbs,
            }));
        }
    }
    if list.is_empty() {
        return None;
    }
    // By resource; the subresources of one stay in their order.
    let resource_of = |value: &Value| {
        value["name"]
            .as_str()
            .unwrap_or_default()
            .split('/')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    list.sort_by_cached_key(resource_of);
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

fn resource(kind: &Kind) -> Value {
    let mut map = Map::new();
    map.insert("name".to_owned(), json!(kind.plural));
    map.insert("singularName".to_owned(), json!(kind.singular));
    map.insert("namespaced".to_owned(), json!(kind.namespaced));
    map.insert("kind".to_owned(), json!(kind.kind));
    map.insert("verbs".to_owned(), json!(kind.shown_verbs()));
    if !kind.short_names.is_empty() {
        map.insert("shortNames".to_owned(), json!(kind.short_names));
    }
    if !kind.categories.is_empty() {
        map.insert("categories".to_owned(), json!(kind.categories));
    }
    if !kind.behaviour.is_virtual {
        map.insert(
            "storageVersionHash".to_owned(),
            json!(storage_hash(&kind.group, &kind.storage_version, &kind.kind)),
        );
    }
    Value::Object(map)
}

fn subresource(kind: &Kind, info: &SubresourceInfo) -> Value {
    let mut value = json!({
        "name": format!("{}/{}", kind.plural, info.name), "singularName": "", "namespaced": kind.namespaced,
        "kind": info.kind, "verbs": info.verbs,
    });
    if !info.version.is_empty() && (info.group != kind.group || info.version != kind.version) {
        value["group"] = json!(info.group);
        value["version"] = json!(info.version);
    }
    value
}
