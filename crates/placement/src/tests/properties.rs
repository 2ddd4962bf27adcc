//! Random clusters: Pods are placed one after the other, then the whole is checked by rules written
//! down a second time, from the API objects alone.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn any_node() -> impl Strategy<Value = Value> {
    (1..=4_i64, 1..=4_i64, 1..=5_i64, prop_oneof![Just(None), "z[12]".prop_map(Some)], 0..6_u8).prop_map(
        |(cpu, memory, pods, zone, trouble)| {
            let mut node = node_json("", zone.map_or(json!({}), |z| json!({"zone": z})));
            node["status"]["allocatable"] = json!({"cpu": cpu.to_string(), "memory": format!("{memory}Gi"), "pods": pods.to_string()});
            match trouble {
                0 => node["spec"]["unschedulable"] = true.into(),
                1 => node["spec"]["taints"] = json!([{"key": "t", "effect": "NoSchedule"}]),
                2 => node["status"]["conditions"] = json!([]),
                _ => {}
            }
            node
        },
    )
}

fn any_nodes() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(any_node(), 0..5).prop_map(|mut nodes| {
        for (i, node) in nodes.iter_mut().enumerate() {
            let name = format!("n{i}");
            node["metadata"]["labels"]["kubernetes.io/hostname"] = name.clone().into();
            node["metadata"]["name"] = name.into();
        }
        nodes
    })
}

fn any_pod() -> impl Strategy<Value = Value> {
    let key = prop_oneof![Just("zone"), Just("kubernetes.io/hostname")];
    let term = ("[xy]", key.clone()).prop_map(
        |(app, key)| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}),
    );
    let spread = (1..3, key, any::<bool>()).prop_map(|(skew, key, hard)| {
        let when = if hard { "DoNotSchedule" } else { "ScheduleAnyway" };
        json!({"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"app": "x"}}, "nodeAffinityPolicy": "Ignore"})
    });
    (
        "[xy]",
        0..2000_i64,
        0..2048_i64,
        proptest::option::weighted(0.2, 80..82),
        proptest::option::weighted(0.3, term.clone()),
        proptest::option::weighted(0.3, term.clone()),
        proptest::option::weighted(0.3, term),
        proptest::option::weighted(0.3, spread),
        (proptest::option::weighted(0.2, "z[12]"), any::<bool>()),
    )
        .prop_map(|(app, cpu, memory, port, near, far, wish, spread, (zone, tolerant))| {
            let mut pod = pod_json("", container(json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")})));
            pod["metadata"]["labels"]["app"] = app.into();
            if let Some(port) = port {
                pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": port, "hostPort": port}]);
            }
            let required = |term: Option<Value>| json!({"requiredDuringSchedulingIgnoredDuringExecution": term.into_iter().collect::<Vec<_>>()});
            pod["spec"]["affinity"] = json!({"podAffinity": required(near), "podAntiAffinity": required(far)});
            if let Some(wish) = wish {
                pod["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = json!([{"weight": 7, "podAffinityTerm": wish}]);
            }
            pod["spec"]["topologySpreadConstraints"] = spread.into_iter().collect();
            if let Some(zone) = zone {
                pod["spec"]["nodeSelector"] = json!({"zone": zone});
            }
            if tolerant {
                pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
            }
            pod
        })
}

/// Places the Pods one after the other; those placed name their node.
fn schedule(nodes: &[Value], wanted: Vec<Value>) -> Vec<Value> {
    let mut placed: Vec<Value> = Vec::new();
    for (i, mut next) in wanted.into_iter().enumerate() {
        next["metadata"]["uid"] = format!("u{i}").into();
        if let Placement::Bind(node) = place(&next, nodes, &placed) {
            check(nodes, &placed, &next, &node);
            next["spec"]["nodeName"] = node.into();
            placed.push(next);
        }
    }
    placed
}

fn amount(pod: &Value, resource: &str) -> i64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"][resource]
        .as_str()
        .unwrap();
    text.trim_end_matches(char::is_alphabetic).parse().unwrap()
}

fn is_on(pod: &Value, node: &Value) -> bool {
    pod["spec"]["nodeName"] == node["metadata"]["name"]
}

fn domain<'a>(nodes: &'a [Value], name: &str, key: &str) -> Option<&'a str> {
    let node = nodes.iter().find(|n| n["metadata"]["name"] == name)?;
    node["metadata"]["labels"][key].as_str()
}

fn app(pod: &Value) -> &str {
    pod["metadata"]["labels"]["app"].as_str().unwrap()
}

fn terms<'a>(pod: &'a Value, kind: &str) -> Vec<(&'a str, &'a str)> {
    let list = pod["spec"]["affinity"][kind]["requiredDuringSchedulingIgnoredDuringExecution"]
        .as_array()
        .unwrap();
    list.iter()
        .map(|t| {
            (
                t["labelSelector"]["matchLabels"]["app"].as_str().unwrap(),
                t["topologyKey"].as_str().unwrap(),
            )
        })
        .collect()
}

