//! The scheduler's decision: on which node a Pod runs, or why on none.
//!
//! ```text
//!   Pod  ──► PodFacts ──┐                 ┌─ a filter refuses every node ──► Unschedulable { message }
//!                       ├──► decide ──────┤
//!   Node ──► NodeFacts ─┘   (its Pods)    └─ the best score of the rest ──► Bind(node)
//! ```
//!
//! Filters, in kube-scheduler's order; the first that refuses a node gives the reasons for it:
//! unschedulable, node name, taints, node affinity and selector, host ports, resources, volumes'
//! node affinity, topology spread, pod affinity. Scores, with kube-scheduler's weights: taints
//! `PreferNoSchedule` 3, preferred node affinity 2, topology spread 2, pod affinity 2, free room 1.
//!
//! Guarantees: pure (no clock, no randomness); the result does not depend on the order of the nodes
//! or of their Pods (ties go to the first name); a node that any filter refuses is never chosen; bad
//! input gives a message, never a panic.
//!
//! Not here: preemption, volume binding (the caller passes bound volumes' node affinity), the queue,
//! and the API. Facts can be kept between decisions: [`NodeFacts::add_pod`] assumes a Pod on a node.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod affinity;
mod facts;
mod node_selector;
mod ports;
mod reason;
mod resources;
mod score;
mod spread;
mod taints;

pub use affinity::AffinityTerm;
pub use facts::{Namespaces, NodeFacts, PodFacts};
pub use node_selector::NodeSelector;
pub use ports::HostPort;
pub use reason::Reason;
pub use resources::Resources;
pub use spread::SpreadConstraint;

/// What becomes of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It goes to this node.
    Bind(String),
    /// It stays pending; the message is that of the `PodScheduled` condition and the event.
    Unschedulable {
        /// `0/3 nodes are available: 1 Insufficient memory, 2 node(s) were unschedulable.`
        message: String,
    },
    /// It stays pending until its scheduling gates are removed (condition reason `SchedulingGated`).
    Gated {
        /// In kube's words.
        message: String,
    },
}

/// Decides where `pod` runs. `nodes` are all nodes of the cluster with the Pods on them.
pub fn decide(pod: &PodFacts, nodes: &[NodeFacts]) -> Placement {
    if pod.gated {
        let message = "Scheduling is blocked due to non-empty scheduling gates".to_owned();
        return Placement::Gated { message };
    }
    if let Some(error) = pod.errors.first() {
        return Placement::Unschedulable {
            message: error.clone(),
        };
    }
    let verdicts = refusals(pod, nodes);
    let fitting: Vec<&NodeFacts> = nodes
        .iter()
        .zip(&verdicts)
        .filter(|(_, reasons)| reasons.is_empty())
        .map(|(node, _)| node)
        .collect();
    match score::best(pod, &fitting, nodes) {
        Some(node) => Placement::Bind(node.name.clone()),
        None => Placement::Unschedulable {
            message: reason::message(&verdicts),
        },
    }
}

/// Why each of `nodes` cannot take `pod`; empty for a node that can.
pub fn refusals(pod: &PodFacts, nodes: &[NodeFacts]) -> Vec<Vec<Reason>> {
    let spread = spread::Hard::new(pod, nodes);
    let affinity = affinity::Required::new(pod, nodes);
    nodes
        .iter()
        .map(|node| {
            let refusal = taints::unschedulable(pod, node)
                .or_else(|| wrong_name(pod, node))
                .or_else(|| taints::untolerated(pod, node))
                .or_else(|| node_selector::mismatch(pod, node))
                .or_else(|| ports::taken(pod, node));
            if let Some(reason) = refusal {
                return vec![reason];
            }
            let short = resources::insufficient(pod, node);
            if !short.is_empty() {
                return short;
            }
            node_selector::volumes_elsewhere(pod, node)
                .or_else(|| spread.violated(node))
                .or_else(|| affinity.violated(node))
                .into_iter()
                .collect()
        })
        .collect()
}

fn wrong_name(pod: &PodFacts, node: &NodeFacts) -> Option<Reason> {
    let other = pod
        .node_name
        .as_ref()
        .is_some_and(|name| *name != node.name);
    other.then_some(Reason::NodeName)
}

#[cfg(test)]
mod tests;
