//! Columns and cells of the built-in kinds, as kubectl users know them.

use apimachinery::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, pods};
use crate::kinds::{Column, Kind};

/// `name[:type][!]`: `!` marks columns of `-o wide`.
fn specification(kind: &Kind) -> &'static [&'static str] {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => &[
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "IP!",
            "Node!",
            "Nominated Node!",
            "Readiness Gates!",
        ],
        ("", "nodes") => &[
            "Status",
            "Roles",
            "Age",
            "Version",
            "Internal-IP!",
            "External-IP!",
            "OS-Image!",
            "Kernel-Version!",
            "Container-Runtime!",
        ],
        ("", "namespaces") => &["Status", "Age"],
        ("", "configmaps") => &["Data", "Age"],
        ("", "secrets") => &["Type", "Data", "Age"],
        ("", "services") => &[
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
            "Selector!",
        ],
        ("", "serviceaccounts") => &["Secrets", "Age"],
        ("", "endpoints") => &["Endpoints", "Age"],
        ("", "persistentvolumeclaims") => &[
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "VolumeMode!",
        ],
        ("", "persistentvolumes") => &[
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            "VolumeMode!",
        ],
        ("", "events") => &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject!",
            "Source!",
            "Message",
            "First Seen!",
            "Count!",
            "Name!",
        ],
        ("events.k8s.io", "events") => &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject!",
            "Source!",
            "Message",
            "First Seen!",
            "Count!",
            "Name!",
        ],
        ("", "resourcequotas") => &["Request", "Limit", "Age"],
        ("coordination.k8s.io", "leases") => &["Holder", "Age"],
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => &["Created At"],
        ("rbac.authorization.k8s.io", _) => {
            &["Role", "Age", "Users!", "Groups!", "ServiceAccounts!"]
        }
        ("apiextensions.k8s.io", _) => &["Created At"],
        ("storage.k8s.io", "storageclasses") => &[
            "Provisioner",
            "ReclaimPolicy",
            "VolumeBindingMode",
            "AllowVolumeExpansion",
            "Age",
        ],
        ("apps", "deployments") => &[
            "Ready",
            "Up-to-date",
            "Available",
            "Age",
            "Containers!",
            "Images!",
            "Selector!",
        ],
        ("apps", "daemonsets") => &[
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Node Selector",
            "Age",
        ],
        ("policy", "poddisruptionbudgets") => &[
            "Min Available",
            "Max Unavailable",
            "Allowed Disruptions",
            "Age",
        ],
        ("networking.k8s.io", "networkpolicies") => &["Pod-Selector", "Age"],
        ("scheduling.k8s.io", "priorityclasses") => {
            &["Value", "Global-Default", "Age", "PreemptionPolicy"]
        }
        ("discovery.k8s.io", "endpointslices") => &["AddressType", "Ports", "Endpoints", "Age"],
        _ => &["Age"],
    }
}

/// Columns behind the name.
pub(super) fn columns(kind: &Kind) -> impl Iterator<Item = Column> {
    let custom_dates = kind.is("rbac.authorization.k8s.io", "roles")
        || kind.is("rbac.authorization.k8s.io", "clusterroles")
        || kind.group == "apiextensions.k8s.io";
    specification(kind).iter().map(move |text| {
        let name = text.trim_end_matches('!');
        Column {
            name: name.to_owned(),
            ty: match name {
                "Created At" if custom_dates => "date",
                "Data" | "Secrets" | "Desired" | "Current" | "Value" => "string",
                _ => "string",
            }
            .to_owned(),
            format: String::new(),
            description: format!("{name}, as kubectl shows it."),
            priority: i32::from(text.ends_with('!')),
        }
    })
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn or(text: &str, alternative: &str) -> Value {
    Value::from(if text.is_empty() { alternative } else { text })
}

fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn selector(object: &Value, pointer: &str) -> String {
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
    let name = Value::from(meta::name(object).unwrap_or_default());
    let age = age(meta::creation_timestamp(object), now);
    let created = Value::from(text(object, "/metadata/creationTimestamp"));
    let mut rest = match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => pods::pod(object, age),
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
        _ => vec![age],
    };
    rest.insert(0, name);
    rest
}

fn shown(value: Option<&Value>) -> Value {
    match value {
        Some(Value::String(text)) => Value::from(text.as_str()),
        Some(other) => Value::from(other.to_string()),
        None => Value::from("N/A"),
    }
}

fn containers(object: &Value, field: &str) -> String {
    let list = object
        .pointer("/spec/template/spec/containers")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|c| c.get(field)?.as_str())
        .collect::<Vec<_>>()
        .join(",")
}

fn service(object: &Value, age: Value) -> Vec<Value> {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let ports: Vec<String> = ports
        .into_iter()
        .flatten()
        .map(|port| {
            let protocol = port
                .get("protocol")
                .and_then(Value::as_str)
                .unwrap_or("TCP");
            match port.get("nodePort").and_then(Value::as_i64) {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", number(port, "/port")),
                _ => format!("{}/{protocol}", number(port, "/port")),
            }
        })
        .collect();
    let ty = text(object, "/spec/type");
    let external = match ty {
        "ExternalName" => text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => match text(object, "/status/loadBalancer/ingress/0/ip") {
            "" => "<pending>".to_owned(),
            ip => ip.to_owned(),
        },
        _ => "<none>".to_owned(),
    };
    vec![
        Value::from(ty),
        or(text(object, "/spec/clusterIP"), "<none>"),
        Value::from(external),
        or(&ports.join(","), "<none>"),
        age,
        Value::from(selector(object, "/spec/selector")),
    ]
}

