//! Defaults of Pods, as kube-apiserver sets them.

use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text};
use super::{pod_level, pod_volume_defaults};

/// Lists of containers in a specification.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Fills in what the client left out of a Pod.
pub(super) fn complete(object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    specification(spec);
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in objects(spec.get_mut(list)) {
            pod_level::request_limits(container);
            for port in objects(container.get_mut("ports")).filter(|_| host_network) {
                if let Some(number) = port.get("containerPort").cloned() {
                    default(port, "hostPort", number);
                }
            }
        }
    }
    pod_level::complete(spec);
    default(spec, "enableServiceLinks", true);
    tolerations(spec);
}

/// The same for the template of a workload: what a Pod gets when it is made is not in it.
pub(super) fn complete_template(template: &mut Value) {
    if let Some(map) = template.as_object_mut() {
        map.entry("metadata").or_insert_with(|| json!({}));
    }
    if let Some(spec) = child(template, "spec") {
        specification(spec);
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn specification(spec: &mut Map<String, Value>) {
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "securityContext", json!({}));
    // Both names of the account say the same; the newer one counts.
    let named = |spec: &Map<String, Value>, key: &str| {
        let given = spec.get(key).and_then(Value::as_str);
        given.filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let account = named(spec, "serviceAccountName").or_else(|| named(spec, "serviceAccount"));
    if let Some(account) = account {
        for key in ["serviceAccountName", "serviceAccount"] {
            spec.insert(key.to_owned(), Value::from(account.as_str()));
        }
    }
    for list in CONTAINERS {
        for container in objects(spec.get_mut(list)) {
            self::container(container);
        }
    }
    for volume in objects(spec.get_mut("volumes")) {
        pod_volume_defaults::volume(volume);
    }
}

fn container(container: &mut Map<String, Value>) {
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(container.get("image"));
    default_text(container, "imagePullPolicy", policy);
    default(container, "resources", json!({}));
    for port in objects(container.get_mut("ports")) {
        default_text(port, "protocol", "TCP");
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(field).and_then(Value::as_object_mut) else {
            continue;
        };
        default(probe, "timeoutSeconds", 1);
        default(probe, "periodSeconds", 10);
        default(probe, "successThreshold", 1);
        default(probe, "failureThreshold", 3);
        if let Some(call) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
            default(call, "service", "");
        }
        http_get(probe.get_mut("httpGet"));
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        for hook in ["postStart", "preStop"] {
            http_get(lifecycle.get_mut(hook).and_then(|h| h.get_mut("httpGet")));
        }
    }
    for variable in objects(container.get_mut("env")) {
        if let Some(from) = variable.get_mut("valueFrom") {
            field_reference(from);
        }
    }
}

fn http_get(action: Option<&mut Value>) {
    if let Some(action) = action.and_then(Value::as_object_mut) {
        default_text(action, "path", "/");
        default_text(action, "scheme", "HTTP");
    }
}

/// `fieldRef` of a variable or a projected file.
pub(super) fn field_reference(parent: &mut Value) {
    if let Some(reference) = parent.get_mut("fieldRef").and_then(Value::as_object_mut) {
        default_text(reference, "apiVersion", "v1");
    }
}

/// What may be another image tomorrow is pulled anew for each container.
pub(super) fn pull_policy(image: Option<&Value>) -> &'static str {
    let image = image.and_then(Value::as_str).unwrap_or_default();
    if is_latest(image) {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// Whether a reference to an image means `latest`; one that is malformed means nothing.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let (directory, last) = match image.rsplit_once('/') {
        Some((directory, last)) => (directory, last),
        None => ("", image),
    };
    let (name, tag) = last.split_once(':').unwrap_or((last, "latest"));
    // The first part may be a host, which may have capitals and a port.
    let (host, path) = directory.split_once('/').unwrap_or((directory, ""));
    let is_host = host.contains(['.', ':']) || host == "localhost";
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
    };
    let parts = path.split('/').filter(|part| !part.is_empty());
    tag == "latest"
        && plain(name)
        && (host.is_empty() || is_host || plain(host))
        && parts.into_iter().all(plain)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_float_are_pulled_always() {
        for (image, expected) in [
            ("registry.example.com/app", "Always"),
            ("app", "Always"),
            ("app:latest", "Always"),
            ("localhost:5000/app", "Always"),
            ("registry.example.com/app:1", "IfNotPresent"),
            ("app@sha256:0123", "IfNotPresent"),
            ("registry.example.com/App", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(Some(&Value::from(image))), expected, "{image}");
        }
    }

    #[test]
    fn a_template_gets_what_a_pod_has_before_it_is_made() {
        let spec = json!({
            "hostNetwork": true, "serviceAccount": "bot",
            "containers": [{
                "name": "c", "image": "i", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"grpc": {"port": 1}},
                "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
        });
        let mut template = json!({"spec": spec});
        complete_template(&mut template);
        let container = &template["spec"]["containers"][0];
        assert_eq!(container["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(
            container["ports"],
            json!([{"containerPort": 80, "protocol": "TCP"}])
        );
        assert_eq!(
            container["livenessProbe"]["grpc"],
            json!({"port": 1, "service": ""})
        );
        assert_eq!(
            container["lifecycle"]["preStop"]["httpGet"],
            json!({"port": 80, "path": "/", "scheme": "HTTP"})
        );
        assert_eq!(
            container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"],
            "v1"
        );
        assert_eq!(template["spec"]["serviceAccountName"], "bot");
        assert_eq!(template["spec"].get("tolerations"), None);
        assert_eq!(template["spec"].get("enableServiceLinks"), None);

        let mut pod = json!({"spec": spec});
        complete(&mut pod);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(
            container["resources"],
            json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})
        );
        assert_eq!(container["ports"][0]["hostPort"], 80);
        assert_eq!(pod["spec"]["enableServiceLinks"], true);
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    }
}
