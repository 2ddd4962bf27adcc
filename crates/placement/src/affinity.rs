//! Affinity and anti-affinity between Pods.
//!
//! A term says: near (in the same topology domain as) a Pod that this selector matches. Domains are
//! the values of a node label. The existing Pods' anti-affinity counts against the new Pod too.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::selector::{LabelSelector, Operator, Requirement};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::{NodeFacts, PodFacts, Reason};

/// One condition on the Pods near a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityTerm {
    pub(crate) topology_key: String,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<LabelSelector>,
    selector: LabelSelector,
}

/// The selector of the API's form; a malformed one is reported and matches nothing.
pub(crate) fn selector(
    wire: Option<&meta::LabelSelector>,
    errors: &mut Vec<String>,
) -> LabelSelector {
    let Some(wire) = wire else {
        return LabelSelector::nothing();
    };
    let parsed = serde_json::to_value(wire)
        .map_err(|e| e.to_string())
        .and_then(|json| LabelSelector::from_json(&json).map_err(|e| e.to_string()));
    parsed.unwrap_or_else(|error| {
        errors.push(error);
        LabelSelector::nothing()
    })
}

/// `selector`, narrowed to Pods that have the same values (or other values) of these labels.
pub(crate) fn narrowed(
    mut selector: LabelSelector,
    keys: Option<&Vec<String>>,
    operator: Operator,
    labels: &BTreeMap<String, String>,
) -> LabelSelector {
    for key in keys.into_iter().flatten() {
        let requirement = labels
            .get(key)
            .and_then(|value| Requirement::new(key, operator, [value]).ok());
        if let Some(requirement) = requirement {
            selector = selector.and(requirement);
        }
    }
    selector
}

impl AffinityTerm {
    pub(crate) fn new(
        wire: &core::PodAffinityTerm,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        errors: &mut Vec<String>,
    ) -> Self {
        let mut namespaces: BTreeSet<String> = wire.namespaces.iter().flatten().cloned().collect();
        let namespace_selector = wire
            .namespace_selector
            .as_ref()
            .map(|s| selector(Some(s), errors));
        if namespaces.is_empty() && namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let pods = selector(wire.label_selector.as_ref(), errors);
        let pods = narrowed(pods, wire.match_label_keys.as_ref(), Operator::In, labels);
        let pods = narrowed(
            pods,
            wire.mismatch_label_keys.as_ref(),
            Operator::NotIn,
            labels,
        );
        Self {
            topology_key: wire.topology_key.clone(),
            namespaces,
            namespace_selector,
            selector: pods,
        }
    }

    /// True when the term speaks of this Pod.
    pub fn matches(&self, pod: &PodFacts) -> bool {
        let namespace = self.namespaces.contains(&pod.namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|s| s.matches(&pod.namespace_labels));
        namespace && self.selector.matches(&pod.labels)
    }

    fn domain<'n>(&self, node: &'n NodeFacts) -> Option<&'n str> {
        node.labels.get(&self.topology_key).map(String::as_str)
    }
}

/// Terms that must hold, and terms with weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) required: Vec<AffinityTerm>,
    pub(crate) preferred: Vec<(i64, AffinityTerm)>,
}

impl Terms {
    pub(crate) fn new(
        required: Option<&Vec<core::PodAffinityTerm>>,
        preferred: Option<&Vec<core::WeightedPodAffinityTerm>>,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        errors: &mut Vec<String>,
    ) -> Self {
        let required = required
            .into_iter()
            .flatten()
            .map(|t| AffinityTerm::new(t, namespace, labels, errors))
            .collect();
        let preferred = preferred
            .into_iter()
            .flatten()
            .map(|t| {
                (
                    i64::from(t.weight),
                    AffinityTerm::new(&t.pod_affinity_term, namespace, labels, errors),
                )
            })
            .collect();
        Self {
            required,
            preferred,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty()
    }
}

/// Domains by topology key and value.
type Domains<'a> = BTreeSet<(&'a str, &'a str)>;

/// What the required terms of the Pod and of all existing Pods allow.
pub(crate) struct Required<'a> {
    pod: &'a PodFacts,
    /// Domains with a Pod that matches every affinity term.
    near: Domains<'a>,
    /// Domains with a Pod that matches an anti-affinity term.
    far: Domains<'a>,
    /// Domains with a Pod whose anti-affinity matches ours.
    shunned: Domains<'a>,
    /// Nobody matches the affinity terms yet, but the Pod itself does: it may be the first.
    first: bool,
}

