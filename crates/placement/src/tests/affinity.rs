use serde_json::{Value, json};

use super::*;

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn near(terms: Value) -> Value {
    pod_json(
        "p",
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}),
    )
}

fn far(terms: Value) -> Value {
    pod_json(
        "p",
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}),
    )
}

const NEAR: &str = "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.";
const FAR: &str = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.";

#[test]
fn affinity_draws_into_a_domain() {
    let db = [running("db", "c", json!({"app": "db"}))];
    binds(&near(json!([term("db", "zone")])), &zones(), &db, "c");
    refuses(&near(json!([term("web", "zone")])), &zones(), &db, NEAR);
    refuses(
        &near(json!([term("db", "no-such-label")])),
        &zones(),
        &db,
        NEAR,
    );
    // One Pod must match all the terms.
    let two = [
        running("db", "a", json!({"app": "db"})),
        running("web", "a", json!({"app": "web"})),
    ];
    refuses(
        &near(json!([term("db", "zone"), term("web", "zone")])),
        &zones(),
        &two,
        NEAR,
    );
}

#[test]
fn the_first_pod_of_a_group_may_start_anywhere() {
    binds(&near(json!([term("p", "zone")])), &zones(), &[], "a");
    refuses(
        &near(json!([term("p", "no-such-label")])),
        &zones(),
        &[],
        NEAR,
    );
    // With a companion somewhere, it must go there.
    binds(
        &near(json!([term("p", "zone")])),
        &zones(),
        &[running("p0", "c", json!({"app": "p"}))],
        "c",
    );
}

#[test]
fn anti_affinity_keeps_away() {
    let others = [running("x", "a", json!({"app": "p"}))];
    binds(
        &far(json!([term("p", "kubernetes.io/hostname")])),
        &zones(),
        &others,
        "b",
    );
    binds(&far(json!([term("p", "zone")])), &zones(), &others, "c");
    let everywhere = ["a", "b", "c"].map(|n| running(n, n, json!({"app": "p"})));
    refuses(
        &far(json!([term("p", "kubernetes.io/hostname")])),
        &zones(),
        &everywhere,
        FAR,
    );
    // A node without the label is in no domain.
    let bare = [
        node_json("a", json!({})),
        node_json("z", json!({"zone": "z1"})),
    ];
    binds(
        &far(json!([term("p", "zone")])),
        &bare,
        &[running("x", "z", json!({"app": "p"}))],
        "a",
    );
}

#[test]
fn anti_affinity_of_existing_pods_counts_too() {
    let mut shy = far(json!([term("p", "zone")]));
    shy["metadata"] =
        json!({"name": "shy", "namespace": "default", "uid": "shy", "labels": {"app": "shy"}});
    shy["spec"]["nodeName"] = "a".into();
    binds(
        &pod_json("p", json!({})),
        &zones(),
        std::slice::from_ref(&shy),
        "c",
    );
    refuses(
        &pod_json("p", json!({"nodeSelector": {"zone": "z1"}})),
        &zones(),
        std::slice::from_ref(&shy),
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't satisfy existing pods anti-affinity rules.",
    );
    binds(
        &pod_json("q", json!({"nodeName": "a"})),
        &zones(),
        &[shy],
        "a",
    );
}

#[test]
fn terms_speak_of_namespaces() {
    let mut other = running("db", "c", json!({"app": "db"}));
    other["metadata"]["namespace"] = "other".into();
    let pods = [other];
    let with = |field: &str, value: Value| {
        let mut term = term("db", "zone");
        term[field] = value;
        near(json!([term]))
    };
    refuses(&near(json!([term("db", "zone")])), &zones(), &pods, NEAR);
    binds(&with("namespaces", json!(["other"])), &zones(), &pods, "c");
    binds(&with("namespaceSelector", json!({})), &zones(), &pods, "c");
    binds(
        &with("namespaceSelector", json!({"matchLabels": {"team": "b"}})),
        &zones(),
        &pods,
        "c",
    );
    refuses(
        &with("namespaceSelector", json!({"matchLabels": {"team": "a"}})),
        &zones(),
        &pods,
        NEAR,
    );
    refuses(&with("namespaces", json!(["third"])), &zones(), &pods, NEAR);
}

