//! Cells of the built-in kinds.

use apimachinery::meta;
use jiff::Timestamp;
use serde_json::Value;

use super::rows::{
    addresses, binding, claim, event, quota, service, slice_addresses, slice_ports, volume,
};
use super::{age, more, pods};
use crate::kinds::Kind;

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn or(text: &str, alternative: &str) -> Value {
    Value::from(if text.is_empty() { alternative } else { text })
}

pub(super) fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn selector(object: &Value, pointer: &str) -> String {
    let Some(map) = object.pointer(pointer).and_then(Value::as_object) else {
        return "<none>".to_owned();
    };
    if map.is_empty() {
        return "<none>".to_owned();
    }
    map.iter()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

/// The cells of a row, the name first.
pub(super) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let mut name = meta::name(object).unwrap_or_default().to_owned();
    if kind.is("storage.k8s.io", "storageclasses")
        && meta::annotation(object, "storageclass.kubernetes.io/is-default-class") == Some("true")
    {
        name.push_str(" (default)");
    }
    let name = Value::from(name);
    let age = age(meta::creation_timestamp(object), now);
    let created = Value::from(text(object, "/metadata/creationTimestamp"));
    let mut rest = match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => pods::pod(object, age, now),
        ("", "nodes") => pods::node(object, age),
        ("", "namespaces") => vec![Value::from(text(object, "/status/phase")), age],
        ("", "configmaps") => vec![
            Value::from(count(object, "/data") + count(object, "/binaryData")),
            age,
        ],
        ("", "secrets") => vec![
            Value::from(text(object, "/type")),
            Value::from(count(object, "/data")),
            age,
        ],
        ("", "services") => service(object, age),
        ("", "serviceaccounts") => vec![Value::from(count(object, "/secrets")), age],
        ("", "endpoints") => vec![Value::from(addresses(object)), age],
        ("", "persistentvolumeclaims") => claim(object, age),
        ("", "persistentvolumes") => volume(object, age),
        (_, "events") => event(object, now),
        ("", "resourcequotas") => vec![
            Value::from(quota(object, "requests.")),
            Value::from(quota(object, "limits.")),
            age,
        ],
        ("coordination.k8s.io", "leases") => {
            vec![Value::from(text(object, "/spec/holderIdentity")), age]
        }
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") | ("apiextensions.k8s.io", _) => {
            vec![created]
        }
        ("rbac.authorization.k8s.io", _) => binding(object, age),
        ("storage.k8s.io", "storageclasses") => vec![
            Value::from(text(object, "/provisioner")),
            or(text(object, "/reclaimPolicy"), "Delete"),
            or(text(object, "/volumeBindingMode"), "Immediate"),
            object
                .pointer("/allowVolumeExpansion")
                .cloned()
                .unwrap_or(Value::Bool(false)),
            age,
        ],
        ("apps", "deployments") => vec![
            Value::from(format!(
                "{}/{}",
                number(object, "/status/readyReplicas"),
                number(object, "/spec/replicas")
            )),
            Value::from(number(object, "/status/updatedReplicas")),
            Value::from(number(object, "/status/availableReplicas")),
            age,
            Value::from(containers(object, "name")),
            Value::from(containers(object, "image")),
            Value::from(selector(object, "/spec/selector/matchLabels")),
        ],
        ("apps", "daemonsets") => vec![
            Value::from(number(object, "/status/desiredNumberScheduled")),
            Value::from(number(object, "/status/currentNumberScheduled")),
            Value::from(number(object, "/status/numberReady")),
            Value::from(number(object, "/status/updatedNumberScheduled")),
            Value::from(number(object, "/status/numberAvailable")),
            Value::from(selector(object, "/spec/template/spec/nodeSelector")),
            age,
            Value::from(containers(object, "name")),
            Value::from(containers(object, "image")),
            Value::from(selector(object, "/spec/selector/matchLabels")),
        ],
        ("policy", "poddisruptionbudgets") => vec![
            shown(object.pointer("/spec/minAvailable")),
            shown(object.pointer("/spec/maxUnavailable")),
            Value::from(number(object, "/status/disruptionsAllowed")),
            age,
        ],
        ("networking.k8s.io", "networkpolicies") => vec![
            Value::from(selector(object, "/spec/podSelector/matchLabels")),
            age,
        ],
        ("scheduling.k8s.io", "priorityclasses") => vec![
            Value::from(number(object, "/value")),
            object
                .pointer("/globalDefault")
                .cloned()
                .unwrap_or(Value::Bool(false)),
            age,
            or(text(object, "/preemptionPolicy"), "PreemptLowerPriority"),
        ],
        ("discovery.k8s.io", "endpointslices") => vec![
            Value::from(text(object, "/addressType")),
            Value::from(slice_ports(object)),
            Value::from(slice_addresses(object)),
            age,
        ],
        _ => more::cells(kind, object, age, now).unwrap_or_else(|| vec![created]),
    };
    rest.insert(0, name);
    rest
}

pub(super) fn shown(value: Option<&Value>) -> Value {
    match value {
        Some(Value::String(text)) => Value::from(text.as_str()),
        Some(other) => Value::from(other.to_string()),
        None => Value::from("N/A"),
    }
}

pub(super) fn containers(object: &Value, field: &str) -> String {
    let list = object
        .pointer("/spec/template/spec/containers")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|c| c.get(field)?.as_str())
        .collect::<Vec<_>>()
        .join(",")
}
