//! What of a Pod may change: little of its specification, and its status by the rules of containers' lives.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use serde_json::{Map, Value};

use super::pod_validate;
use super::spot::{Faults, Spot};

/// Everything wrong with a change of a Pod on its main endpoint.
pub(super) fn update(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    pod_validate::present(object, &mut faults);
    annotations(object, old, &mut faults);
    let (spec, before) = (Spot::of(object, "spec"), Spot::of(old, "spec"));
    for list in ["containers", "initContainers"] {
        if spec.count(list) != before.count(list) {
            let detail = "pod updates may not add or remove containers";
            faults.forbidden(&spec.at(list), detail);
            return faults.0;
        }
    }
    if !deadline(&spec, &before, &mut faults) {
        return faults.0;
    }
    tolerations(&spec, &before, &mut faults);
    gates(&spec, &before, &mut faults);
    let mut masked = spec.value.as_object().cloned().unwrap_or_default();
    mask(&mut masked, before.value);
    if before.count("schedulingGates") > 0 {
        gated(&spec, &before, &mut masked, &mut faults);
    }
    if Some(&masked) != before.value.as_object() {
        faults.forbidden(
            &spec.path,
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        );
    }
    faults.0
}

fn annotations(object: &Value, old: &Value, faults: &mut Faults) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let of = |object| apimachinery::meta::annotation(object, MIRROR);
    if of(object) != of(old) {
        let verb = if of(old).is_none() {
            "add"
        } else {
            "remove or update"
        };
        let at = FieldPath::new("metadata").child("annotations").key(MIRROR);
        faults.forbidden(&at, format!("may not {verb} mirror pod annotation"));
    }
}

/// A deadline can be set, and then come nearer. False when nothing else need be judged.
fn deadline(spec: &Spot<'_>, before: &Spot<'_>, faults: &mut Faults) -> bool {
    const FIELD: &str = "activeDeadlineSeconds";
    let at = spec.at(FIELD);
    match (spec.int(FIELD), before.int(FIELD)) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            faults.invalid(&at, now, "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(now), Some(before)) if before < now => {
            let detail = "must be less than or equal to previous value";
            faults.invalid(&at, now, detail);
            false
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            faults.invalid(&at, Value::Null, detail);
            true
        }
        _ => true,
    }
}

fn tolerations(spec: &Spot<'_>, before: &Spot<'_>, faults: &mut Faults) {
    let same = |a: &Value, b: &Value| {
        let plain = |value: &Value| {
            let mut value = value.clone();
            if let Some(map) = value.as_object_mut() {
                map.remove("tolerationSeconds");
            }
            value
        };
        plain(a) == plain(b)
    };
    let kept = before.items("tolerations").all(|old| {
        spec.items("tolerations")
            .any(|new| same(new.value, old.value))
    });
    if !kept {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        faults.forbidden(&spec.at("tolerations"), detail);
    }
}

fn gates(spec: &Spot<'_>, before: &Spot<'_>, faults: &mut Faults) {
    for gate in spec.items("schedulingGates") {
        let given = gate.text("name");
        if !before
            .items("schedulingGates")
            .any(|old| old.text("name") == given)
        {
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{given}'");
            faults.forbidden(&gate.at("name"), detail);
        }
    }
}

/// Sets what may change back to what it was.
fn mask(spec: &mut Map<String, Value>, old: &Value) {
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let image = old
                .get(list)
                .and_then(|l| l.get(index))
                .and_then(|c| c.get("image"));
            if let (Some(container), Some(image)) = (container.as_object_mut(), image) {
                container.insert("image".to_owned(), image.clone());
            }
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(spec, old, field);
    }
    const GRACE: &str = "terminationGracePeriodSeconds";
    let was_negative = old
        .get(GRACE)
        .and_then(Value::as_i64)
        .is_some_and(|g| g < 0);
    if was_negative && spec.get(GRACE).and_then(Value::as_i64) == Some(1) {
        restore(spec, old, GRACE);
    }
}

fn restore(spec: &mut Map<String, Value>, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => spec.insert(field.to_owned(), value.clone()),
        None => spec.remove(field),
    };
}