fn addresses(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in object
        .pointer("/subsets")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for address in subset
            .get("addresses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            for port in subset
                .get("ports")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                all.push(format!(
                    "{}:{}",
                    text(address, "/ip"),
                    number(port, "/port")
                ));
            }
        }
    }
    if all.is_empty() {
        "<none>".to_owned()
    } else {
        all.join(",")
    }
}

fn slice_ports(object: &Value) -> String {
    let ports = object.pointer("/ports").and_then(Value::as_array);
    let ports: Vec<String> = ports
        .into_iter()
        .flatten()
        .map(|p| number(p, "/port").to_string())
        .collect();
    if ports.is_empty() {
        "<unset>".to_owned()
    } else {
        ports.join(",")
    }
}

fn slice_addresses(object: &Value) -> String {
    let endpoints = object.pointer("/endpoints").and_then(Value::as_array);
    let all: Vec<&str> = endpoints
        .into_iter()
        .flatten()
        .filter_map(|e| e.get("addresses")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if all.is_empty() {
        "<unset>".to_owned()
    } else {
        all.join(",")
    }
}

fn access_modes(object: &Value, pointer: &str) -> String {
    let modes = object.pointer(pointer).and_then(Value::as_array);
    let modes: Vec<&str> = modes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|mode| match mode {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect();
    modes.join(",")
}

fn claim(object: &Value, age: Value) -> Vec<Value> {
    let phase = if meta::is_deleting(object) {
        "Terminating"
    } else {
        text(object, "/status/phase")
    };
    let bound = !text(object, "/spec/volumeName").is_empty();
    vec![
        Value::from(phase),
        Value::from(text(object, "/spec/volumeName")),
        Value::from(if bound {
            text(object, "/status/capacity/storage")
        } else {
            ""
        }),
        Value::from(if bound {
            access_modes(object, "/status/accessModes")
        } else {
            String::new()
        }),
        Value::from(text(object, "/spec/storageClassName")),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        age,
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ]
}

fn volume(object: &Value, age: Value) -> Vec<Value> {
    let phase = if meta::is_deleting(object) {
        "Terminating"
    } else {
        text(object, "/status/phase")
    };
    let claim = match text(object, "/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", text(object, "/spec/claimRef/namespace")),
    };
    vec![
        Value::from(text(object, "/spec/capacity/storage")),
        Value::from(access_modes(object, "/spec/accessModes")),
        Value::from(text(object, "/spec/persistentVolumeReclaimPolicy")),
        Value::from(phase),
        Value::from(claim),
        Value::from(text(object, "/spec/storageClassName")),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        Value::from(text(object, "/status/reason")),
        age,
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ]
}

fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |a: &str, b: &str| {
        let first = text(object, a);
        (if first.is_empty() {
            text(object, b)
        } else {
            first
        })
        .to_owned()
    };
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let micro = text(object, "/eventTime");
    let last = time(&either("/lastTimestamp", "/deprecatedLastTimestamp"))
        .or_else(|| time(text(object, "/series/lastObservedTime")))
        .or_else(|| time(micro));
    let first =
        time(&either("/firstTimestamp", "/deprecatedFirstTimestamp")).or_else(|| time(micro));
    let kind = either("/involvedObject/kind", "/regarding/kind").to_lowercase();
    let source = match either("/source/component", "/deprecatedSource/component") {
        s if s.is_empty() => either("/reportingComponent", "/reportingController"),
        s => s,
    };
    let counted = [
        number(object, "/count"),
        number(object, "/deprecatedCount"),
        number(object, "/series/count"),
    ]
    .into_iter()
    .max()
    .unwrap_or(0)
    .max(1);
    vec![
        age(last, now),
        Value::from(text(object, "/type")),
        Value::from(text(object, "/reason")),
        Value::from(format!(
            "{kind}/{}",
            either("/involvedObject/name", "/regarding/name")
        )),
        Value::from(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        Value::from(source),
        Value::from(either("/message", "/note").trim()),
        age(first, now),
        Value::from(counted),
        Value::from(meta::name(object).unwrap_or_default()),
    ]
}

fn quota(object: &Value, prefix: &str) -> String {
    let hard = object.pointer("/status/hard").and_then(Value::as_object);
    let limits = prefix == "limits.";
    let parts: Vec<String> = hard
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("limits.") == limits)
        .map(|(key, value)| {
            let used = object
                .pointer("/status/used")
                .and_then(|u| u.get(key))
                .and_then(Value::as_str)
                .unwrap_or("0");
            format!("{key}: {used}/{}", value.as_str().unwrap_or_default())
        })
        .collect();
    parts.join(", ")
}

fn binding(object: &Value, age: Value) -> Vec<Value> {
    let of = |kind: &str| {
        let subjects = object.pointer("/subjects").and_then(Value::as_array);
        let names: Vec<String> = subjects
            .into_iter()
            .flatten()
            .filter(|s| text(s, "/kind") == kind)
            .map(|s| {
                if kind == "ServiceAccount" {
                    format!("{}/{}", text(s, "/namespace"), text(s, "/name"))
                } else {
                    text(s, "/name").to_owned()
                }
            })
            .collect();
        Value::from(names.join(", "))
    };
    let role = format!(
        "{}/{}",
        text(object, "/roleRef/kind"),
        text(object, "/roleRef/name")
    );
    vec![
        Value::from(role),
        age,
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}

/// Conditions of a row: kubectl greys out finished Pods.
pub(super) fn conditions(kind: &Kind, object: &Value) -> Option<Value> {
    if !kind.is("", "pods") {
        return None;
    }
    let (reason, message) = match text(object, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}
