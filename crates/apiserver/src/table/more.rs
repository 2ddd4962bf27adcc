//! Cells of kinds that a platform of machines keeps as data: workloads, ingresses, storage, admission.

use apimachinery::meta;
use apimachinery::time::parse_time;
use jiff::Timestamp;
use serde_json::Value;

use super::builtin::{containers, count, number, or, selector, text};
use crate::kinds::Kind;

/// The cells behind the name; `None` for a kind without columns of its own.
pub(super) fn cells(kind: &Kind, object: &Value, age: Value, now: Timestamp) -> Option<Vec<Value>> {
    let parts = || {
        [
            Value::from(containers(object, "name")),
            Value::from(containers(object, "image")),
        ]
    };
    let labels = || Value::from(selector(object, "/spec/selector/matchLabels"));
    Some(match (kind.group.as_str(), kind.plural.as_str()) {
        ("apps", "replicasets") => {
            let mut row = vec![
                Value::from(number(object, "/spec/replicas")),
                Value::from(number(object, "/status/replicas")),
                Value::from(number(object, "/status/readyReplicas")),
                age,
            ];
            row.extend(parts());
            row.push(labels());
            row
        }
        ("apps", "statefulsets") => {
            let ready = format!(
                "{}/{}",
                number(object, "/status/readyReplicas"),
                number(object, "/spec/replicas")
            );
            let mut row = vec![Value::from(ready), age];
            row.extend(parts());
            row
        }
        ("apps", "controllerrevisions") => {
            let owner = meta::owner_references(object)
                .into_iter()
                .find(|o| o.controller == Some(true));
            let owner = owner.map_or("<none>".to_owned(), |o| {
                let group = o.api_version.split_once('/').map_or("", |(g, _)| g);
                let suffix = if group.is_empty() { "" } else { "." };
                format!("{}{suffix}{group}/{}", o.kind.to_lowercase(), o.name)
            });
            vec![
                Value::from(owner),
                Value::from(number(object, "/revision")),
                age,
            ]
        }
        ("batch", "jobs") => {
            let mut row = job(object, age, now);
            row.extend(parts());
            row.push(labels());
            row
        }
        ("batch", "cronjobs") => cron_job(object, age, now),
        ("networking.k8s.io", "ingresses") => ingress(object, age),
        ("networking.k8s.io", "ingressclasses") => {
            let parameters = match text(object, "/spec/parameters/kind") {
                "" => "<none>".to_owned(),
                kind => {
                    let group = text(object, "/spec/parameters/apiGroup");
                    let suffix = if group.is_empty() { "" } else { "." };
                    let name = text(object, "/spec/parameters/name");
                    format!("{kind}{suffix}{group}/{name}")
                }
            };
            vec![
                Value::from(text(object, "/spec/controller")),
                Value::from(parameters),
                age,
            ]
        }
        ("storage.k8s.io", "csidrivers") => csi_driver(object, age),
        ("storage.k8s.io", "csinodes") => {
            vec![Value::from(count(object, "/spec/drivers")), age]
        }
        ("storage.k8s.io", "csistoragecapacities") => vec![
            Value::from(text(object, "/storageClassName")),
            or(text(object, "/capacity"), "<unset>"),
        ],
        ("storage.k8s.io", "volumeattachments") => vec![
            Value::from(text(object, "/spec/attacher")),
            Value::from(text(object, "/spec/source/persistentVolumeName")),
            Value::from(text(object, "/spec/nodeName")),
            flag(object, "/status/attached"),
            age,
        ],
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => vec![Value::from(count(object, "/webhooks")), age],
        (
            "admissionregistration.k8s.io",
            "mutatingadmissionpolicies" | "validatingadmissionpolicies",
        ) => {
            let kind = match text(object, "/spec/paramKind/kind") {
                "" => "<unset>".to_owned(),
                kind => format!("{}/{kind}", text(object, "/spec/paramKind/apiVersion")),
            };
            vec![
                Value::from(count(object, "/spec/validations") + count(object, "/spec/mutations")),
                Value::from(kind),
                age,
            ]
        }
        (
            "admissionregistration.k8s.io",
            "mutatingadmissionpolicybindings" | "validatingadmissionpolicybindings",
        ) => {
            let reference = object.pointer("/spec/paramRef").filter(|r| r.is_object());
            let shown = reference.map_or("<unset>".to_owned(), |reference| {
                match (text(reference, "/namespace"), text(reference, "/name")) {
                    (namespace, "") => format!("{namespace}/*"),
                    ("", name) => format!("*/{name}"),
                    (namespace, name) => format!("{namespace}/{name}"),
                }
            });
            vec![
                Value::from(text(object, "/spec/policyName")),
                Value::from(shown),
                age,
            ]
        }
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => vec![
            Value::from(text(object, "/spec/priorityLevelConfiguration/name")),
            Value::from(number(object, "/spec/matchingPrecedence")),
            or(text(object, "/spec/distinguisherMethod/type"), "<none>"),
            age,
            or(
                condition(object, "Dangling").map_or("", |c| text(c, "/status")),
                "?",
            ),
        ],
        ("flowcontrol.apiserver.k8s.io", _) => {
            let limited = |field: &str| {
                let given = object.pointer(&format!("/spec/limited/{field}"));
                given.cloned().unwrap_or_else(|| Value::from("<none>"))
            };
            vec![
                Value::from(text(object, "/spec/type")),
                limited("nominalConcurrencyShares"),
                limited("limitResponse/queuing/queues"),
                limited("limitResponse/queuing/handSize"),
                limited("limitResponse/queuing/queueLengthLimit"),
                age,
            ]
        }
        ("apiregistration.k8s.io", _) => api_service(object, age),
        _ => return None,
    })
}