/// A Pod that may not be scheduled yet can still be narrowed to fewer nodes.
fn gated(spec: &Spot<'_>, before: &Spot<'_>, masked: &mut Map<String, Value>, faults: &mut Faults) {
    let selector = spec.child("nodeSelector");
    if selector.value != before.child("nodeSelector").value {
        let kept = before
            .entries("nodeSelector")
            .all(|(key, old)| selector.value.get(key) == Some(old.value));
        if !kept {
            let detail =
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            faults.invalid(&selector.path, selector.value.clone(), detail);
        }
        restore(masked, before.value, "nodeSelector");
    }
    let nodes = spec.child("affinity").child("nodeAffinity");
    let old_nodes = before.child("affinity").child("nodeAffinity");
    if nodes.value == old_nodes.value {
        return;
    }
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let (new, old) = (nodes.child(REQUIRED), old_nodes.child(REQUIRED));
    let (count, old_count) = (
        new.count("nodeSelectorTerms"),
        old.count("nodeSelectorTerms"),
    );
    if old_count > 0 && count != old_count {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let given = new.child("nodeSelectorTerms");
        faults.invalid(&given.path, given.value.clone(), detail);
    } else {
        for (term, old) in new
            .items("nodeSelectorTerms")
            .zip(old.items("nodeSelectorTerms"))
        {
            if !only_adds(&term, &old) {
                let detail = "only additions are allowed (no mutations or deletions)";
                faults.invalid(&term.path, term.value.clone(), detail);
            }
        }
    }
    let mut affinity = spec.map("affinity").cloned().unwrap_or_default();
    restore(
        &mut affinity,
        before.child("affinity").value,
        "nodeAffinity",
    );
    if affinity.is_empty() && !before.has("affinity") {
        masked.remove("affinity");
    } else {
        masked.insert("affinity".to_owned(), Value::Object(affinity));
    }
}

fn only_adds(term: &Spot<'_>, old: &Spot<'_>) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    let empty = lists.iter().all(|list| old.count(list) == 0);
    if empty && lists.iter().any(|list| term.count(list) > 0) {
        return false;
    }
    lists.iter().all(|list| {
        let new: Vec<&Value> = term.items(list).map(|s| s.value).collect();
        let old: Vec<&Value> = old.items(list).map(|s| s.value).collect();
        new.starts_with(&old)
    })
}

/// Everything wrong with a change of a Pod's status.
pub(super) fn status(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    annotations(object, old, &mut faults);
    let (status, before) = (Spot::of(object, "status"), Spot::of(old, "status"));
    const OWN: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
    for (index, condition) in status.items("conditions").enumerate() {
        let given = condition.text("type");
        if !OWN.contains(&given) {
            // The place and the capital are upstream's.
            let at = FieldPath::new("metadata")
                .child("conditions")
                .index(index)
                .child("Type");
            faults.named(&at, given, name::qualified_name);
        }
    }
    if status.text("nominatedNodeName") != before.text("nominatedNodeName") {
        faults.named_if_given(&status, "nominatedNodeName", name::dns1123_subdomain);
    }
    if status.text("qosClass") != before.text("qosClass") {
        faults.immutable(&status.child("qosClass"), &before.child("qosClass"));
    }
    let policy = Spot::of(old, "spec").text("restartPolicy").to_owned();
    for (list, policy) in [
        ("containerStatuses", policy.as_str()),
        ("initContainerStatuses", policy.as_str()),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        lives(&status, &before, list, policy, old, &mut faults);
    }
    addresses(&status, &mut faults);
    faults.0
}

/// A container that ended does not come to life again, unless it may.
fn lives(
    status: &Spot<'_>,
    before: &Spot<'_>,
    list: &str,
    policy: &str,
    pod: &Value,
    faults: &mut Faults,
) {
    if policy == "Always" {
        return;
    }
    let restarts = |name: &str| {
        list == "initContainerStatuses"
            && Spot::of(pod, "spec")
                .items("initContainers")
                .any(|c| c.text("name") == name && c.text("restartPolicy") == "Always")
    };
    for old in before.items(list) {
        let state = old.child("state");
        let Some(ended) = state.given("terminated") else {
            continue;
        };
        let failed = ended.int("exitCode").unwrap_or(0) != 0;
        if (failed && policy == "OnFailure") || restarts(old.text("name")) {
            continue;
        }
        for new in status.items(list) {
            if new.text("name") == old.text("name") && !new.child("state").has("terminated") {
                let detail = "may not be transitioned to non-terminated state";
                faults.forbidden(&old.at("state"), detail);
            }
        }
    }
}