impl<'a> Required<'a> {
    pub(crate) fn new(pod: &'a PodFacts, nodes: &'a [NodeFacts]) -> Self {
        let affinity = &pod.affinity.required;
        let anti = &pod.anti_affinity.required;
        let (mut near, mut far, mut shunned) = (Domains::new(), Domains::new(), Domains::new());
        let mut anyone = false;
        for node in nodes {
            if !affinity.is_empty()
                && node
                    .pods()
                    .iter()
                    .any(|p| affinity.iter().all(|t| t.matches(p)))
            {
                let domains: Vec<_> = affinity
                    .iter()
                    .filter_map(|t| Some((t.topology_key.as_str(), t.domain(node)?)))
                    .collect();
                anyone |= !domains.is_empty();
                near.extend(domains);
            }
            for term in anti {
                if let Some(domain) = term.domain(node)
                    && !far.contains(&(term.topology_key.as_str(), domain))
                    && node.pods().iter().any(|p| term.matches(p))
                {
                    far.insert((&term.topology_key, domain));
                }
            }
            for term in node
                .pods_with_affinity()
                .flat_map(|p| &p.anti_affinity.required)
            {
                if let Some(domain) = term.domain(node)
                    && term.matches(pod)
                {
                    shunned.insert((&term.topology_key, domain));
                }
            }
        }
        let first = !anyone && affinity.iter().all(|t| t.matches(pod));
        Self {
            pod,
            near,
            far,
            shunned,
            first,
        }
    }

    pub(crate) fn violated(&self, node: &NodeFacts) -> Option<Reason> {
        let near = |term: &AffinityTerm| {
            term.domain(node).is_some_and(|domain| {
                self.first || self.near.contains(&(term.topology_key.as_str(), domain))
            })
        };
        if !self.pod.affinity.required.iter().all(near) {
            return Some(Reason::PodAffinity);
        }
        let far = |term: &AffinityTerm| {
            term.domain(node)
                .is_some_and(|domain| self.far.contains(&(term.topology_key.as_str(), domain)))
        };
        if self.pod.anti_affinity.required.iter().any(far) {
            return Some(Reason::PodAntiAffinity);
        }
        let shunned = self
            .shunned
            .iter()
            .any(|(key, domain)| node.labels.get(*key).map(String::as_str) == Some(*domain));
        shunned.then_some(Reason::ExistingAntiAffinity)
    }
}

/// Existing Pods that require to be near ours count this much for its domain, as in kube.
const HARD_AFFINITY_WEIGHT: i64 = 1;

/// For each domain the weight that preferences, ours and those of existing Pods, give it.
pub(crate) fn preferred_domains<'a>(
    pod: &'a PodFacts,
    nodes: &'a [NodeFacts],
) -> BTreeMap<(&'a str, &'a str), i64> {
    let mut weights = BTreeMap::new();
    let mut weigh = |term: &'a AffinityTerm, node: &'a NodeFacts, weight: i64| {
        if let Some(domain) = term.domain(node) {
            let sum: &mut i64 = weights
                .entry((term.topology_key.as_str(), domain))
                .or_default();
            *sum = sum.saturating_add(weight);
        }
    };
    for node in nodes {
        for (sign, terms) in [(1, &pod.affinity), (-1, &pod.anti_affinity)] {
            for (weight, term) in &terms.preferred {
                let matching = node.pods().iter().filter(|p| term.matches(p)).count();
                weigh(
                    term,
                    node,
                    sign * weight * i64::try_from(matching).unwrap_or(i64::MAX / 1000),
                );
            }
        }
        for existing in node.pods_with_affinity() {
            for term in existing.affinity.required.iter().filter(|t| t.matches(pod)) {
                weigh(term, node, HARD_AFFINITY_WEIGHT);
            }
            for (sign, terms) in [(1, &existing.affinity), (-1, &existing.anti_affinity)] {
                for (weight, term) in terms.preferred.iter().filter(|(_, t)| t.matches(pod)) {
                    weigh(term, node, sign * weight);
                }
            }
        }
    }
    weights.retain(|_, weight| *weight != 0);
    weights
}
