//! Rules of node selectors, affinity and tolerations: what would make the launcher's Pod impossible.
//!
//! Paths leave out `affinity`, as KubeVirt's do.

use apimachinery::field::FieldPath;
use apimachinery::name;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, PodAffinityTerm};

use super::cause::Cause;
use crate::kubevirt::VirtualMachineInstanceSpec;

/// Rules of the placement of the instance at `path`.
pub(super) fn validate(
    causes: &mut Vec<Cause>,
    spec: &VirtualMachineInstanceSpec,
    path: &FieldPath,
) {
    for (key, value) in &spec.node_selector {
        let field = path.child("nodeSelector");
        let wrong = name::qualified_name(key)
            .into_iter()
            .chain(name::label_value(value));
        for wrong in wrong {
            causes.push(Cause::invalid(
                &field,
                format!("{field}: Invalid value: \"{key}\": {wrong}"),
            ));
        }
    }
    let Some(affinity) = &spec.affinity else {
        return;
    };
    if let Some(node) = &affinity.node_affinity {
        let node_path = path.child("nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            let field = node_path
                .child("requiredDuringSchedulingIgnoredDuringExecution")
                .child("nodeSelectorTerms");
            if required.node_selector_terms.is_empty() {
                causes.push(Cause::invalid(
                    &field,
                    format!("{field}: Required value: must have at least one node selector term"),
                ));
            }
            for (i, term) in required.node_selector_terms.iter().enumerate() {
                node_term(causes, term, &field.index(i));
            }
        }
        let preferred = node
            .preferred_during_scheduling_ignored_during_execution
            .iter()
            .flatten();
        for (i, preference) in preferred.enumerate() {
            let field = node_path
                .child("preferredDuringSchedulingIgnoredDuringExecution")
                .index(i);
            weight(causes, preference.weight, &field);
            node_term(causes, &preference.preference, &field.child("preference"));
        }
    }
    if let Some(pods) = &affinity.pod_affinity {
        pod_terms(
            causes,
            &path.child("podAffinity"),
            pods.required_during_scheduling_ignored_during_execution
                .as_deref(),
            pods.preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
                .map(|w| (w.weight, &w.pod_affinity_term)),
        );
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        pod_terms(
            causes,
            &path.child("podAntiAffinity"),
            pods.required_during_scheduling_ignored_during_execution
                .as_deref(),
            pods.preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
                .map(|w| (w.weight, &w.pod_affinity_term)),
        );
    }
}

fn node_term(causes: &mut Vec<Cause>, term: &NodeSelectorTerm, path: &FieldPath) {
    for (i, rule) in term.match_expressions.iter().flatten().enumerate() {
        let field = path.child("matchExpressions").index(i);
        for wrong in name::qualified_name(&rule.key) {
            let field = field.child("key");
            causes.push(Cause::invalid(
                &field,
                format!("{field}: Invalid value: \"{}\": {wrong}", rule.key),
            ));
        }
        let values = rule.values.as_ref().map_or(0, Vec::len);
        let wrong = match rule.operator.as_str() {
            "In" | "NotIn" if values == 0 => "must be specified when `operator` is 'In' or 'NotIn'",
            "Exists" | "DoesNotExist" if values > 0 => {
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            }
            "Gt" | "Lt" if values != 1 => {
                "must be specified single value when `operator` is 'Lt' or 'Gt'"
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => continue,
            _ => "not a valid selector operator",
        };
        let field = field.child(if wrong.starts_with("not") {
            "operator"
        } else {
            "values"
        });
        causes.push(Cause::invalid(&field, format!("{field}: {wrong}")));
    }
}

fn weight(causes: &mut Vec<Cause>, weight: i32, path: &FieldPath) {
    if !(1..=100).contains(&weight) {
        let field = path.child("weight");
        causes.push(Cause::invalid(
            &field,
            format!("{field}: Invalid value: {weight}: must be in the range 1-100"),
        ));
    }
}

fn pod_terms<'a>(
    causes: &mut Vec<Cause>,
    path: &FieldPath,
    required: Option<&'a [PodAffinityTerm]>,
    preferred: impl Iterator<Item = (i32, &'a PodAffinityTerm)>,
) {
    for (i, term) in required.into_iter().flatten().enumerate() {
        let field = path
            .child("requiredDuringSchedulingIgnoredDuringExecution")
            .index(i);
        pod_term(causes, term, &field);
    }
    for (i, (w, term)) in preferred.enumerate() {
        let field = path
            .child("preferredDuringSchedulingIgnoredDuringExecution")
            .index(i);
        weight(causes, w, &field);
        pod_term(causes, term, &field.child("podAffinityTerm"));
    }
}

fn pod_term(causes: &mut Vec<Cause>, term: &PodAffinityTerm, path: &FieldPath) {
    let field = path.child("topologyKey");
    if term.topology_key.is_empty() {
        causes.push(Cause::invalid(
            &field,
            format!("{field}: Required value: can not be empty"),
        ));
    }
    for wrong in name::qualified_name(&term.topology_key) {
        causes.push(Cause::invalid(
            &field,
            format!("{field}: Invalid value: \"{}\": {wrong}", term.topology_key),
        ));
    }
    let Some(selector) = &term.label_selector else {
        return;
    };
    let path = path.child("labelSelector");
    for (i, rule) in selector.match_expressions.iter().flatten().enumerate() {
        let field = path.child("matchExpressions").index(i).child("key");
        for wrong in name::qualified_name(&rule.key) {
            causes.push(Cause::invalid(
                &field,
                format!("{field}: Invalid value: \"{}\": {wrong}", rule.key),
            ));
        }
    }
}
