//! Topology spread: how unevenly matching Pods may lie over the values of a node label.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::selector::{LabelSelector, Operator};
use k8s_openapi::api::core::v1 as core;

use crate::{NodeFacts, PodFacts, Reason, affinity, node_selector, taints};

/// One constraint of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadConstraint {
    topology_key: String,
    max_skew: i64,
    min_domains: i64,
    /// `DoNotSchedule`, in contrast to `ScheduleAnyway`.
    hard: bool,
    selector: LabelSelector,
    honor_node_affinity: bool,
    honor_taints: bool,
}

impl SpreadConstraint {
    pub(crate) fn new(
        wire: &core::TopologySpreadConstraint,
        labels: &BTreeMap<String, String>,
        errors: &mut Vec<String>,
    ) -> Self {
        let selector = affinity::selector(wire.label_selector.as_ref(), errors);
        Self {
            topology_key: wire.topology_key.clone(),
            max_skew: i64::from(wire.max_skew.max(1)),
            min_domains: i64::from(wire.min_domains.unwrap_or(1)),
            hard: wire.when_unsatisfiable != "ScheduleAnyway",
            selector: affinity::narrowed(
                selector,
                wire.match_label_keys.as_ref(),
                Operator::In,
                labels,
            ),
            honor_node_affinity: wire.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: wire.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    pub(crate) fn is_hard(&self) -> bool {
        self.hard
    }

    fn domain<'n>(&self, node: &'n NodeFacts) -> Option<&'n str> {
        node.labels.get(&self.topology_key).map(String::as_str)
    }

    /// True when the node counts for this constraint.
    fn includes(&self, pod: &PodFacts, node: &NodeFacts) -> bool {
        (!self.honor_node_affinity || node_selector::fits(pod, node))
            && (!self.honor_taints || taints::untolerated(pod, node).is_none())
    }

    fn matching_on(&self, pod: &PodFacts, node: &NodeFacts) -> i64 {
        let counts = |p: &PodFacts| {
            !p.terminating && p.namespace == pod.namespace && self.selector.matches(&p.labels)
        };
        i64::try_from(node.pods().iter().filter(|p| counts(p)).count()).unwrap_or(i64::MAX)
    }
}

struct Counted<'a> {
    constraint: &'a SpreadConstraint,
    counts: BTreeMap<&'a str, i64>,
    minimum: i64,
    own: i64,
}

/// The constraints that must hold.
pub(crate) struct Hard<'a>(Vec<Counted<'a>>);

impl<'a> Hard<'a> {
    pub(crate) fn new(pod: &'a PodFacts, nodes: &'a [NodeFacts]) -> Self {
        let constraints: Vec<_> = pod.spread.iter().filter(|c| c.hard).collect();
        // Only nodes that have all the labels take part.
        let has_all = |node: &NodeFacts| constraints.iter().all(|c| c.domain(node).is_some());
        let counted = constraints.iter().map(|constraint| {
            let mut counts = BTreeMap::new();
            for node in nodes
                .iter()
                .filter(|n| has_all(n) && constraint.includes(pod, n))
            {
                if let Some(domain) = constraint.domain(node) {
                    *counts.entry(domain).or_insert(0) += constraint.matching_on(pod, node);
                }
            }
            let domains = i64::try_from(counts.len()).unwrap_or(i64::MAX);
            let minimum = if domains < constraint.min_domains {
                0
            } else {
                counts.values().copied().min().unwrap_or(0)
            };
            let own = i64::from(constraint.selector.matches(&pod.labels));
            Counted {
                constraint,
                counts,
                minimum,
                own,
            }
        });
        Self(counted.collect())
    }

    pub(crate) fn violated(&self, node: &NodeFacts) -> Option<Reason> {
        self.0.iter().find_map(|counted| {
            let Some(domain) = counted.constraint.domain(node) else {
                return Some(Reason::SpreadLabel);
            };
            let count = counted.counts.get(domain).copied().unwrap_or(0);
            let skew = count + counted.own - counted.minimum;
            (skew > counted.constraint.max_skew).then_some(Reason::Spread)
        })
    }
}

/// For each fitting node how crowded it is under the constraints that should hold; none for a node
/// that lacks a label.
pub(crate) fn crowding(
    pod: &PodFacts,
    fitting: &[&NodeFacts],
    nodes: &[NodeFacts],
) -> Vec<Option<f64>> {
    let constraints: Vec<_> = pod.spread.iter().filter(|c| !c.hard).collect();
    let has_all = |node: &NodeFacts| constraints.iter().all(|c| c.domain(node).is_some());
    let mut crowding: Vec<Option<f64>> = fitting
        .iter()
        .map(|node| has_all(node).then_some(0.0))
        .collect();
    for constraint in constraints.iter().copied() {
        let domains: BTreeSet<&str> = fitting
            .iter()
            .filter(|n| has_all(n))
            .filter_map(|n| constraint.domain(n))
            .collect();
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for node in nodes
            .iter()
            .filter(|n| has_all(n) && constraint.includes(pod, n))
        {
            if let Some(domain) = constraint.domain(node) {
                *counts.entry(domain).or_default() += constraint.matching_on(pod, node);
            }
        }
        // The more domains there are, the more each Pod in one counts, as in kube.
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let weight = ((domains.len() + 2) as f64).ln();
        for (node, score) in fitting.iter().zip(&mut crowding) {
            if let (Some(score), Some(domain)) = (score.as_mut(), constraint.domain(node)) {
                #[allow(clippy::cast_precision_loss, reason = "small numbers")]
                let (count, slack) = (
                    counts.get(domain).copied().unwrap_or(0) as f64,
                    (constraint.max_skew - 1) as f64,
                );
                *score += count * weight + slack;
            }
        }
    }
    crowding
}
