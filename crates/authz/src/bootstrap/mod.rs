//! The policy that exists before anybody writes one.
//!
//! [`kubernetes_policy`] is what clients expect of any cluster (`cluster-admin`, `admin`, `edit`, `view`,
//! discovery, system components). [`platform_policy`] is what KubeVirt and CDI install (`kubevirt.io:*`,
//! `cdi.kubevirt.io:*`); on a real cluster the operator writes it. [`bootstrap_policy`] is both, with aggregated
//! roles already filled in, so that a server may authorize its first request.
//!
//! At each start [`reconcile`] brings a stored object up to the default without taking away what users added.

mod kubernetes;
mod platform;
mod workloads;

use serde_json::{Value, json};

use crate::aggregate::aggregate_all;
use crate::rule::{PolicyRule, compact, uncovered};

/// Stored objects with this annotation set to anything but `true` are left alone by [`reconcile`].
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["*"];

/// All default objects: ClusterRoles, Roles, ClusterRoleBindings, RoleBindings.
pub fn bootstrap_policy() -> Vec<Value> {
    let mut objects = kubernetes_policy();
    objects.extend(platform_policy());
    aggregate_all(&mut objects);
    objects
}

/// Kubernetes' default policy; aggregated roles are empty until aggregated.
pub fn kubernetes_policy() -> Vec<Value> {
    let mut objects = kubernetes::objects();
    objects.extend(workloads::objects());
    for object in &mut objects {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert("kubernetes.io/bootstrapping".into(), "rbac-defaults".into());
            }
            metadata.insert("annotations".into(), json!({AUTO_UPDATE: "true"}));
        }
    }
    objects
}

/// The default policy of KubeVirt and CDI.
pub fn platform_policy() -> Vec<Value> {
    platform::objects()
}

/// What to store instead of `existing` so that it holds at least the rules and subjects of `wanted`; `None` when
/// nothing lacks or when the object opted out of updates.
pub fn reconcile(existing: &Value, wanted: &Value) -> Option<Value> {
    let opted_out = existing
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(AUTO_UPDATE))
        .is_some_and(|value| value.as_str() != Some("true"));
    if opted_out {
        return None;
    }
    let mut result = existing.clone();
    let object = result.as_object_mut()?;
    let mut changed = false;
    if wanted.get("aggregationRule").is_some() {
        if object.get("aggregationRule") != wanted.get("aggregationRule") {
            object.insert("aggregationRule".into(), wanted["aggregationRule"].clone());
            changed = true;
        }
    } else if wanted.get("rules").is_some() {
        let mut rules = PolicyRule::of_role(existing);
        let missing = uncovered(&rules, &PolicyRule::of_role(wanted));
        if !missing.is_empty() {
            rules.extend(compact(missing));
            let rules = rules.iter().map(PolicyRule::to_value).collect();
            object.insert("rules".into(), Value::Array(rules));
            changed = true;
        }
    }
    if let Some(wanted) = wanted.get("subjects").and_then(Value::as_array) {
        let subjects = object.entry("subjects").or_insert_with(|| json!([]));
        if subjects.is_null() {
            *subjects = json!([]);
        }
        let subjects = subjects.as_array_mut()?;
        for subject in wanted {
            if !subjects.contains(subject) {
                subjects.push(subject.clone());
                changed = true;
            }
        }
    }
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut)?;
    for field in ["labels", "annotations"] {
        let wanted = wanted
            .pointer(&format!("/metadata/{field}"))
            .and_then(Value::as_object);
        for (key, value) in wanted.into_iter().flatten() {
            let map = metadata.entry(field).or_insert_with(|| json!({}));
            if map.get(key) != Some(value) {
                map.as_object_mut()?.insert(key.clone(), value.clone());
                changed = true;
            }
        }
    }
    changed.then_some(result)
}

fn role_ref(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

fn object(kind: &str, metadata: &Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata})
}

fn cluster_role(name: &str, labels: &[&str], rules: &[PolicyRule]) -> Value {
    let mut role = object("ClusterRole", &json!({"name": name}));
    for label in labels {
        role["metadata"]["labels"][*label] = "true".into();
    }
    role["rules"] = rules.iter().map(PolicyRule::to_value).collect();
    role
}

fn aggregated_role(name: &str, labels: &[&str], selected_label: &str) -> Value {
    let mut role = cluster_role(name, labels, &[]);
    role["aggregationRule"] =
        json!({"clusterRoleSelectors": [{"matchLabels": {selected_label: "true"}}]});
    role
}

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

fn group(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name})
}

fn service_account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

/// A ClusterRoleBinding with the name of its role.
fn bind(role: &str, subjects: Vec<Value>) -> Value {
    let mut binding = object("ClusterRoleBinding", &json!({"name": role}));
    binding["roleRef"] = role_ref("ClusterRole", role);
    if !subjects.is_empty() {
        binding["subjects"] = Value::Array(subjects);
    }
    binding
}

fn role(namespace: &str, name: &str, rules: &[PolicyRule]) -> Value {
    let mut role = object("Role", &json!({"name": name, "namespace": namespace}));
    role["rules"] = rules.iter().map(PolicyRule::to_value).collect();
    role
}

fn bind_in(namespace: &str, role: &str, subjects: Vec<Value>) -> Value {
    let mut binding = object(
        "RoleBinding",
        &json!({"name": role, "namespace": namespace}),
    );
    binding["roleRef"] = role_ref("Role", role);
    binding["subjects"] = Value::Array(subjects);
    binding
}
