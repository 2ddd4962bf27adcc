//! Discovery documents with the group versions of other servers in them.

use serde_json::{Map, Value, json};

use super::Aggregator;
use super::remote::Remote;

/// Where a version stands in an `APIGroup`.
fn version_entry(group: &str, version: &str) -> Value {
    json!({"groupVersion": format!("{group}/{version}"), "version": version})
}

fn add_version(entry: &mut Value, remote: &Remote) {
    let wanted = version_entry(&remote.group, &remote.version);
    let Some(versions) = entry["versions"].as_array_mut() else {
        return;
    };
    if !versions.contains(&wanted) {
        versions.push(wanted);
    }
}

fn new_group(remote: &Remote) -> Value {
    let version = version_entry(&remote.group, &remote.version);
    json!({"name": remote.group, "versions": [version], "preferredVersion": version})
}

/// Adds groups to an `APIGroupList`; those of other servers are there whether they are well or not.
pub(crate) fn add_to_groups(aggregator: &Aggregator, list: &mut Value) {
    let Some(groups) = list["groups"].as_array_mut() else {
        return;
    };
    for remote in aggregator.routes().iter() {
        match groups
            .iter_mut()
            .find(|g| g["name"] == remote.group.as_str())
        {
            Some(group) => add_version(group, remote),
            None => groups.push(new_group(remote)),
        }
    }
}

/// The `APIGroup` of a name with versions of other servers; `None` when nobody has it.
pub(crate) fn add_to_group(
    aggregator: &Aggregator,
    name: &str,
    mut group: Option<Value>,
) -> Option<Value> {
    for remote in aggregator.routes().iter().filter(|r| r.group == name) {
        match &mut group {
            Some(group) => add_version(group, remote),
            None => {
                let mut entry = new_group(remote);
                entry["kind"] = json!("APIGroup");
                entry["apiVersion"] = json!("v1");
                group = Some(entry);
            }
        }
    }
    group
}

/// Adds to the items of aggregated discovery. Versions of servers that are not well are `Stale`, with what was known.
pub(crate) fn add_to_aggregated(aggregator: &Aggregator, items: &mut Vec<Value>) {
    for remote in aggregator.routes().iter() {
        let health = remote.health();
        let freshness = if health.available.is_ok() {
            "Current"
        } else {
            "Stale"
        };
        let mut version = json!({"version": remote.version, "freshness": freshness});
        if let Some(list) = &health.resources {
            version["resources"] = resources(list, &remote.group, &remote.version);
        }
        let group = items
            .iter_mut()
            .find(|item| item["metadata"]["name"] == remote.group.as_str());
        match group.and_then(|group| group["versions"].as_array_mut()) {
            Some(versions)
                if versions
                    .iter()
                    .any(|v| v["version"] == remote.version.as_str()) => {}
            Some(versions) => versions.push(version),
            None => items.push(json!({
                "metadata": {"name": remote.group, "creationTimestamp": null},
                "versions": [version],
            })),
        }
    }
}

/// The resources of an `APIResourceList` in the form of aggregated discovery.
fn resources(list: &Value, group: &str, version: &str) -> Value {
    let own = |resource: &Value| {
        let of = |key: &str, default: &str| match resource[key].as_str() {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => default.to_owned(),
        };
        json!({"group": of("group", group), "version": of("version", version), "kind": of("kind", "")})
    };
    let mut shown: Vec<Value> = Vec::new();
    for resource in list["resources"].as_array().into_iter().flatten() {
        let name = resource["name"].as_str().unwrap_or_default();
        let scope = if resource["namespaced"] == true {
            "Namespaced"
        } else {
            "Cluster"
        };
        let (parent, sub) = name.split_once('/').unwrap_or((name, ""));
        let at = shown.iter().position(|r| r["resource"] == parent);
        if sub.is_empty() {
            let mut map = Map::new();
            map.insert("resource".to_owned(), json!(name));
            map.insert("responseKind".to_owned(), own(resource));
            map.insert("scope".to_owned(), json!(scope));
            map.insert(
                "singularResource".to_owned(),
                json!(resource["singularName"].as_str().unwrap_or_default()),
            );
            for key in ["verbs", "shortNames", "categories"] {
                if resource[key].is_array() {
                    map.insert(key.to_owned(), resource[key].clone());
                }
            }
            match at.and_then(|at| shown.get_mut(at)) {
                // Its subresources came first.
                Some(there) => map
                    .into_iter()
                    .for_each(|(key, value)| there[key.as_str()] = value),
                None => shown.push(Value::Object(map)),
            }
            continue;
        }
        let entry =
            json!({"subresource": sub, "responseKind": own(resource), "verbs": resource["verbs"]});
        let at = at.unwrap_or_else(|| {
            // Old clients fall over a parent without a kind (kubernetes/kubernetes#118361).
            let none = json!({"group": "", "version": "", "kind": ""});
            shown.push(json!({
                "resource": parent, "responseKind": none, "scope": scope, "singularResource": "", "verbs": [],
            }));
            shown.len() - 1
        });
        if let Some(parent) = shown.get_mut(at).and_then(Value::as_object_mut)
            && let Some(list) = parent
                .entry("subresources")
                .or_insert_with(|| json!([]))
                .as_array_mut()
        {
            list.push(entry);
        }
    }
    Value::Array(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_lists_become_aggregated_discovery() {
        let list = json!({"kind": "APIResourceList", "resources": [
            {"name": "ships", "singularName": "ship", "namespaced": true, "kind": "Ship", "verbs": ["get", "list"],
                "shortNames": ["sh"]},
            {"name": "ships/scale", "singularName": "", "namespaced": true, "group": "autoscaling", "version": "v1",
                "kind": "Scale", "verbs": ["get"]},
            {"name": "docks/berth", "singularName": "", "namespaced": false, "kind": "Berth", "verbs": ["create"]},
        ]});
        let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
        assert_eq!(
            resources(&list, "example.com", "v1"),
            json!([
                {"resource": "ships", "responseKind": kind("example.com", "v1", "Ship"), "scope": "Namespaced",
                    "singularResource": "ship", "verbs": ["get", "list"], "shortNames": ["sh"], "subresources": [
                        {"subresource": "scale", "responseKind": kind("autoscaling", "v1", "Scale"), "verbs": ["get"]}]},
                {"resource": "docks", "responseKind": kind("", "", ""), "scope": "Cluster", "singularResource": "", "verbs": [], "subresources": [
                    {"subresource": "berth", "responseKind": kind("example.com", "v1", "Berth"), "verbs": ["create"]}]},
            ])
        );
    }
}
