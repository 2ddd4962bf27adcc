//! Defaults of Pods, as kube-apiserver sets them.

use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text};

/// Fills in what the client left out.
pub(super) fn complete(object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "enableServiceLinks", true);
    default(spec, "securityContext", json!({}));
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            self::container(container, host_network);
        }
    }
    for volume in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        self::volume(volume);
    }
    tolerations(spec);
}

/// The same for the template of a workload, which gets no tolerations: Pods get those when they are made.
pub(super) fn complete_template(template: &mut Value) {
    if let Some(map) = template.as_object_mut() {
        map.entry("metadata").or_insert_with(|| json!({}));
    }
    let tolerations = template.pointer("/spec/tolerations").cloned();
    complete(template);
    if let Some(spec) = child(template, "spec") {
        match tolerations {
            Some(given) => spec.insert("tolerations".to_owned(), given),
            None => spec.remove("tolerations"),
        };
        spec.remove("enableServiceLinks");
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default();
    let floating = !image.contains('@') && (!tag.contains(':') || tag.ends_with(":latest"));
    default_text(
        container,
        "imagePullPolicy",
        if floating { "Always" } else { "IfNotPresent" },
    );
    default(container, "resources", json!({}));
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default_text(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            default(port, "hostPort", number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            default(probe, "timeoutSeconds", 1);
            default(probe, "periodSeconds", 10);
            default(probe, "successThreshold", 1);
            default(probe, "failureThreshold", 3);
            if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
                default_text(get, "path", "/");
                default_text(get, "scheme", "HTTP");
            }
        }
    }
    // What is limited and not requested is requested at its limit.
    if let Some(resources) = container
        .get_mut("resources")
        .and_then(Value::as_object_mut)
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = resources.entry("requests").or_insert_with(|| json!({}));
        if let Some(requests) = requests.as_object_mut() {
            for (name, value) in limits {
                requests.entry(name).or_insert(value);
            }
        }
    }
    for variable in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(reference) = variable
            .pointer_mut("/valueFrom/fieldRef")
            .and_then(Value::as_object_mut)
        {
            default_text(reference, "apiVersion", "v1");
        }
    }
}

fn volume(volume: &mut Map<String, Value>) {
    const PLAIN: [(&str, i64); 4] = [
        ("secret", 420),
        ("configMap", 420),
        ("downwardAPI", 420),
        ("projected", 420),
    ];
    for (source, mode) in PLAIN {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", mode);
        }
    }
    for source in volume
        .get_mut("projected")
        .and_then(|p| p.get_mut("sources"))
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(token) = source
            .get_mut("serviceAccountToken")
            .and_then(Value::as_object_mut)
        {
            default(token, "expirationSeconds", 3600);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(path, "type", "");
    }
    // A volume that says nothing is an empty directory.
    if volume.len() == 1 && volume.contains_key("name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
}

/// Every Pod survives a short trouble of its node.
fn tolerations(spec: &mut Map<String, Value>) {
    let list = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else {
        return;
    };
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let covered = list.iter().any(|t| {
            let text = |field: &str| t.get(field).and_then(Value::as_str).unwrap_or_default();
            let key_fits =
                text("key") == key || (text("key").is_empty() && text("operator") == "Exists");
            key_fits && matches!(text("effect"), "" | "NoExecute")
        });
        if !covered {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by requests and limits of CPU and memory.
pub(super) fn qos_class(object: &Value) -> &'static str {
    let containers = ["/spec/containers", "/spec/initContainers"]
        .into_iter()
        .flat_map(|p| super::fields::list(object, p));
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let of = |list: &str| {
                container
                    .pointer(&format!("/resources/{list}/{resource}"))
                    .filter(|v| **v != "0" && **v != 0)
            };
            let (request, limit) = (of("requests"), of("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
