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
            "Containers!",
            "Images!",
            "Selector!",
        ],
        ("apps", "replicasets") => &[
            "Desired",
            "Current",
            "Ready",
            "Age",
            "Containers!",
            "Images!",
            "Selector!",
        ],
        ("apps", "statefulsets") => &["Ready", "Age", "Containers!", "Images!"],
        ("apps", "controllerrevisions") => &["Controller", "Revision", "Age"],
        ("batch", "jobs") => &[
            "Status",
            "Completions",
            "Duration",
            "Age",
            "Containers!",
            "Images!",
            "Selector!",
        ],
        ("batch", "cronjobs") => &[
            "Schedule",
            "Timezone",
            "Suspend",
            "Active",
            "Last Schedule",
            "Age",
            "Containers!",
            "Images!",
            "Selector!",
        ],
        ("networking.k8s.io", "ingresses") => &["Class", "Hosts", "Address", "Ports", "Age"],
        ("networking.k8s.io", "ingressclasses") => &["Controller", "Parameters", "Age"],
        ("storage.k8s.io", "csidrivers") => &[
            "AttachRequired",
            "PodInfoOnMount",
            "StorageCapacity",
            "TokenRequests",
            "RequiresRepublish",
            "Modes",
            "Age",
        ],
        ("storage.k8s.io", "csinodes") => &["Drivers", "Age"],
        ("storage.k8s.io", "csistoragecapacities") => &["StorageClassName", "Capacity"],
        ("storage.k8s.io", "volumeattachments") => &["Attacher", "PV", "Node", "Attached", "Age"],
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => &["Webhooks", "Age"],
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => {
            &["Mutations", "ParamKind", "Age"]
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => {
            &["Validations", "ParamKind", "Age"]
        }
        (
            "admissionregistration.k8s.io",
            "mutatingadmissionpolicybindings" | "validatingadmissionpolicybindings",
        ) => &["PolicyName", "ParamRef", "Age"],
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
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &[
            "PriorityLevel",
            "MatchingPrecedence",
            "DistinguisherMethod",
            "Age",
            "MissingPL",
        ],
        ("flowcontrol.apiserver.k8s.io", _) => &[
            "Type",
            "NominalConcurrencyShares",
            "Queues",
            "HandSize",
            "QueueLengthLimit",
            "Age",
        ],
        ("apiregistration.k8s.io", _) => &["Service", "Available", "Age"],
        // Kinds that upstream has no printer for.
        _ => &["Created At"],
    }
}

/// Columns behind the name.
pub(super) fn columns(kind: &Kind) -> impl Iterator<Item = Column> {
    let integers: &[&str] = match (kind.group.as_str(), kind.plural.as_str()) {
        ("apps", "daemonsets") => &["Desired", "Current", "Ready", "Up-to-date", "Available"],
        ("apps", "replicasets") => &["Desired", "Current", "Ready"],
        ("apps", "controllerrevisions") => &["Revision"],
        ("batch", "cronjobs") => &["Active"],
        ("policy", _) => &["Allowed Disruptions"],
        ("scheduling.k8s.io", _) => &["Value"],
        ("storage.k8s.io", "csinodes") => &["Drivers"],
        ("admissionregistration.k8s.io", _) => &["Webhooks", "Validations"],
        _ => &[],
    };
    let booleans: &[&str] = match (kind.group.as_str(), kind.plural.as_str()) {
        ("batch", "cronjobs") => &["Suspend"],
        ("scheduling.k8s.io", _) => &["Global-Default"],
        ("storage.k8s.io", "csidrivers") => &[
            "AttachRequired",
            "PodInfoOnMount",
            "StorageCapacity",
            "RequiresRepublish",
        ],
        ("storage.k8s.io", "volumeattachments") => &["Attached"],
        _ => &[],
    };
    specification(kind).iter().map(move |text| {
        let name = text.trim_end_matches('!');
        Column {
            name: name.to_owned(),
            ty: match name {
                "Created At" => "date",
                name if integers.contains(&name) => "integer",
                name if booleans.contains(&name) => "boolean",
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
