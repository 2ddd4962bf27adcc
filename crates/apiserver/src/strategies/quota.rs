//! ResourceQuotas and LimitRanges.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::Value;

use super::fields::list;
use crate::strategy::{Context, Strategy};

pub(super) struct ResourceQuota;
pub(super) struct LimitRange;

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn amounts(map: Option<&Value>, path: &FieldPath, counts: bool, errors: &mut Vec<FieldError>) {
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
        const SCOPES: [&str; 7] = [
            "BestEffort",
            "CrossNamespacePodAffinity",
            "NotBestEffort",
            "NotTerminating",
            "PriorityClass",
            "Terminating",
            "VolumeAttributesClass",
        ];
        for scope in list(object, "/spec/scopes").filter_map(Value::as_str) {
            if !SCOPES.contains(&scope) {
                errors.push(FieldError::invalid(
                    &spec.child("scopes"),
                    scope,
                    "unsupported scope",
                ));
            }
        }
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

#[async_trait]
impl Strategy for LimitRange {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let limits = FieldPath::new("spec").child("limits");
        let mut seen: Vec<&str> = Vec::new();
        for (index, item) in list(object, "/spec/limits").enumerate() {
            let at = limits.index(index);
            let ty = item["type"].as_str().unwrap_or_default();
            if seen.contains(&ty) {
                errors.push(FieldError::duplicate(&at.child("type"), ty));
            }
            seen.push(ty);
            for key in [
                "max",
                "min",
                "default",
                "defaultRequest",
                "maxLimitRequestRatio",
            ] {
                amounts(item.get(key), &at.child(key), false, &mut errors);
            }
            ordered(item, &at, &mut errors);
        }
        Ok(errors)
    }
}

/// `min <= defaultRequest <= default <= max`.
fn ordered(item: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    const PAIRS: [(&str, &str); 6] = [
        ("min", "max"),
        ("min", "defaultRequest"),
        ("min", "default"),
        ("defaultRequest", "max"),
        ("defaultRequest", "default"),
        ("default", "max"),
    ];
    for (low, high) in PAIRS {
        for (name, value) in item
            .get(low)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let other = item.get(high).and_then(|h| h.get(name));
            if let (Some(lower), Some(higher)) = (quantity(value), other.and_then(quantity))
                && lower > higher
            {
                // The field that is named is the one that the client can lower.
                let field = if low == "min" && high == "max" {
                    "min"
                } else {
                    low
                };
                errors.push(FieldError::invalid(
                    &at.child(field).key(name),
                    value.clone(),
                    format!("{low} value {lower} is greater than {high} value {higher}"),
                ));
            }
        }
    }
}
