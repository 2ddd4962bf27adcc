//! What the decision needs to know of Pods and nodes, read once from the API objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;

use crate::affinity::Terms;
use crate::node_selector::{Labels, Term};
use crate::{HostPort, NodeSelector, Resources, SpreadConstraint, ports, resources, taints};

/// Labels of the cluster's namespaces, for the namespace selectors of affinity terms.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// A Pod as the scheduler sees it, pending or running.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodFacts {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) namespace_labels: Labels,
    pub(crate) labels: Labels,
    pub(crate) node_name: Option<String>,
    pub(crate) terminating: bool,
    pub(crate) finished: bool,
    pub(crate) gated: bool,
    pub(crate) requests: Resources,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) tolerations: Vec<core::Toleration>,
    pub(crate) node_selector: Labels,
    pub(crate) node_affinity: Option<NodeSelector>,
    pub(crate) preferred_nodes: Vec<(i64, Term)>,
    pub(crate) volume_affinity: Vec<NodeSelector>,
    pub(crate) affinity: Terms,
    pub(crate) anti_affinity: Terms,
    pub(crate) spread: Vec<SpreadConstraint>,
    /// What could not be understood; such a Pod is not placed, and affects others only by the rest.
    pub(crate) errors: Vec<String>,
}

impl PodFacts {
    /// Reads a Pod. Nothing fails: what is malformed makes [`crate::decide`] refuse this Pod.
    pub fn new(pod: &core::Pod, namespaces: &Namespaces) -> Self {
        let mut errors = Vec::new();
        let spec = pod.spec.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        let affinity = spec.affinity.clone().unwrap_or_default();

        let node = affinity.node_affinity.unwrap_or_default();
        let node_affinity = node
            .required_during_scheduling_ignored_during_execution
            .map(|selector| NodeSelector::new(&selector, &mut errors));
        let preferred_nodes = node
            .preferred_during_scheduling_ignored_during_execution
            .iter()
            .flatten()
            .map(|p| (i64::from(p.weight), Term::new(&p.preference, &mut errors)))
            .collect();
        let near = affinity.pod_affinity.unwrap_or_default();
        let far = affinity.pod_anti_affinity.unwrap_or_default();
        let mut terms =
            |required: Option<&Vec<core::PodAffinityTerm>>,
             preferred: Option<&Vec<core::WeightedPodAffinityTerm>>| {
                Terms::new(required, preferred, &namespace, &labels, &mut errors)
            };
        let affinity = terms(
            near.required_during_scheduling_ignored_during_execution
                .as_ref(),
            near.preferred_during_scheduling_ignored_during_execution
                .as_ref(),
        );
        let anti_affinity = terms(
            far.required_during_scheduling_ignored_during_execution
                .as_ref(),
            far.preferred_during_scheduling_ignored_during_execution
                .as_ref(),
        );
        let spread = spec
            .topology_spread_constraints
            .iter()
            .flatten()
            .map(|c| SpreadConstraint::new(c, &labels, &mut errors))
            .collect();
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            namespace_labels: namespaces.get(&namespace).cloned().unwrap_or_default(),
            node_name: spec.node_name.clone().filter(|name| !name.is_empty()),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            gated: spec
                .scheduling_gates
                .as_ref()
                .is_some_and(|gates| !gates.is_empty()),
            requests: resources::of_pod(&spec, &mut errors),
            host_ports: ports::of_pod(&spec),
            tolerations: spec.tolerations.unwrap_or_default(),
            node_selector: spec.node_selector.unwrap_or_default(),
            volume_affinity: Vec::new(),
            node_affinity,
            preferred_nodes,
            affinity,
            anti_affinity,
            spread,
            namespace,
            labels,
            errors,
        }
    }

    /// The same with the node affinity of one of its bound volumes.
    #[must_use]
    pub fn with_volume(mut self, affinity: &core::NodeSelector) -> Self {
        let selector = NodeSelector::new(affinity, &mut self.errors);
        self.volume_affinity.push(selector);
        self
    }

    /// The Pod's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Pod's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Pod's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The node that the Pod names.
    pub fn node_name(&self) -> Option<&str> {
        self.node_name.as_deref()
    }

    /// What the Pod asks for.
    pub fn requests(&self) -> &Resources {
        &self.requests
    }

    pub(crate) fn has_soft_spread(&self) -> bool {
        self.spread.iter().any(|constraint| !constraint.is_hard())
    }
}

/// A node with the Pods on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<core::Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Resources,
    requested: Resources,
    pods: Vec<Arc<PodFacts>>,
}

impl NodeFacts {
    /// Reads a node. Of `pods`, those count that are on it and have not finished.
    pub fn new(node: &core::Node, pods: impl IntoIterator<Item = Arc<PodFacts>>) -> Self {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        // What cannot be read of a node's resources is not there to give.
        let wire = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
        let mut facts = Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: taints::of_node(node),
            unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or(false),
            allocatable: Resources::new(wire, &mut Vec::new()),
            requested: Resources::default(),
            pods: Vec::new(),
        };
        for pod in pods {
            if pod.node_name.as_ref() == Some(&facts.name) {
                facts.add_pod(pod);
            }
        }
        facts
    }

    /// Counts a Pod on this node: one that runs there, or one just bound to it.
    pub fn add_pod(&mut self, pod: Arc<PodFacts>) {
        if !pod.finished {
            self.requested.add(&pod.requests);
            self.pods.push(pod);
        }
    }

    /// No longer counts the Pod with this uid.
    pub fn remove_pod(&mut self, uid: &str) {
        if let Some(at) = self.pods.iter().position(|p| p.uid == uid) {
            let pod = self.pods.swap_remove(at);
            self.requested.subtract(&pod.requests);
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Pods that count on this node.
    pub fn pods(&self) -> &[Arc<PodFacts>] {
        &self.pods
    }

    /// What the Pods on this node ask for.
    pub fn requested(&self) -> &Resources {
        &self.requested
    }

    pub(crate) fn pods_with_affinity(&self) -> impl Iterator<Item = &PodFacts> {
        let pods = self.pods.iter().map(AsRef::as_ref);
        pods.filter(|p: &&PodFacts| !p.affinity.is_empty() || !p.anti_affinity.is_empty())
    }
}
