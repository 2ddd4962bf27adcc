//! Why a node cannot take a Pod, in kube-scheduler's words.

use std::collections::BTreeMap;
use std::fmt;

/// One reason of one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The node is cordoned.
    Unschedulable,
    /// The Pod names another node.
    NodeName,
    /// The node has a taint that the Pod does not tolerate.
    Taint {
        /// The taint's key.
        key: String,
        /// The taint's value.
        value: String,
    },
    /// The node's labels do not fit `nodeSelector` or the required node affinity.
    NodeAffinity,
    /// A host port is taken.
    HostPorts,
    /// The node runs as many Pods as it may.
    TooManyPods,
    /// Too little of this resource is left.
    Insufficient(String),
    /// A bound volume is reachable from other nodes only.
    VolumeNodeAffinity,
    /// The Pods would be spread too unevenly.
    Spread,
    /// The node lacks the label by which Pods are spread.
    SpreadLabel,
    /// No Pod near the node matches the Pod's affinity.
    PodAffinity,
    /// A Pod near the node matches the Pod's anti-affinity.
    PodAntiAffinity,
    /// The Pod matches the anti-affinity of a Pod near the node.
    ExistingAntiAffinity,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::NodeName => "node(s) didn't match the requested node name",
            Self::Taint { key, value } => {
                return write!(f, "node(s) had untolerated taint {{{key}: {value}}}");
            }
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::HostPorts => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::Insufficient(resource) => return write!(f, "Insufficient {resource}"),
            Self::VolumeNodeAffinity => "node(s) had volume node affinity conflict",
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::ExistingAntiAffinity => {
                "node(s) didn't satisfy existing pods anti-affinity rules"
            }
        })
    }
}

/// `0/3 nodes are available: 1 Insufficient memory, 2 node(s) were unschedulable.`
pub(crate) fn message(verdicts: &[Vec<Reason>]) -> String {
    if verdicts.is_empty() {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in verdicts.iter().flatten() {
        *counts.entry(reason.to_string()).or_default() += 1;
    }
    let mut parts: Vec<String> = counts
        .into_iter()
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    // By text, count included, as kube-scheduler sorts them.
    parts.sort();
    format!(
        "0/{} nodes are available: {}.",
        verdicts.len(),
        parts.join(", ")
    )
}
