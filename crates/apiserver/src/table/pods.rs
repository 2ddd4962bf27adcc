//! Cells of Pods and Nodes, whose status is a story.

use apimachinery::meta;
use apimachinery::time::parse_time;
use jiff::Timestamp;
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
pub(super) fn pod(object: &Value, age: Value, now: Timestamp) -> Vec<Value> {
    let story = story(object);
    let gates: Vec<&str> = list(object, "/spec/readinessGates")
        .filter_map(|g| g.get("conditionType")?.as_str())
        .collect();
    let gates_text = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met = gates.iter().filter(|gate| holds(object, gate)).count();
        format!("{met}/{}", gates.len())
    };
    let restarts = match story.last_restart.filter(|_| story.restarts > 0) {
        None => story.restarts.to_string(),
        Some(at) => {
            let ago = super::age(Some(at), now);
            format!(
                "{} ({} ago)",
                story.restarts,
                ago.as_str().unwrap_or_default()
            )
        }
    };
    vec![
        Value::from(format!("{}/{}", story.ready, story.total)),
        Value::from(story.reason),
        Value::from(restarts),
        age,
        or(text(object, "/status/podIP"), "<none>"),
        or(text(object, "/spec/nodeName"), "<none>"),
        or(text(object, "/status/nominatedNodeName"), "<none>"),
        Value::from(gates_text),
    ]
}

fn holds(object: &Value, condition: &str) -> bool {
    list(object, "/status/conditions")
        .any(|c| text(c, "/type") == condition && text(c, "/status") == "True")
}

/// How a Pod is: the most telling reason of its containers, else its phase; and what of it runs.
struct Story {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Story {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += container
            .get("restartCount")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let ended = text(container, "/lastState/terminated/finishedAt");
        self.last_restart = self.last_restart.max(parse_time(ended).ok());
    }
}

fn story(object: &Value) -> Story {
    let phase = text(object, "/status/phase");
    let gated = list(object, "/status/conditions")
        .any(|c| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated");
    let mut story = Story {
        ready: 0,
        total: list(object, "/spec/containers").count(),
        reason: match text(object, "/status/reason") {
            _ if gated => "SchedulingGated",
            "" => phase,
            reason => reason,
        }
        .to_owned(),
        restarts: 0,
        last_restart: None,
    };
    // Those that run beside the others, though they were started before them.
    let beside: Vec<&str> = list(object, "/spec/initContainers")
        .filter(|c| text(c, "/restartPolicy") == "Always")
        .map(|c| text(c, "/name"))
        .collect();
    story.total += beside.len();
    let mut of_beside = Story {
        reason: String::new(),
        last_restart: None,
        ..story
    };
    let initializing = initialization(object, &beside, &mut story, &mut of_beside);
    if !initializing || holds(object, "Initialized") {
        story.restarts = of_beside.restarts;
        story.last_restart = of_beside.last_restart;
        containers(object, &mut story);
    }
    let finished = matches!(phase, "Succeeded" | "Failed");
    if meta::is_deleting(object) {
        if text(object, "/status/reason") == "NodeLost" {
            story.reason = "Unknown".to_owned();
        } else if !finished {
            story.reason = "Terminating".to_owned();
        }
    }
    story
}

fn ending(terminated: &Value) -> String {
    let number = |key: &str| terminated.get(key).and_then(Value::as_i64).unwrap_or(0);
    match (text(terminated, "/reason"), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// What runs before the containers. True while it is not done.
fn initialization(
    object: &Value,
    beside: &[&str],
    story: &mut Story,
    of_beside: &mut Story,
) -> bool {
    let total = list(object, "/spec/initContainers").count();
    for (index, container) in list(object, "/status/initContainerStatuses").enumerate() {
        story.count_restarts(container);
        let stays = beside.contains(&text(container, "/name"));
        if stays {
            of_beside.count_restarts(container);
        }
        let terminated = container.pointer("/state/terminated");
        let code = terminated.and_then(|t| t.get("exitCode")?.as_i64());
        if terminated.is_some() && code.unwrap_or(0) == 0 {
            continue;
        }
        if stays && is_true(container, "/started") {
            story.ready += usize::from(is_true(container, "/ready"));
            continue;
        }
        let waiting = text(container, "/state/waiting/reason");
        let why = match terminated {
            Some(terminated) => ending(terminated),
            None if !waiting.is_empty() && waiting != "PodInitializing" => waiting.to_owned(),
            None => format!("{index}/{total}"),
        };
        story.reason = format!("Init:{why}");
        return true;
    }
    false
}

fn containers(object: &Value, story: &mut Story) {
    let mut running = false;
    for container in list(object, "/status/containerStatuses").rev() {
        story.count_restarts(container);
        let waiting = text(container, "/state/waiting/reason");
        if !waiting.is_empty() {
            story.reason = waiting.to_owned();
        } else if let Some(terminated) = container.pointer("/state/terminated") {
            story.reason = ending(terminated);
        } else if is_true(container, "/ready") && container.pointer("/state/running").is_some() {
            running = true;
            story.ready += 1;
        }
    }
    if story.reason == "Completed" && running {
        story.reason = if holds(object, "Ready") {
            "Running"
        } else {
            "NotReady"
        }
        .to_owned();
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(object: &Value) -> Vec<String> {
        let now = parse_time("2024-01-01T01:00:00Z").unwrap();
        let cells = pod(object, Value::from("5m"), now);
        let shown = |v: &Value| v.as_str().unwrap().to_owned();
        cells.iter().take(3).map(shown).collect()
    }

    #[test]
    fn the_most_telling_reason_is_shown() {
        let running = json!({"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"finishedAt": "2024-01-01T00:55:00Z"}}});
        let crashed = json!({"name": "b", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
        let done =
            json!({"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let two = json!([{"name": "a"}, {"name": "b"}]);
        for (spec, status, expected) in [
            (
                json!({"containers": two}),
                json!({"phase": "Pending"}),
                ["0/2", "Pending", "0"],
            ),
            (
                json!({"containers": two}),
                json!({"phase": "Running", "containerStatuses": [running, crashed]}),
                ["1/2", "CrashLoopBackOff", "3 (5m ago)"],
            ),
            (
                json!({"containers": two}),
                json!({"phase": "Running", "containerStatuses": [running, done], "conditions": [{"type": "Ready", "status": "False"}]}),
                ["1/2", "NotReady", "2 (5m ago)"],
            ),
            (
                json!({"containers": two, "initContainers": [{"name": "i"}, {"name": "j"}]}),
                json!({"phase": "Pending", "initContainerStatuses": [
                    {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"terminated": {"exitCode": 3}}},
                ]}),
                ["0/2", "Init:ExitCode:3", "0"],
            ),
            (
                json!({"containers": two, "initContainers": [{"name": "side", "restartPolicy": "Always"}]}),
                json!({"phase": "Running", "containerStatuses": [running], "initContainerStatuses": [
                    {"name": "side", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}},
                ]}),
                ["2/3", "Running", "3 (5m ago)"],
            ),
            (
                json!({"containers": two, "schedulingGates": [{"name": "g"}]}),
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
                ["0/2", "SchedulingGated", "0"],
            ),
        ] {
            let object = json!({"spec": spec, "status": status});
            assert_eq!(row(&object), expected, "{object}");
        }
    }
}
