use serde_json::{Value, json};

use super::*;
use crate::Reason;

fn with(mut node: Value, path: &str, value: Value) -> Value {
    *node.pointer_mut(path).unwrap() = value;
    node
}

fn tainted(name: &str, taints: Value) -> Value {
    with(
        node_json(name, json!({})),
        "/spec",
        json!({"taints": taints}),
    )
}

#[test]
fn an_empty_cluster_says_so() {
    refuses(
        &pod_json("p", json!({})),
        &[],
        &[],
        "no nodes available to schedule pods",
    );
    binds(
        &pod_json("p", json!({})),
        &[node_json("a", json!({}))],
        &[],
        "a",
    );
}

#[test]
fn cordoned_nodes_are_refused_unless_tolerated() {
    let nodes = [with(
        node_json("a", json!({})),
        "/spec",
        json!({"unschedulable": true}),
    )];
    refuses(
        &pod_json("p", json!({})),
        &nodes,
        &[],
        "0/1 nodes are available: 1 node(s) were unschedulable.",
    );
    let tolerant =
        json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]});
    binds(&pod_json("p", tolerant), &nodes, &[], "a");
}

#[test]
fn nodes_that_are_not_ready_are_refused() {
    let node =
        |conditions: Value| with(node_json("a", json!({})), "/status/conditions", conditions);
    let cases = [
        (json!([]), "node.kubernetes.io/not-ready"),
        (
            json!([{"type": "Ready", "status": "False"}]),
            "node.kubernetes.io/not-ready",
        ),
        (
            json!([{"type": "Ready", "status": "Unknown"}]),
            "node.kubernetes.io/unreachable",
        ),
        (
            json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]),
            "node.kubernetes.io/disk-pressure",
        ),
    ];
    for (conditions, key) in cases {
        let message =
            format!("0/1 nodes are available: 1 node(s) had untolerated taint {{{key}: }}.");
        refuses(
            &pod_json("p", json!({})),
            &[node(conditions.clone())],
            &[],
            &message,
        );
        binds(
            &pod_json("p", json!({"tolerations": [{"operator": "Exists"}]})),
            &[node(conditions)],
            &[],
            "a",
        );
    }
}

#[test]
fn taints_need_tolerations() {
    let nodes = [tainted(
        "a",
        json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]),
    )];
    let message = "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.";
    for tolerations in [
        json!([]),
        json!([{"key": "gpu", "value": "no"}]),
        json!([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]),
        json!([{"key": "other", "operator": "Exists"}]),
        json!([{"key": "gpu", "operator": "Lt", "value": "5"}]),
        json!([{"value": "yes"}]),
    ] {
        refuses(
            &pod_json("p", json!({"tolerations": tolerations})),
            &nodes,
            &[],
            message,
        );
    }
    for tolerations in [
        json!([{"key": "gpu", "value": "yes"}]),
        json!([{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]),
        json!([{"key": "gpu", "operator": "Exists"}]),
        json!([{"operator": "Exists"}]),
    ] {
        binds(
            &pod_json("p", json!({"tolerations": tolerations})),
            &nodes,
            &[],
            "a",
        );
    }
    let soft = [tainted(
        "a",
        json!([{"key": "x", "effect": "PreferNoSchedule"}]),
    )];
    binds(&pod_json("p", json!({})), &soft, &[], "a");
    let execute = [tainted("a", json!([{"key": "x", "effect": "NoExecute"}]))];
    refuses(
        &pod_json("p", json!({})),
        &execute,
        &[],
        "0/1 nodes are available: 1 node(s) had untolerated taint {x: }.",
    );
}

#[test]
fn node_names_and_node_selectors() {
    let nodes = zones();
    binds(&pod_json("p", json!({"nodeName": "b"})), &nodes, &[], "b");
    refuses(
        &pod_json("p", json!({"nodeName": "x"})),
        &nodes,
        &[],
        "0/3 nodes are available: 3 node(s) didn't match the requested node name.",
    );
    binds(
        &pod_json("p", json!({"nodeSelector": {"zone": "z2"}})),
        &nodes,
        &[],
        "c",
    );
    refuses(
        &pod_json("p", json!({"nodeSelector": {"zone": "z2", "disk": "ssd"}})),
        &nodes,
        &[],
        "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
    );
}