#[test]
fn label_keys_narrow_terms() {
    let pods = [
        running("old", "a", json!({"app": "p", "rev": "1"})),
        running("new", "c", json!({"app": "p", "rev": "2"})),
    ];
    let with = |field: &str| {
        let mut term = term("p", "zone");
        term[field] = json!(["rev", "none"]);
        let mut pod = near(json!([term]));
        pod["metadata"]["labels"] = json!({"app": "p", "rev": "2"});
        pod
    };
    binds(&with("matchLabelKeys"), &zones(), &pods, "c");
    binds(&with("mismatchLabelKeys"), &zones(), &pods, "b");
}

#[test]
fn selectors_absent_match_nothing_and_malformed_ones_are_told() {
    let others = [running("x", "a", json!({"app": "p"}))];
    refuses(
        &near(json!([{"topologyKey": "zone"}])),
        &zones(),
        &others,
        NEAR,
    );
    let bad = near(
        json!([{"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]),
    );
    refuses(
        &bad,
        &zones(),
        &others,
        "\"Near\" is not a valid label selector operator",
    );
}

fn spread(constraint: Value) -> Value {
    let mut whole = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "p"}}});
    for (key, value) in constraint.as_object().unwrap() {
        whole[key] = value.clone();
    }
    pod_json("p", json!({"topologySpreadConstraints": [whole]}))
}

#[test]
fn spread_bounds_the_skew() {
    let one = [running("p0", "a", json!({"app": "p"}))];
    binds(&spread(json!({})), &zones(), &one, "c");
    binds(&spread(json!({"maxSkew": 2})), &zones(), &one, "b");
    let narrow = |constraint: Value| {
        let mut pod = spread(constraint);
        pod["spec"]["nodeSelector"] = json!({"zone": "z1"});
        pod
    };
    // Only nodes that the Pod may use count, unless told otherwise.
    binds(&narrow(json!({})), &zones(), &one, "b");
    refuses(
        &narrow(json!({"nodeAffinityPolicy": "Ignore"})),
        &zones(),
        &one,
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod topology spread constraints.",
    );
    // Too few domains: the minimum counts as zero.
    refuses(
        &narrow(json!({"minDomains": 2})),
        &zones(),
        &one,
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod topology spread constraints.",
    );
    // Pods of other namespaces, terminating ones, and nodes without the label do not count.
    let mut foreign = one[0].clone();
    foreign["metadata"]["namespace"] = "other".into();
    let mut leaving = one[0].clone();
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    for uncounted in [foreign, leaving] {
        binds(
            &spread(json!({})),
            &zones()[..2],
            &[uncounted.clone(), uncounted],
            "b",
        );
    }
    refuses(
        &spread(json!({"topologyKey": "rack"})),
        &zones(),
        &one,
        "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label).",
    );
}

#[test]
fn tainted_nodes_count_for_spread_unless_told_otherwise() {
    let mut nodes = zones();
    nodes[2]["spec"]["taints"] = json!([{"key": "x", "effect": "NoSchedule"}]);
    let one = [running("p0", "a", json!({"app": "p"}))];
    refuses(
        &spread(json!({})),
        &nodes,
        &one,
        "0/3 nodes are available: 1 node(s) had untolerated taint {x: }, 2 node(s) didn't match pod topology spread constraints.",
    );
    binds(
        &spread(json!({"nodeTaintsPolicy": "Honor"})),
        &nodes,
        &one,
        "b",
    );
}

#[test]
fn spread_by_revision() {
    let old = [running("p0", "a", json!({"app": "p", "rev": "1"}))];
    let mut pod = spread(json!({"matchLabelKeys": ["rev"]}));
    pod["metadata"]["labels"] = json!({"app": "p", "rev": "2"});
    pod["spec"]["nodeSelector"] = json!({"zone": "z1"});
    pod["spec"]["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = "Ignore".into();
    binds(&pod, &zones(), &old, "b");
}
