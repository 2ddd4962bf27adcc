//! Columns and cells of the built-in kinds, as kubectl users know them.

use serde_json::{Value, json};

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