fn required(terms: Value) -> Value {
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    pod_json("p", json!({"affinity": affinity}))
}

#[test]
fn every_operator_of_node_affinity() {
    let nodes = [node_json("a", json!({"n": "5", "k": "v"}))];
    let cases = [
        (
            json!({"key": "k", "operator": "In", "values": ["x", "v"]}),
            true,
        ),
        (
            json!({"key": "k", "operator": "In", "values": ["x"]}),
            false,
        ),
        (
            json!({"key": "none", "operator": "In", "values": ["x"]}),
            false,
        ),
        (
            json!({"key": "k", "operator": "NotIn", "values": ["x"]}),
            true,
        ),
        (
            json!({"key": "k", "operator": "NotIn", "values": ["v"]}),
            false,
        ),
        (
            json!({"key": "none", "operator": "NotIn", "values": ["v"]}),
            true,
        ),
        (json!({"key": "k", "operator": "Exists"}), true),
        (json!({"key": "none", "operator": "Exists"}), false),
        (json!({"key": "k", "operator": "DoesNotExist"}), false),
        (json!({"key": "none", "operator": "DoesNotExist"}), true),
        (json!({"key": "n", "operator": "Gt", "values": ["4"]}), true),
        (
            json!({"key": "n", "operator": "Gt", "values": ["5"]}),
            false,
        ),
        (
            json!({"key": "k", "operator": "Gt", "values": ["4"]}),
            false,
        ),
        (json!({"key": "n", "operator": "Lt", "values": ["6"]}), true),
        (
            json!({"key": "n", "operator": "Lt", "values": ["5"]}),
            false,
        ),
        (
            json!({"key": "none", "operator": "Lt", "values": ["5"]}),
            false,
        ),
    ];
    for (expression, fits) in cases {
        let wanted = required(json!([{"matchExpressions": [expression]}]));
        if fits {
            binds(&wanted, &nodes, &[], "a");
        } else {
            refuses(
                &wanted,
                &nodes,
                &[],
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            );
        }
    }
}

