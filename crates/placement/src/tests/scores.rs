use serde_json::{Value, json};

use super::*;

fn with_affinity(affinity: Value) -> Value {
    pod_json("p", json!({"affinity": affinity}))
}

#[test]
fn the_emptier_node_wins_and_ties_go_to_the_first_name() {
    let nodes = [
        node_json("b", json!({})),
        node_json("a", json!({})),
        node_json("c", json!({})),
    ];
    binds(&pod_json("p", json!({})), &nodes, &[], "a");
    let mut busy = pod_json("x", container(json!({"memory": "4Gi"})));
    busy["spec"]["nodeName"] = "a".into();
    binds(
        &pod_json("p", container(json!({"memory": "1Gi"}))),
        &nodes,
        std::slice::from_ref(&busy),
        "b",
    );
    // Pods that ask for nothing spread, too.
    let idle = [running("x", "a", json!({})), running("y", "b", json!({}))];
    binds(&pod_json("p", json!({})), &nodes, &idle, "c");
}

#[test]
fn preferred_node_affinity_outweighs_free_room() {
    let mut busy = pod_json("x", container(json!({"cpu": "2", "memory": "4Gi"})));
    busy["spec"]["nodeName"] = "c".into();
    let prefer = |weights: &[(i64, &str)]| {
        let terms: Vec<Value> = weights
            .iter()
            .map(|(w, z)| json!({"weight": w, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": [z]}]}}))
            .collect();
        with_affinity(
            json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}),
        )
    };
    binds(
        &prefer(&[(1, "z2")]),
        &zones(),
        std::slice::from_ref(&busy),
        "c",
    );
    binds(&prefer(&[(1, "z2"), (100, "z1")]), &zones(), &[busy], "a");
    binds(&prefer(&[(1, "nowhere")]), &zones(), &[], "a");
}

#[test]
fn preferred_pod_affinity_and_anti_affinity() {
    let pods = [running("db", "c", json!({"app": "db"}))];
    let weighted = |kind: &str| {
        let term = json!({"weight": 10, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}});
        with_affinity(json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}))
    };
    binds(&weighted("podAffinity"), &zones(), &pods, "c");
    let on_a = [running("db", "a", json!({"app": "db"}))];
    binds(&weighted("podAntiAffinity"), &zones(), &on_a, "c");
}

#[test]
fn wishes_of_existing_pods_count() {
    let mut fan = with_affinity(
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "p"}}}]}}),
    );
    fan["metadata"]["uid"] = "fan".into();
    fan["spec"]["nodeName"] = "c".into();
    binds(&pod_json("p", json!({})), &zones(), &[fan], "c");
    let mut shy = with_affinity(
        json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 5, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "p"}}}}]}}),
    );
    shy["metadata"]["uid"] = "shy".into();
    shy["spec"]["nodeName"] = "a".into();
    binds(&pod_json("p", json!({})), &zones(), &[shy], "c");
}

#[test]
fn soft_taints_repel() {
    let mut nodes = zones();
    nodes[0]["spec"]["taints"] = json!([{"key": "x", "effect": "PreferNoSchedule"}]);
    binds(&pod_json("p", json!({})), &nodes, &[], "b");
    binds(
        &pod_json("p", json!({"tolerations": [{"operator": "Exists"}]})),
        &nodes,
        &[],
        "a",
    );
}

#[test]
fn soft_spread_prefers_the_empty_domain() {
    let constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "p"}}});
    let wanted = pod_json("p", json!({"topologySpreadConstraints": [constraint]}));
    let pods = [
        running("p0", "a", json!({"app": "p"})),
        running("p1", "b", json!({"app": "p"})),
    ];
    binds(&wanted, &zones(), &pods, "c");
    // It only should: with no other node, the crowded one serves.
    binds(&wanted, &zones()[..1], &pods, "a");
    // A node without the label comes last.
    let bare = [
        node_json("0", json!({})),
        node_json("a", json!({"zone": "z1"})),
    ];
    binds(&wanted, &bare, &[], "a");
}
