//! Node selectors: `nodeSelector`, required and preferred node affinity, node affinity of volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;

use crate::{NodeFacts, PodFacts, Reason};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    fn new(wire: &core::NodeSelectorRequirement, errors: &mut Vec<String>) -> Option<Self> {
        let operator = match wire.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            other => {
                errors.push(format!("{other:?} is not a valid node selector operator"));
                return None;
            }
        };
        let values = wire.values.clone().unwrap_or_default();
        if matches!(operator, Operator::Gt | Operator::Lt)
            && !matches!(values.as_slice(), [one] if one.parse::<i64>().is_ok())
        {
            errors.push(format!(
                "node selector operator {} of {:?} needs one integer",
                wire.operator, wire.key
            ));
            return None;
        }
        Some(Self {
            key: wire.key.clone(),
            operator,
            values,
        })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|v| self.values.iter().any(|w| w == v));
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        let bound = || self.values.first().and_then(|v| v.parse::<i64>().ok());
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => number().zip(bound()).is_some_and(|(n, bound)| n > bound),
            Operator::Lt => number().zip(bound()).is_some_and(|(n, bound)| n < bound),
        }
    }
}

/// All requirements of a term must hold; a term without any holds nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Term {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
    broken: bool,
}

impl Term {
    pub(crate) fn new(wire: &core::NodeSelectorTerm, errors: &mut Vec<String>) -> Self {
        let before = errors.len();
        let mut read = |list: &Option<Vec<core::NodeSelectorRequirement>>| {
            list.iter()
                .flatten()
                .filter_map(|r| Requirement::new(r, errors))
                .collect::<Vec<_>>()
        };
        let labels = read(&wire.match_expressions);
        let fields = read(&wire.match_fields);
        Self {
            labels,
            fields,
            broken: errors.len() > before,
        }
    }

    pub(crate) fn holds(&self, node: &NodeFacts) -> bool {
        let empty = self.labels.is_empty() && self.fields.is_empty();
        let field = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
        !self.broken
            && !empty
            && self
                .labels
                .iter()
                .all(|r| r.holds(node.labels.get(&r.key).map(String::as_str)))
            && self.fields.iter().all(|r| r.holds(field(&r.key)))
    }
}

/// Terms of which one must hold; without any it holds nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSelector {
    terms: Vec<Term>,
}

impl NodeSelector {
    /// From the API's form; malformed requirements are reported, and their term holds nowhere.
    pub fn new(wire: &core::NodeSelector, errors: &mut Vec<String>) -> Self {
        Self {
            terms: wire
                .node_selector_terms
                .iter()
                .map(|t| Term::new(t, errors))
                .collect(),
        }
    }

    /// True for a node that one of the terms describes.
    pub fn matches(&self, node: &NodeFacts) -> bool {
        self.terms.iter().any(|term| term.holds(node))
    }
}

/// True when the node's labels fit the Pod's `nodeSelector` and required node affinity.
pub(crate) fn fits(pod: &PodFacts, node: &NodeFacts) -> bool {
    let has = |(key, value): (&String, &String)| node.labels.get(key) == Some(value);
    pod.node_selector.iter().all(has)
        && pod
            .node_affinity
            .as_ref()
            .is_none_or(|selector| selector.matches(node))
}

pub(crate) fn mismatch(pod: &PodFacts, node: &NodeFacts) -> Option<Reason> {
    (!fits(pod, node)).then_some(Reason::NodeAffinity)
}

pub(crate) fn volumes_elsewhere(pod: &PodFacts, node: &NodeFacts) -> Option<Reason> {
    let reachable = pod
        .volume_affinity
        .iter()
        .all(|selector| selector.matches(node));
    (!reachable).then_some(Reason::VolumeNodeAffinity)
}

/// The sum of the weights of the preferences that the node satisfies.
pub(crate) fn preference(pod: &PodFacts, node: &NodeFacts) -> i64 {
    pod.preferred_nodes
        .iter()
        .filter(|(_, term)| term.holds(node))
        .map(|(weight, _)| weight)
        .sum()
}

/// Labels of a node with its topology in them.
pub(crate) type Labels = BTreeMap<String, String>;