#[test]
fn node_selector_terms_are_alternatives_of_conjunctions() {
    let nodes = zones();
    let zone = |z: &str| json!({"key": "zone", "operator": "In", "values": [z]});
    let name = |n: &str| json!({"key": "metadata.name", "operator": "In", "values": [n]});
    binds(
        &required(
            json!([{"matchExpressions": [zone("none")]}, {"matchExpressions": [zone("z2")]}]),
        ),
        &nodes,
        &[],
        "c",
    );
    binds(
        &required(json!([{"matchExpressions": [zone("z1")], "matchFields": [name("b")]}])),
        &nodes,
        &[],
        "b",
    );
    for nowhere in [
        json!([]),
        json!([{}]),
        json!([{"matchExpressions": [zone("z1"), zone("z2")]}]),
    ] {
        refuses(
            &required(nowhere),
            &nodes,
            &[],
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        );
    }
    refuses(
        &required(
            json!([{"matchExpressions": [{"key": "n", "operator": "Near", "values": ["1"]}]}]),
        ),
        &nodes,
        &[],
        "\"Near\" is not a valid node selector operator",
    );
    refuses(
        &required(json!([{"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["x"]}]}])),
        &nodes,
        &[],
        "node selector operator Gt of \"n\" needs one integer",
    );
}

#[test]
fn resources_must_fit() {
    let nodes = [node_json("a", json!({})), node_json("b", json!({}))];
    let busy = [
        json!({"metadata": {"name": "x", "uid": "x"}, "spec": {"nodeName": "a", "containers": [{"name": "c", "resources": {"requests": {"cpu": "3500m"}}}]}}),
    ];
    binds(
        &pod_json("p", container(json!({"cpu": "1"}))),
        &nodes,
        &busy,
        "b",
    );
    binds(
        &pod_json("p", container(json!({"cpu": "4", "memory": "8Gi"}))),
        &nodes[..1],
        &[],
        "a",
    );
    refuses(
        &pod_json("p", container(json!({"cpu": "4001m"}))),
        &nodes,
        &[],
        "0/2 nodes are available: 2 Insufficient cpu.",
    );
    refuses(
        &pod_json(
            "p",
            container(
                json!({"cpu": "1", "memory": "9Gi", "ephemeral-storage": "11Gi", "devices.kubevirt.io/kvm": "1"}),
            ),
        ),
        &nodes,
        &busy,
        "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient devices.kubevirt.io/kvm, 2 Insufficient ephemeral-storage, 2 Insufficient memory.",
    );
    let zero = pod_json("p", container(json!({"devices.kubevirt.io/kvm": "0"})));
    binds(&zero, &nodes, &[], "a");
    refuses(
        &pod_json("p", container(json!({"cpu": "lots"}))),
        &nodes,
        &[],
        "resource cpu \"lots\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
}

#[test]
fn extended_resources_are_counted() {
    let gpu = with(
        node_json("a", json!({})),
        "/status/allocatable",
        json!({"pods": "10", "nvidia.com/gpu": "1"}),
    );
    let wanted = |name: &str| pod_json(name, container(json!({"nvidia.com/gpu": "1"})));
    binds(&wanted("p"), std::slice::from_ref(&gpu), &[], "a");
    let mut taken = wanted("q");
    taken["spec"]["nodeName"] = "a".into();
    refuses(
        &wanted("p"),
        std::slice::from_ref(&gpu),
        std::slice::from_ref(&taken),
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    );
    // A Pod that has finished needs nothing any more.
    taken["status"] = json!({"phase": "Succeeded"});
    binds(&wanted("p"), &[gpu], &[taken], "a");
}

#[test]
fn nodes_take_so_many_pods() {
    let node = with(
        node_json("a", json!({})),
        "/status/allocatable/pods",
        json!("1"),
    );
    let nodes = [node];
    binds(&pod_json("p", json!({})), &nodes, &[], "a");
    refuses(
        &pod_json("p", json!({})),
        &nodes,
        &[running("x", "a", json!({}))],
        "0/1 nodes are available: 1 Too many pods.",
    );
}

#[test]
fn requests_of_pods_add_up_as_in_kube() {
    let cpu = |request: &str| json!({"requests": {"cpu": request}});
    let cases = [
        (
            json!({"containers": [{"resources": cpu("1")}, {"resources": cpu("2")}]}),
            3000,
        ),
        // Init containers run one by one, before the containers.
        (
            json!({"containers": [{"resources": cpu("1")}], "initContainers": [{"resources": cpu("3")}, {"resources": cpu("2")}]}),
            3000,
        ),
        (
            json!({"containers": [{"resources": cpu("1")}], "overhead": {"cpu": "250m"}}),
            1250,
        ),
        // Sidecars stay, beside later init containers and the containers.
        (
            json!({"containers": [{"resources": cpu("1")}], "initContainers": [{"restartPolicy": "Always", "resources": cpu("2")}, {"resources": cpu("3")}]}),
            5000,
        ),
        (
            json!({"containers": [{"resources": cpu("4")}], "initContainers": [{"resources": cpu("3")}, {"restartPolicy": "Always", "resources": cpu("2")}]}),
            6000,
        ),
        // A limit stands for a missing request.
        (
            json!({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}),
            2000,
        ),
        (
            json!({"containers": [{"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}]}),
            1000,
        ),
        // Requests of the Pod as a whole.
        (
            json!({"containers": [{"resources": cpu("1")}], "resources": cpu("3"), "overhead": {"cpu": "1"}}),
            4000,
        ),
    ];
    for (spec, milli) in cases {
        assert_eq!(
            pod(&pod_json("p", spec.clone())).requests().get("cpu"),
            milli,
            "{spec}"
        );
    }
    let huge = json!({"containers": [{"resources": {"requests": {"memory": "8Ei"}}}, {"resources": {"requests": {"memory": "8Ei"}}}]});
    assert_eq!(pod(&pod_json("p", huge)).requests().get("memory"), i64::MAX);
}

#[test]
fn host_ports_conflict() {
    let nodes = [node_json("a", json!({}))];
    let ports = |ports: Value| json!({"containers": [{"name": "c", "ports": ports}]});
    let on_a = |spec: Value| {
        let mut spec = spec;
        spec["nodeName"] = "a".into();
        [pod_json("x", spec)]
    };
    let taken = on_a(ports(
        json!([{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]),
    ));
    let message =
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    for wanted in [
        json!([{"containerPort": 1, "hostPort": 80}]),
        json!([{"containerPort": 1, "hostPort": 80, "hostIP": "0.0.0.0", "protocol": "TCP"}]),
        json!([{"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}]),
    ] {
        refuses(&pod_json("p", ports(wanted)), &nodes, &taken, message);
    }
    for wanted in [
        json!([{"containerPort": 80}]),
        json!([{"containerPort": 1, "hostPort": 81}]),
        json!([{"containerPort": 1, "hostPort": 80, "protocol": "UDP"}]),
        json!([{"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.2"}]),
    ] {
        binds(&pod_json("p", ports(wanted)), &nodes, &taken, "a");
    }
    let mut host_network = ports(json!([{"containerPort": 80}]));
    host_network["hostNetwork"] = true.into();
    refuses(&pod_json("p", host_network), &nodes, &taken, message);
}

#[test]
fn bound_volumes_hold_their_pods() {
    let nodes = cluster(&zones(), &[]);
    let only = |name: &str| {
        core::NodeSelector {
        node_selector_terms: vec![
            serde_json::from_value(json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]})).unwrap(),
        ],
    }
    };
    let one = pod(&pod_json("p", json!({}))).with_volume(&only("b"));
    assert_eq!(decide(&one, &nodes), Placement::Bind("b".to_owned()));
    let torn = one.with_volume(&only("c"));
    let Placement::Unschedulable { message } = decide(&torn, &nodes) else {
        panic!("bound")
    };
    assert_eq!(
        message,
        "0/3 nodes are available: 3 node(s) had volume node affinity conflict."
    );
}

#[test]
fn gated_pods_wait() {
    let gated = pod_json(
        "p",
        json!({"schedulingGates": [{"name": "example.com/wait"}]}),
    );
    let Placement::Gated { message } = place(&gated, &zones(), &[]) else {
        panic!("not gated")
    };
    assert_eq!(
        message,
        "Scheduling is blocked due to non-empty scheduling gates"
    );
}

#[test]
fn different_reasons_are_counted_and_sorted() {
    let nodes = [
        node_json("a", json!({})),
        tainted("b", json!([{"key": "gpu", "effect": "NoSchedule"}])),
        tainted("c", json!([{"key": "gpu", "effect": "NoSchedule"}])),
        with(
            node_json("d", json!({})),
            "/spec",
            json!({"unschedulable": true}),
        ),
    ];
    let wanted = pod_json("p", container(json!({"memory": "1Ti"})));
    refuses(
        &wanted,
        &nodes,
        &[],
        "0/4 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 node(s) had untolerated taint {gpu: }.",
    );
    let reasons = crate::refusals(&pod(&wanted), &cluster(&nodes, &[]));
    assert_eq!(reasons[0], [Reason::Insufficient("memory".to_owned())]);
}

#[test]
fn assumed_pods_count_and_are_forgotten() {
    let mut nodes = cluster(&[node_json("a", json!({}))], &[]);
    let big = pod(&pod_json("big", container(json!({"cpu": "3"}))));
    let next = pod(&pod_json("next", container(json!({"cpu": "2"}))));
    nodes[0].add_pod(Arc::new(big));
    assert!(matches!(
        decide(&next, &nodes),
        Placement::Unschedulable { .. }
    ));
    nodes[0].remove_pod("none");
    nodes[0].remove_pod("big");
    assert_eq!(nodes[0].requested().get("cpu"), 0);
    assert_eq!(decide(&next, &nodes), Placement::Bind("a".to_owned()));
}