/// The rules, again.
fn check(nodes: &[Value], placed: &[Value], pod: &Value, name: &str) {
    let node = nodes
        .iter()
        .find(|n| n["metadata"]["name"] == name)
        .expect("bound to a node of the cluster");
    let here: Vec<&Value> = placed.iter().filter(|p| is_on(p, node)).collect();
    let tolerant = !pod["spec"]["tolerations"].is_null();
    assert!(
        tolerant || node["spec"]["unschedulable"].is_null(),
        "cordoned"
    );
    assert!(tolerant || node["spec"]["taints"].is_null(), "tainted");
    assert!(
        tolerant || node["status"]["conditions"] != json!([]),
        "not ready"
    );
    if let Some(zone) = pod["spec"]["nodeSelector"]["zone"].as_str() {
        assert_eq!(node["metadata"]["labels"]["zone"], zone);
    }

    let capacity = |resource: &str| {
        let text = node["status"]["allocatable"][resource].as_str().unwrap();
        text.trim_end_matches("Gi").parse::<i64>().unwrap()
    };
    let sum = |resource: &str| {
        here.iter()
            .copied()
            .chain([pod])
            .map(|p| amount(p, resource))
            .sum::<i64>()
    };
    assert!(
        amount(pod, "cpu") == 0 || sum("cpu") <= capacity("cpu") * 1000,
        "cpu"
    );
    assert!(
        amount(pod, "memory") == 0 || sum("memory") <= capacity("memory") * 1024,
        "memory"
    );
    assert!(
        i64::try_from(here.len()).unwrap() < capacity("pods"),
        "pods"
    );

    let port = |p: &Value| p["spec"]["containers"][0]["ports"][0]["hostPort"].as_i64();
    assert!(
        port(pod).is_none() || here.iter().all(|p| port(p) != port(pod)),
        "host port"
    );

    let place_of = |p: &Value, key: &str| {
        domain(nodes, p["spec"]["nodeName"].as_str().unwrap(), key).map(str::to_owned)
    };
    let own = |key: &str| domain(nodes, name, key).map(str::to_owned);
    for (wanted, key) in terms(pod, "podAntiAffinity") {
        assert!(
            own(key).is_none()
                || !placed
                    .iter()
                    .any(|p| app(p) == wanted && place_of(p, key) == own(key)),
            "anti-affinity"
        );
    }
    for other in placed {
        for (unwanted, key) in terms(other, "podAntiAffinity") {
            assert!(
                app(pod) != unwanted || own(key).is_none() || place_of(other, key) != own(key),
                "anti-affinity of another"
            );
        }
    }
    for (wanted, key) in terms(pod, "podAffinity") {
        let companion = placed
            .iter()
            .any(|p| app(p) == wanted && place_of(p, key) == own(key));
        let nobody = !placed
            .iter()
            .any(|p| app(p) == wanted && place_of(p, key).is_some());
        assert!(
            own(key).is_some() && (companion || nobody && app(pod) == wanted),
            "affinity"
        );
    }
    for constraint in pod["spec"]["topologySpreadConstraints"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["whenUnsatisfiable"] == "DoNotSchedule")
    {
        let key = constraint["topologyKey"].as_str().unwrap();
        let mut counts: BTreeMap<String, i64> = nodes
            .iter()
            .filter_map(|n| Some((n["metadata"]["labels"][key].as_str()?.to_owned(), 0)))
            .collect();
        for p in placed.iter().filter(|p| app(p) == "x") {
            if let Some(domain) = place_of(p, key) {
                *counts.get_mut(&domain).unwrap() += 1;
            }
        }
        let minimum = *counts.values().min().unwrap();
        let skew = counts[&own(key).expect("spread needs the label")] + i64::from(app(pod) == "x")
            - minimum;
        assert!(skew <= constraint["maxSkew"].as_i64().unwrap(), "spread");
    }
}

proptest! {
    #[test]
    fn no_rule_is_ever_broken(nodes in any_nodes(), pods in proptest::collection::vec(any_pod(), 0..12)) {
        schedule(&nodes, pods);
    }

    #[test]
    fn order_does_not_matter(nodes in any_nodes().prop_shuffle(), pods in proptest::collection::vec(any_pod(), 0..8), last in any_pod()) {
        let placed = schedule(&nodes, pods);
        let mut facts = cluster(&nodes, &placed);
        let one = decide(&pod(&last), &facts);
        facts.reverse();
        prop_assert_eq!(&decide(&pod(&last), &facts), &one);
        let backwards: Vec<Value> = placed.iter().rev().cloned().collect();
        prop_assert_eq!(decide(&pod(&last), &cluster(&nodes, &backwards)), one);
    }

    #[test]
    fn a_pod_is_refused_only_when_every_node_refuses(nodes in any_nodes(), wanted in any_pod()) {
        let facts = cluster(&nodes, &[]);
        let refusals = crate::refusals(&pod(&wanted), &facts);
        match decide(&pod(&wanted), &facts) {
            Placement::Bind(name) => {
                let at = facts.iter().position(|n| n.name() == name).unwrap();
                prop_assert!(refusals[at].is_empty());
            }
            Placement::Unschedulable { message } => {
                prop_assert!(refusals.iter().all(|r| !r.is_empty()), "{}", message);
            }
            Placement::Gated { .. } => prop_assert!(false, "gated"),
        }
    }

    #[test]
    fn assuming_and_reading_agree(nodes in any_nodes(), pods in proptest::collection::vec(any_pod(), 0..6), last in any_pod()) {
        let placed = schedule(&nodes, pods);
        let read = cluster(&nodes, &placed);
        let mut assumed = cluster(&nodes, &[]);
        for p in &placed {
            let node = assumed.iter_mut().find(|n| p["spec"]["nodeName"] == n.name()).unwrap();
            node.add_pod(Arc::new(pod(p)));
        }
        prop_assert_eq!(&assumed, &read);
        prop_assert_eq!(decide(&pod(&last), &assumed), decide(&pod(&last), &read));
    }
}
