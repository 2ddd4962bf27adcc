//! Taints and tolerations.
//!
//! A node's conditions count as taints, as kube's node lifecycle controller would set them, whether
//! or not anybody set them: a node that is not ready takes no Pod that does not tolerate that.

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

use crate::{NodeFacts, PodFacts, Reason};

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";

fn taint(key: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: NO_SCHEDULE.to_owned(),
        ..Taint::default()
    }
}

/// The node's taints, with those that its conditions imply.
pub(crate) fn of_node(node: &Node) -> Vec<Taint> {
    let mut taints = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.clone())
        .unwrap_or_default();
    let conditions = node
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let status = |ty: &str| {
        conditions
            .iter()
            .find(|c| c.type_ == ty)
            .map(|c| c.status.as_str())
    };
    let mut imply = |key: &str| {
        if !taints
            .iter()
            .any(|t| t.key == key && t.effect == NO_SCHEDULE)
        {
            taints.push(taint(key));
        }
    };
    match status("Ready") {
        Some("True") => {}
        Some("Unknown") => imply("node.kubernetes.io/unreachable"),
        _ => imply("node.kubernetes.io/not-ready"),
    }
    for (condition, key) in [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
        (
            "NetworkUnavailable",
            "node.kubernetes.io/network-unavailable",
        ),
    ] {
        if status(condition) == Some("True") {
            imply(key);
        }
    }
    taints
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |t: &Option<String>| t.as_deref().unwrap_or_default().to_owned();
    let effect = text(&toleration.effect);
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = text(&toleration.key);
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "Exists" => true,
        // Without a key only `Exists` makes sense.
        "" | "Equal" => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

fn tolerated(pod: &PodFacts, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|t| tolerates(t, taint))
}

pub(crate) fn unschedulable(pod: &PodFacts, node: &NodeFacts) -> Option<Reason> {
    (node.unschedulable && !tolerated(pod, &taint(UNSCHEDULABLE))).then_some(Reason::Unschedulable)
}

pub(crate) fn untolerated(pod: &PodFacts, node: &NodeFacts) -> Option<Reason> {
    let hard = node
        .taints
        .iter()
        .filter(|t| matches!(t.effect.as_str(), NO_SCHEDULE | "NoExecute"));
    let first = hard.into_iter().find(|taint| !tolerated(pod, taint))?;
    Some(Reason::Taint {
        key: first.key.clone(),
        value: first.value.clone().unwrap_or_default(),
    })
}

/// How many taints `PreferNoSchedule` the Pod does not tolerate.
pub(crate) fn disliked(pod: &PodFacts, node: &NodeFacts) -> i64 {
    let soft = node
        .taints
        .iter()
        .filter(|t| t.effect == "PreferNoSchedule");
    i64::try_from(soft.filter(|taint| !tolerated(pod, taint)).count()).unwrap_or(i64::MAX)
}
