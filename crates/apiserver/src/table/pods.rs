//! Cells of Pods and Nodes, whose status is a story.

use apimachinery::meta;
use serde_json::Value;

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn or(text: &str, alternative: &str) -> Value {
    Value::from(if text.is_empty() { alternative } else { text })
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl DoubleEndedIterator<Item = &'a Value> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn is_true(object: &Value, pointer: &str) -> bool {
    object
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates.
pub(super) fn pod(object: &Value, age: Value) -> Vec<Value> {
    let total = list(object, "/spec/containers").count();
    let ready = list(object, "/status/containerStatuses")
        .filter(|s| is_true(s, "/ready"))
        .count();
    let restarts: i64 = list(object, "/status/containerStatuses")
        .filter_map(|s| s.get("restartCount")?.as_i64())
        .sum();
    let gates: Vec<&str> = list(object, "/spec/readinessGates")
        .filter_map(|g| g.get("conditionType")?.as_str())
        .collect();
    let gates_text = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met = gates
            .iter()
            .filter(|g| {
                list(object, "/status/conditions")
                    .any(|c| text(c, "/type") == **g && text(c, "/status") == "True")
            })
            .count();
        format!("{met}/{}", gates.len())
    };
    vec![
        Value::from(format!("{ready}/{total}")),
        Value::from(status(object)),
        Value::from(restarts.to_string()),
        age,
        or(text(object, "/status/podIP"), "<none>"),
        or(text(object, "/spec/nodeName"), "<none>"),
        or(text(object, "/status/nominatedNodeName"), "<none>"),
        Value::from(gates_text),
    ]
}

/// The one word that says how a Pod is: the most telling reason of its containers, else its phase.
fn status(object: &Value) -> String {
    let mut reason = match text(object, "/status/reason") {
        "" => text(object, "/status/phase").to_owned(),
        reason => reason.to_owned(),
    };
    let init_total = list(object, "/spec/initContainers").count();
    let mut initializing = false;
    for (index, container) in list(object, "/status/initContainerStatuses").enumerate() {
        let code = container
            .pointer("/state/terminated/exitCode")
            .and_then(Value::as_i64);
        if code == Some(0) {
            continue;
        }
        reason = match (
            code,
            text(container, "/state/terminated/reason"),
            text(container, "/state/waiting/reason"),
        ) {
            (Some(code), "", _) => format!("Init:ExitCode:{code}"),
            (Some(_), why, _) => format!("Init:{why}"),
            (None, _, why) if !why.is_empty() && why != "PodInitializing" => format!("Init:{why}"),
            _ => format!("Init:{index}/{init_total}"),
        };
        initializing = true;
        break;
    }
    if !initializing {
        let mut running = false;
        for container in list(object, "/status/containerStatuses").rev() {
            let waiting = text(container, "/state/waiting/reason");
            if !waiting.is_empty() {
                reason = waiting.to_owned();
            } else if let Some(terminated) = container.pointer("/state/terminated") {
                reason = match text(terminated, "/reason") {
                    "" => match terminated.get("signal").and_then(Value::as_i64) {
                        Some(signal) if signal != 0 => format!("Signal:{signal}"),
                        _ => format!(
                            "ExitCode:{}",
                            terminated
                                .get("exitCode")
                                .and_then(Value::as_i64)
                                .unwrap_or(0)
                        ),
                    },
                    why => why.to_owned(),
                };
            } else if is_true(container, "/ready") && container.pointer("/state/running").is_some()
            {
                running = true;
            }
        }
        if reason == "Completed" && running {
            reason = "Running".to_owned();
        }
    }
    if meta::is_deleting(object) {
        reason = if text(object, "/status/reason") == "NodeLost" {
            "Unknown"
        } else {
            "Terminating"
        }
        .to_owned();
    }
    reason
}

/// Status, Roles, Age, Version, addresses and what the node runs.
pub(super) fn node(object: &Value, age: Value) -> Vec<Value> {
    let ready = list(object, "/status/conditions").find(|c| text(c, "/type") == "Ready");
    let mut status = match ready.map(|c| text(c, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if is_true(object, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = meta::labels(object)
        .into_iter()
        .flatten()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) if !role.is_empty() => Some(role),
                _ if key == "kubernetes.io/role" => value.as_str(),
                _ => None,
            },
        )
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let address = |ty: &str| {
        let found = list(object, "/status/addresses")
            .find(|a| text(a, "/type") == ty)
            .map(|a| text(a, "/address"));
        or(found.unwrap_or_default(), "<none>")
    };
    let info = |field: &str| {
        or(
            text(object, &format!("/status/nodeInfo/{field}")),
            "<unknown>",
        )
    };
    vec![
        Value::from(status),
        or(&roles.join(","), "<none>"),
        age,
        Value::from(text(object, "/status/nodeInfo/kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}
