//! `pods/resize`: other CPU and memory for containers of a Pod that is there already.
//!
//! As in Kubernetes, everything else in the request is dropped without a word, and what is left must keep the Pod's
//! quality of service, must not take a request or limit away, and needs a node that can do it: one that says in the
//! status of a running container which resources it has. The node runtime of this engine cannot change a process that
//! runs and says nothing of the kind, so a running Pod is refused in upstream's words; one that waits for its node
//! starts with what it was resized to.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use serde_json::{Map, Value, json};

use super::fields::{child, list, text};
use super::{pod_defaults, pod_level};

/// The old Pod with the resources that the new one asks for.
pub(super) fn keep_resources_only(object: &mut Value, old: &Value) {
    pod_defaults::complete(object);
    let mut kept = old.clone();
    for field in ["containers", "initContainers"] {
        let asked: Vec<Value> = list(object, &format!("/spec/{field}")).cloned().collect();
        let containers = child(&mut kept, "spec").and_then(|spec| spec.get_mut(field));
        for container in containers
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            // Of init containers those that go on running.
            let runs_on = field == "containers" || text(container, "/restartPolicy") == "Always";
            let same = |c: &&Value| text(c, "/name") == text(container, "/name");
            let Some(asked) = asked.iter().find(same).filter(|_| runs_on) else {
                continue;
            };
            for key in ["resources", "resizePolicy"] {
                match asked.get(key) {
                    Some(value) => container[key] = value.clone(),
                    None => {
                        if let Some(container) = container.as_object_mut() {
                            container.remove(key);
                        }
                    }
                }
            }
        }
    }
    if let Some(meta) = meta::metadata_mut(&mut kept) {
        for key in ["managedFields", "resourceVersion"] {
            match object["metadata"].get(key) {
                Some(value) => meta.insert(key.to_owned(), value.clone()),
                None => meta.remove(key),
            };
        }
    }
    *object = kept;
}

/// Judges what [`keep_resources_only`] has left.
pub(super) fn validate(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let spec = FieldPath::new("spec");
    if meta::annotation(old, "kubernetes.io/config.mirror").is_some() {
        errors.push(FieldError::forbidden(
            &FieldPath::root(),
            "static pods cannot be resized",
        ));
        return;
    }
    let class = pod_level::qos_class(old);
    if class != pod_level::qos_class(object) {
        errors.push(FieldError::invalid(
            &spec,
            class,
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    if !node_can(old) {
        errors.push(FieldError::forbidden(
            &spec,
            "Pod running on node without support for resize",
        ));
    }
    let mut only_cpu_and_memory = true;
    for field in ["containers", "initContainers"] {
        let before: Vec<&Value> = list(old, &format!("/spec/{field}")).collect();
        for (index, container) in list(object, &format!("/spec/{field}")).enumerate() {
            let Some(before) = before.get(index) else {
                continue;
            };
            let at = spec.child(field).index(index).child("resources");
            for (part, why) in [
                ("limits", "resource limits cannot be removed"),
                ("requests", "resource requests cannot be removed"),
            ] {
                let of = |c: &Value| amounts(c, part);
                if of(before)
                    .keys()
                    .any(|key| !of(container).contains_key(key))
                {
                    errors.push(FieldError::forbidden(&at.child(part), why));
                }
            }
            only_cpu_and_memory &= masked(container) == masked(before);
        }
    }
    if !only_cpu_and_memory {
        errors.push(FieldError::forbidden(
            &spec,
            "only cpu and memory resources are mutable",
        ));
    }
}

fn amounts(container: &Value, part: &str) -> Map<String, Value> {
    let amounts = container.pointer(&format!("/resources/{part}"));
    amounts
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// The container without what may change.
fn masked(container: &Value) -> Value {
    let mut container = container.clone();
    for part in ["limits", "requests"] {
        let mut rest = amounts(&container, part);
        rest.remove("cpu");
        rest.remove("memory");
        container["resources"][part] = json!(rest);
    }
    container
}

/// Whether the node says of each running container which resources it has.
fn node_can(pod: &Value) -> bool {
    if text(pod, "/status/phase") != "Running" {
        return true;
    }
    let running = |status: &&Value| status.pointer("/state/running").is_some();
    list(pod, "/status/containerStatuses")
        .filter(running)
        .all(|status| status.get("resources").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(cpu: &str) -> Value {
        json!({
            "metadata": {"name": "p", "labels": {"a": "b"}, "resourceVersion": "1"},
            "spec": {"containers": [{
                "name": "c", "image": "x",
                "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            }]},
            "status": {"phase": "Pending", "qosClass": "Burstable"},
        })
    }

    fn judged(mut object: Value, old: &Value) -> Vec<String> {
        let mut old = old.clone();
        pod_defaults::complete(&mut old);
        keep_resources_only(&mut object, &old);
        let mut errors = Vec::new();
        validate(&object, &old, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_but_resources_is_taken_from_the_request() {
        let mut old = pod("1");
        pod_defaults::complete(&mut old);
        let mut object = pod("2");
        object["metadata"]["labels"] = json!({"a": "other"});
        object["spec"]["containers"][0]["image"] = json!("y");
        object["spec"]["nodeName"] = json!("n");
        object["status"]["phase"] = json!("Failed");
        keep_resources_only(&mut object, &old);
        let mut wanted = old.clone();
        wanted["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
        assert_eq!(object, wanted);
        let mut errors = Vec::new();
        validate(&object, &old, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
    }

    #[test]
    fn what_a_resize_may_not_do_is_named() {
        let old = pod("1");
        let with = |pointer: &str, value: Value| {
            let mut changed = pod("1");
            *changed.pointer_mut(pointer).unwrap() = value;
            changed
        };
        let resources = "/spec/containers/0/resources";
        let said = judged(with(resources, json!({})), &old);
        assert!(said[0].contains("QOS Class may not change"), "{said:?}");
        assert!(
            said.iter()
                .any(|e| e.contains("resource limits cannot be removed")),
            "{said:?}"
        );
        assert!(
            said.iter()
                .any(|e| e.contains("resource requests cannot be removed")),
            "{said:?}"
        );
        let other = json!({"requests": {"cpu": "1", "memory": "64Mi", "example.com/x": "1"},
            "limits": {"memory": "128Mi", "example.com/x": "1"}});
        let said = judged(with(resources, other), &old);
        assert_eq!(
            said,
            ["spec: Forbidden: only cpu and memory resources are mutable"]
        );
        // A container that is not there is nobody's.
        let said = judged(with("/spec/containers/0/name", json!("d")), &old);
        assert_eq!(said, Vec::<String>::new());
        let mut mirror = old.clone();
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert!(judged(pod("2"), &mirror)[0].contains("static pods cannot be resized"));
    }

    #[test]
    fn a_running_pod_needs_a_node_that_can() {
        let mut old = pod("1");
        old["status"]["phase"] = json!("Running");
        old["status"]["containerStatuses"] = json!([{"name": "c", "state": {"running": {}}}]);
        let said = judged(pod("2"), &old);
        assert_eq!(
            said,
            ["spec: Forbidden: Pod running on node without support for resize"]
        );
        old["status"]["containerStatuses"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        assert_eq!(judged(pod("2"), &old), Vec::<String>::new());
    }
}
