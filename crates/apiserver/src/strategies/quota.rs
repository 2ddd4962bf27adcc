//! ResourceQuotas: names of what can be counted, and scopes that fit them.

use std::collections::BTreeSet;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{list, text};
use super::pod_resources;
use super::spot::{Faults, Spot};
use crate::strategy::{Context, Strategy};

pub(super) struct ResourceQuota;

/// Names and amounts of what is counted.
fn counted(spot: &Spot<'_>, key: &str, faults: &mut Faults) {
    for (resource, amount) in spot.entries(key) {
        pod_resources::any_name(&amount, resource, faults);
        let huge =
            resource.starts_with("hugepages-") || resource.starts_with("requests.hugepages-");
        if !resource.contains('/') && !huge && !STANDARD.contains(&resource) {
            let detail = "must be a standard resource for quota";
            faults.invalid(&amount.path, resource, detail);
        }
        pod_resources::amount(&amount, resource, faults);
    }
}

#[async_trait]
impl Strategy for ResourceQuota {
    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        for part in ["hard", "used"] {
            counted(&Spot::of(object, "status"), part, &mut faults);
        }
        if cx.subresource == "status" {
            return Ok(faults.0);
        }
        counted(&Spot::of(object, "spec"), "hard", &mut faults);
        let mut errors = faults.0;
        let spec = FieldPath::new("spec");
        let scopes: Vec<&str> = list(object, "/spec/scopes")
            .filter_map(Value::as_str)
            .collect();
        self::scopes(object, &scopes, &spec.child("scopes"), &mut errors);
        selector(object, &spec.child("scopeSelector"), &mut errors);
        let all = |object: &Value| -> BTreeSet<String> {
            list(object, "/spec/scopes")
                .filter_map(|scope| scope.as_str().map(str::to_owned))
                .collect()
        };
        if let Some(old) = old
            && all(old) != all(object)
        {
            errors.push(FieldError::invalid(
                &spec.child("scopes"),
                object.pointer("/spec/scopes").cloned().unwrap_or_default(),
                "field is immutable",
            ));
        }
        Ok(errors)
    }
}

/// Resources that a quota knows by their plain name.
const STANDARD: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "services",
    "services.nodeports",
    "services.loadbalancers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
];
/// Those that depend on a Pod, so that a scope can choose among them.
const OF_PODS: [&str; 7] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
    "pods",
];

fn hard(object: &Value) -> impl Iterator<Item = &str> {
    object
        .pointer("/spec/hard")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
}

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// Whether a quota of that scope can count the resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => resource.contains("storage") || resource.contains("claims"),
        _ => OF_PODS.contains(&resource),
    }
}

fn conflicting(scopes: &[&str]) -> bool {
    [
        ["BestEffort", "NotBestEffort"],
        ["Terminating", "NotTerminating"],
    ]
    .iter()
    .any(|pair| pair.iter().all(|s| scopes.contains(s)))
}

fn scopes(object: &Value, scopes: &[&str], at: &FieldPath, errors: &mut Vec<FieldError>) {
    for scope in scopes {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid(at, json!(scopes), "unsupported scope"));
        }
        // Extended resources are anybody's.
        for _ in hard(object).filter(|r| STANDARD.contains(r) && !fits(scope, r)) {
            errors.push(FieldError::invalid(
                at,
                json!(scopes),
                "unsupported scope applied to resource",
            ));
        }
    }
    if conflicting(scopes) {
        errors.push(FieldError::invalid(at, json!(scopes), "conflicting scopes"));
    }
}

fn selector(object: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let at = at.child("matchExpressions");
    let mut scopes = Vec::new();
    for one in list(object, "/spec/scopeSelector/matchExpressions") {
        let scope = text(one, "/scopeName");
        scopes.push(scope);
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(
                &at.child("scopeName"),
                scope,
                "unsupported scope",
            ));
        }
        for _ in hard(object).filter(|r| STANDARD.contains(r) && !fits(scope, r)) {
            errors.push(FieldError::invalid(
                &at,
                one.clone(),
                "unsupported scope applied to resource",
            ));
        }
        let values = list(one, "/values").count();
        let operator = text(one, "/operator");
        let by_value = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if !by_value && operator != "Exists" {
            errors.push(FieldError::invalid(
                &at.child("operator"),
                operator,
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            ));
        }
        match operator {
            "In" | "NotIn" if values == 0 => errors.push(FieldError::required(
                &at.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if values > 0 => errors.push(FieldError::invalid(
                &at.child("values"),
                one.get("values").cloned().unwrap_or_default(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                &at.child("operator"),
                other,
                "not a valid selector operator",
            )),
        }
    }
    if conflicting(&scopes) {
        errors.push(FieldError::invalid(
            &at,
            json!(scopes),
            "conflicting scopes",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_names_are_judged() {
        let object = json!({"spec": {
            "hard": {"pods": "1", "secrets": "1", "wonders": "1", "count/widgets.example.com": "1"},
            "scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In"},
                {"scopeName": "BestEffort", "operator": "NotIn", "values": ["x"]},
            ]},
        }});
        let mut faults = Faults::default();
        counted(&Spot::of(&object, "spec"), "hard", &mut faults);
        let mut errors = faults.0;
        scopes(
            &object,
            &["BestEffort", "NotBestEffort"],
            &FieldPath::new("scopes"),
            &mut errors,
        );
        selector(&object, &FieldPath::new("s"), &mut errors);
        let found: Vec<&str> = errors.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(
            found,
            [
                "spec.hard[wonders]",
                "spec.hard[wonders]",
                "scopes",
                "scopes",
                "scopes",
                "s.matchExpressions",
                "s.matchExpressions.values",
                "s.matchExpressions",
                "s.matchExpressions.operator",
            ]
        );
    }
}