fn addresses(status: &Spot<'_>, faults: &mut Faults) {
    for list in ["podIPs", "hostIPs"] {
        let given: Vec<&str> = status.items(list).map(|one| one.text("ip")).collect();
        if list == "hostIPs"
            && let Some(first) = given.first()
            && *first != status.text("hostIP")
        {
            let at = status.at(list).index(0).child("ip");
            faults.invalid(&at, *first, "must be equal to `hostIP`");
        }
        for one in status.items(list) {
            faults.address(&one.path, one.text("ip"));
        }
        let is_v6 = |ip: &&&str| ip.contains(':');
        let sixes = given.iter().filter(is_v6).count();
        if given.len() > 1 && (given.len() > 2 || sixes != 1) {
            let detail = "may specify no more than one IP for each IP family";
            let all = status.child(list);
            faults.invalid(&all.path, all.value.clone(), detail);
        }
        for (index, ip) in given.iter().enumerate() {
            if given.iter().take(index).any(|other| other == ip) {
                faults.duplicate(&status.at(list).index(index), *ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::found;
    use super::*;
    use serde_json::json;

    fn pod(more: Value) -> Value {
        let mut spec = json!({
            "restartPolicy": "Never", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "c", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}],
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        json!({"metadata": {"name": "p"}, "spec": spec})
    }

    #[test]
    fn little_of_a_pod_may_change() {
        let old = pod(json!({"activeDeadlineSeconds": 10}));
        let container = |more: Value| {
            let mut one = old["spec"]["containers"][0].clone();
            if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
                one.extend(more);
            }
            json!([one])
        };
        for (more, expected) in [
            (json!({"activeDeadlineSeconds": 10}), vec![]),
            (
                json!({"activeDeadlineSeconds": 5, "containers": container(json!({"image": "j"}))}),
                vec![],
            ),
            (
                json!({"activeDeadlineSeconds": 10, "tolerations": [
                    {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}, {"operator": "Exists"},
                ]}),
                vec![],
            ),
            (
                json!({"activeDeadlineSeconds": 11}),
                vec!["spec.activeDeadlineSeconds Invalid"],
            ),
            (json!({}), vec!["spec.activeDeadlineSeconds Invalid"]),
            (
                json!({"activeDeadlineSeconds": 10, "tolerations": []}),
                vec!["spec.tolerations Forbidden"],
            ),
            (
                json!({"activeDeadlineSeconds": 10, "containers": container(json!({"args": ["x"], "image": ""}))}),
                vec!["spec Forbidden", "spec.containers[0].image Required"],
            ),
            (
                json!({"activeDeadlineSeconds": 10, "nodeName": "n", "schedulingGates": [{"name": "g"}]}),
                vec!["spec Forbidden", "spec.schedulingGates[0].name Forbidden"],
            ),
            (
                json!({"activeDeadlineSeconds": 10, "initContainers": [{"name": "i", "image": "x", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}]}),
                vec!["spec.initContainers Forbidden"],
            ),
        ] {
            assert_eq!(
                found(&Faults(update(&pod(more.clone()), &old))),
                expected,
                "{more}"
            );
        }
    }

    #[test]
    fn a_gated_pod_can_be_narrowed() {
        let affinity = |expressions: Value| {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": expressions}],
            }}})
        };
        let zone = json!({"key": "zone", "operator": "Exists"});
        let arch = json!({"key": "arch", "operator": "Exists"});
        let gates = json!([{"name": "g"}]);
        let old = pod(
            json!({"schedulingGates": gates, "nodeSelector": {"a": "b"}, "affinity": affinity(json!([zone]))}),
        );
        for (more, expected) in [
            (
                json!({"nodeSelector": {"a": "b", "c": "d"}, "affinity": affinity(json!([zone, arch]))}),
                vec![],
            ),
            (
                json!({"schedulingGates": gates, "nodeSelector": {"c": "d"}, "affinity": affinity(json!([arch]))}),
                vec![
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0] Invalid",
                    "spec.nodeSelector Invalid",
                ],
            ),
            (
                json!({"schedulingGates": gates, "nodeSelector": {"a": "b"}}),
                vec![
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms Invalid",
                ],
            ),
        ] {
            assert_eq!(
                found(&Faults(update(&pod(more.clone()), &old))),
                expected,
                "{more}"
            );
        }
    }

    #[test]
    fn what_ended_stays_ended() {
        let with = |status: Value| {
            let mut object = pod(json!({}));
            object["status"] = status;
            object
        };
        let old = with(json!({
            "qosClass": "BestEffort",
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}],
        }));
        for (status, expected) in [
            (
                json!({"qosClass": "BestEffort", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}]}),
                vec![],
            ),
            (
                json!({"qosClass": "Guaranteed", "containerStatuses": [{"name": "c", "state": {"running": {}}}]}),
                vec![
                    "status.containerStatuses[0].state Forbidden",
                    "status.qosClass Invalid",
                ],
            ),
            (
                json!({"qosClass": "BestEffort", "conditions": [{"type": "Ready"}, {"type": "a b"}], "nominatedNodeName": "_", "podIPs": [{"ip": "x"}], "hostIP": "1.1.1.1", "hostIPs": [{"ip": "1.1.1.2"}]}),
                vec![
                    "metadata.conditions[1].Type Invalid",
                    "status.hostIPs[0].ip Invalid",
                    "status.nominatedNodeName Invalid",
                    "status.podIPs[0] Invalid",
                ],
            ),
        ] {
            let new = with(status.clone());
            assert_eq!(
                found(&Faults(super::status(&new, &old))),
                expected,
                "{status}"
            );
        }
    }
}
