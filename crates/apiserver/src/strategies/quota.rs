//! ResourceQuotas: names of what can be counted, and scopes that fit them.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{list, text};
use super::spot::quantity;
use crate::strategy::{Context, Strategy};

pub(super) struct ResourceQuota;

/// Judges a map of amounts; `counts` when it counts objects.
pub(super) fn amounts(
    map: Option<&Value>,
    path: &FieldPath,
    counts: bool,
    errors: &mut Vec<FieldError>,
) {
    for (name, value) in map.and_then(Value::as_object).into_iter().flatten() {
        let at = path.key(name);
        match quantity(value) {
            Some(amount) if amount.is_negative() => {
                errors.push(FieldError::invalid(
                    &at,
                    value.clone(),
                    "must be greater than or equal to 0",
                ));
            }
            // Objects come whole.
            Some(amount)
                if counts
                    && (name.starts_with("count/")
                        || matches!(
                            name.as_str(),
                            "pods"
                                | "services"
                                | "secrets"
                                | "configmaps"
                                | "resourcequotas"
                                | "persistentvolumeclaims"
                                | "replicationcontrollers"
                        ))
                    && amount.milli_value() % 1000 != 0 =>
            {
                errors.push(FieldError::invalid(
                    &at,
                    value.clone(),
                    "must be an integer",
                ));
            }
            Some(_) => {}
            None => errors.push(FieldError::invalid(
                &at,
                value.clone(),
                "must be a quantity",
            )),
        }
    }
}

#[async_trait]
impl Strategy for ResourceQuota {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let spec = FieldPath::new("spec");
        amounts(
            object.pointer("/spec/hard"),
            &spec.child("hard"),
            true,
            &mut errors,
        );
        names(object, &spec.child("hard"), &mut errors);
        let scopes: Vec<&str> = list(object, "/spec/scopes")
            .filter_map(Value::as_str)
            .collect();
        self::scopes(object, &scopes, &spec.child("scopes"), &mut errors);
        selector(object, &spec.child("scopeSelector"), &mut errors);
        if let Some(old) = old
            && old.pointer("/spec/scopes") != object.pointer("/spec/scopes")
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
const STANDARD: [&str; 20] = [
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
    "storage",
];
/// Those that depend on a Pod, so that a scope can choose among them.
const OF_PODS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
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

fn names(object: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for resource in hard(object) {
        let at = at.key(resource);
        let wrong = name::qualified_name(resource);
        let plain = wrong.is_empty() && !resource.contains('/');
        let huge =
            resource.starts_with("hugepages-") || resource.starts_with("requests.hugepages-");
        if plain && !huge && !STANDARD.contains(&resource) {
            errors.push(FieldError::invalid(
                &at,
                resource,
                "must be a standard resource for quota",
            ));
        }
        errors.extend(
            wrong
                .into_iter()
                .map(|w| FieldError::invalid(&at, resource, w)),
        );
    }
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
        let mut errors = Vec::new();
        names(&object, &FieldPath::new("hard"), &mut errors);
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
                "hard[wonders]",
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
