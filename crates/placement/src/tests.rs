//! One test for each rule, by clusters written as in YAML; then properties over random clusters.
#![allow(
    clippy::needless_pass_by_value,
    reason = "tables of literals read better by value"
)]

mod affinity;
mod filters;
mod properties;
mod scores;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};

use crate::{Namespaces, NodeFacts, Placement, PodFacts, decide};

/// A node that is ready, with 4 CPUs, 8Gi, ten Pods; `labels` beside its host name.
fn node_json(name: &str, labels: Value) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", "ephemeral-storage": "10Gi"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    node["metadata"]["labels"]["kubernetes.io/hostname"] = name.into();
    node
}

fn pod_json(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": name}}, "spec": spec})
}

fn container(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

fn namespaces() -> Namespaces {
    let team = |t: &str| BTreeMap::from([("team".to_owned(), t.to_owned())]);
    BTreeMap::from([
        ("default".to_owned(), team("a")),
        ("other".to_owned(), team("b")),
    ])
}

fn pod(pod: &Value) -> PodFacts {
    let typed: core::Pod = serde_json::from_value(pod.clone()).unwrap();
    PodFacts::new(&typed, &namespaces())
}

/// Nodes with the Pods that name them.
fn cluster(nodes: &[Value], pods: &[Value]) -> Vec<NodeFacts> {
    let pods: Vec<Arc<PodFacts>> = pods.iter().map(|p| Arc::new(pod(p))).collect();
    nodes
        .iter()
        .map(|node| {
            let typed: core::Node = serde_json::from_value(node.clone()).unwrap();
            NodeFacts::new(&typed, pods.iter().cloned())
        })
        .collect()
}

fn running(name: &str, node: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels}, "spec": {"nodeName": node}})
}

fn place(wanted: &Value, nodes: &[Value], pods: &[Value]) -> Placement {
    decide(&pod(wanted), &cluster(nodes, pods))
}

#[track_caller]
fn binds(wanted: &Value, nodes: &[Value], pods: &[Value], node: &str) {
    assert_eq!(place(wanted, nodes, pods), Placement::Bind(node.to_owned()));
}

#[track_caller]
fn refuses(wanted: &Value, nodes: &[Value], pods: &[Value], expected: &str) {
    match place(wanted, nodes, pods) {
        Placement::Unschedulable { message } => assert_eq!(message, expected),
        other => panic!("{other:?} instead of {expected}"),
    }
}

/// Three nodes in two zones: a and b in z1, c in z2.
fn zones() -> Vec<Value> {
    vec![
        node_json("a", json!({"zone": "z1"})),
        node_json("b", json!({"zone": "z1"})),
        node_json("c", json!({"zone": "z2"})),
    ]
}