fn flag(object: &Value, pointer: &str) -> Value {
    Value::Bool(object.pointer(pointer) == Some(&Value::Bool(true)))
}

fn condition<'a>(object: &'a Value, ty: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")
        .and_then(Value::as_array)?
        .iter()
        .find(|c| text(c, "/type") == ty)
}

fn holds(object: &Value, ty: &str) -> bool {
    condition(object, ty).is_some_and(|c| text(c, "/status") == "True")
}

fn job(object: &Value, age: Value, now: Timestamp) -> Vec<Value> {
    let succeeded = number(object, "/status/succeeded");
    let completions = object.pointer("/spec/completions").and_then(Value::as_i64);
    let parallelism = object.pointer("/spec/parallelism").and_then(Value::as_i64);
    let completions = match (completions, parallelism.unwrap_or(1)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, several) if several > 1 => format!("{succeeded}/1 of {several}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let start = parse_time(text(object, "/status/startTime")).ok();
    let end = parse_time(text(object, "/status/completionTime")).unwrap_or(now);
    let duration = start.map_or(Value::from(""), |start| super::age(Some(start), end));
    let status = if holds(object, "Complete") {
        "Complete"
    } else if holds(object, "Failed") {
        "Failed"
    } else if meta::is_deleting(object) {
        "Terminating"
    } else if holds(object, "Suspended") {
        "Suspended"
    } else if holds(object, "FailureTarget") {
        "FailureTarget"
    } else if holds(object, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    vec![Value::from(status), Value::from(completions), duration, age]
}

fn cron_job(object: &Value, age: Value, now: Timestamp) -> Vec<Value> {
    let template = object.pointer("/spec/jobTemplate").unwrap_or(&Value::Null);
    let last = match parse_time(text(object, "/status/lastScheduleTime")) {
        Ok(time) => super::age(Some(time), now),
        Err(_) => Value::from("<none>"),
    };
    vec![
        Value::from(text(object, "/spec/schedule")),
        or(text(object, "/spec/timeZone"), "<none>"),
        flag(object, "/spec/suspend"),
        Value::from(count(object, "/status/active")),
        last,
        age,
        Value::from(containers(template, "name")),
        Value::from(containers(template, "image")),
        Value::from(selector(template, "/spec/selector/matchLabels")),
    ]
}

fn ingress(object: &Value, age: Value) -> Vec<Value> {
    let texts = |pointer: &str, field: &str| -> Vec<String> {
        object
            .pointer(pointer)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|one| text(one, field).to_owned())
            .filter(|t| !t.is_empty())
            .collect()
    };
    let hosts = texts("/spec/rules", "/host");
    let hosts = match hosts.as_slice() {
        [] => "*".to_owned(),
        all if all.len() > 3 => format!(
            "{} + {} more...",
            all.iter().take(3).cloned().collect::<Vec<_>>().join(","),
            all.len() - 3
        ),
        all => all.join(","),
    };
    let mut addresses = texts("/status/loadBalancer/ingress", "/ip");
    addresses.extend(texts("/status/loadBalancer/ingress", "/hostname"));
    let ports = if count(object, "/spec/tls") > 0 {
        "80, 443"
    } else {
        "80"
    };
    vec![
        or(text(object, "/spec/ingressClassName"), "<none>"),
        Value::from(hosts),
        Value::from(addresses.join(",")),
        Value::from(ports),
        age,
    ]
}

fn csi_driver(object: &Value, age: Value) -> Vec<Value> {
    let list = |pointer: &str, field: &str| {
        let all: Vec<String> = object
            .pointer(pointer)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|one| match one {
                Value::String(text) => text.clone(),
                other => text(other, field).to_owned(),
            })
            .collect();
        all.join(",")
    };
    vec![
        flag(object, "/spec/attachRequired"),
        flag(object, "/spec/podInfoOnMount"),
        flag(object, "/spec/storageCapacity"),
        or(&list("/spec/tokenRequests", "/audience"), "<unset>"),
        flag(object, "/spec/requiresRepublish"),
        or(&list("/spec/volumeLifecycleModes", ""), "<none>"),
        age,
    ]
}

fn api_service(object: &Value, age: Value) -> Vec<Value> {
    let service = match text(object, "/spec/service/name") {
        "" => "Local".to_owned(),
        name => format!("{}/{name}", text(object, "/spec/service/namespace")),
    };
    let available = match condition(object, "Available") {
        Some(one) if text(one, "/status") == "True" => "True".to_owned(),
        Some(one) => format!("{} ({})", text(one, "/status"), text(one, "/reason")),
        None => "Unknown".to_owned(),
    };
    vec![Value::from(service), Value::from(available), age]
}
