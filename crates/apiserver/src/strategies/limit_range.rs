//! LimitRanges: defaults that follow from bounds, and bounds in order.

use std::collections::BTreeSet;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::fields::{list, text};
use super::pod_resources;
use super::spot::{Faults, Spot, quantity};
use crate::strategy::{Context, Strategy};

pub(super) struct LimitRange;

const PARTS: [&str; 5] = [
    "max",
    "min",
    "default",
    "defaultRequest",
    "maxLimitRequestRatio",
];

/// `default` follows `max`; `defaultRequest` follows `default`, then `min`.
fn complete(object: &mut Value) {
    for item in object
        .pointer_mut("/spec/limits")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
        .filter(|item| item.get("type").is_some_and(|t| t == "Container"))
    {
        for (to, from) in [
            ("default", "max"),
            ("defaultRequest", "default"),
            ("defaultRequest", "min"),
        ] {
            let Some(source) = item.get(from).and_then(Value::as_object).cloned() else {
                continue;
            };
            let target = item
                .entry(to)
                .or_insert_with(|| Value::Object(Map::new()))
                .as_object_mut();
            let Some(target) = target else {
                continue;
            };
            for (key, value) in source {
                target.entry(key).or_insert(value);
            }
        }
    }
}

#[async_trait]
impl Strategy for LimitRange {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(judge(object))
    }
}

fn judge(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let limits = FieldPath::new("spec").child("limits");
    let mut seen = BTreeSet::new();
    for (index, item) in list(object, "/spec/limits").enumerate() {
        let at = limits.index(index);
        let ty = text(item, "/type");
        kind(ty, &at.child("type"), &mut errors);
        if !seen.insert(ty) {
            errors.push(FieldError::duplicate(&at.child("type"), ty));
        }
        for part in PARTS {
            let pod_only = ty == "Pod" && matches!(part, "default" | "defaultRequest");
            if pod_only && item.get(part).is_some() {
                errors.push(FieldError::forbidden(
                    &at.child(part),
                    "may not be specified when `type` is 'Pod'",
                ));
            } else {
                let mut faults = Faults::default();
                for (resource, amount) in Spot::new(item, at.clone()).entries(part) {
                    if matches!(ty, "Pod" | "Container") {
                        pod_resources::container_name(&amount, resource, &mut faults);
                    } else {
                        pod_resources::any_name(&amount, resource, &mut faults);
                    }
                }
                errors.extend(faults.0);
            }
        }
        if ty == "PersistentVolumeClaim"
            && item.pointer("/min/storage").is_none()
            && item.pointer("/max/storage").is_none()
        {
            errors.push(FieldError::required(
                &at.child("limits"),
                "either minimum or maximum storage value is required, but neither was provided",
            ));
        }
        ordered(item, &at, &mut errors);
    }
    errors
}

fn kind(ty: &str, at: &FieldPath, errors: &mut Vec<FieldError>) {
    const STANDARD: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];
    let wrong = name::qualified_name(ty);
    if wrong.is_empty() && !ty.contains('/') && !STANDARD.contains(&ty) {
        errors.push(FieldError::invalid(
            at,
            ty,
            "must be a standard limit type or fully qualified",
        ));
    }
    errors.extend(wrong.into_iter().map(|w| FieldError::invalid(at, ty, w)));
}

/// `min <= defaultRequest <= default <= max`, and ratios that can be met.
fn ordered(item: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    // (lower, upper, where it is told)
    const PAIRS: [(&str, &str, &str); 6] = [
        ("min", "max", "min"),
        ("min", "defaultRequest", "defaultRequest"),
        ("defaultRequest", "max", "defaultRequest"),
        ("defaultRequest", "default", "defaultRequest"),
        ("min", "default", "default"),
        ("default", "max", "default"),
    ];
    let keys: BTreeSet<&String> = PARTS
        .iter()
        .filter_map(|part| item.get(*part)?.as_object())
        .flat_map(Map::keys)
        .collect();
    for key in keys {
        let value = |part: &str| item.get(part).and_then(|p| p.get(key)).and_then(quantity);
        for (low, high, field) in PAIRS {
            if let (Some(lower), Some(higher)) = (value(low), value(high))
                && lower > higher
            {
                errors.push(FieldError::invalid(
                    &at.child(field).key(key),
                    value(field).map(|v| v.to_string()).unwrap_or_default(),
                    format!("{low} value {lower} is greater than {high} value {higher}"),
                ));
            }
        }
        if let (Some(limit), Some(request)) = (value("default"), value("defaultRequest"))
            && !pod_resources::may_overcommit(key)
            && limit != request
        {
            errors.push(FieldError::invalid(
                &at.child("defaultRequest").key(key),
                request.to_string(),
                format!(
                    "default value {limit} must equal to defaultRequest value {request} in {key}"
                ),
            ));
        }
        ratio(
            value("maxLimitRequestRatio"),
            (value("min"), value("max")),
            &at.child("maxLimitRequestRatio").key(key),
            errors,
        );
    }
}

fn ratio(
    ratio: Option<Quantity>,
    bounds: (Option<Quantity>, Option<Quantity>),
    at: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    let Some(ratio) = ratio else {
        return;
    };
    if ratio.as_f64() < 1.0 {
        let detail = format!("ratio {ratio} is less than 1");
        errors.push(FieldError::invalid(at, ratio.to_string(), detail));
    }
    if let (Some(min), Some(max)) = bounds
        && min.as_f64() > 0.0
        && ratio.as_f64() > max.as_f64() / min.as_f64()
    {
        let most = max.as_f64() / min.as_f64();
        let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
        errors.push(FieldError::invalid(at, ratio.to_string(), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_follow_from_bounds() {
        let mut object = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}},
            {"type": "Pod", "max": {"cpu": "2"}},
        ]}});
        complete(&mut object);
        assert_eq!(
            object["spec"]["limits"],
            json!([
                {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"},
                 "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2", "memory": "1Mi"}},
                {"type": "Pod", "max": {"cpu": "2"}},
            ])
        );
    }

    #[test]
    fn bounds_are_judged_by_field() {
        let object = json!({"spec": {"limits": [
            {"type": "Odd"},
            {"type": "Pod", "default": {"cpu": "1"}},
            {"type": "PersistentVolumeClaim", "max": {"cpu": "1"}},
            {"type": "Container", "min": {"cpu": "3"}, "max": {"cpu": "2"}, "default": {"cpu": "1"},
             "maxLimitRequestRatio": {"cpu": "500m"}},
            {"type": "example.com/thing", "max": {"pods": "1"}, "default": {"example.com/gpu": "2"},
             "defaultRequest": {"example.com/gpu": "1", "wonders": "1"}},
        ]}});
        let found: Vec<String> = judge(&object).iter().map(|e| e.path.to_string()).collect();
        assert_eq!(
            found,
            [
                "spec.limits[0].type",
                "spec.limits[1].default",
                "spec.limits[2].limits",
                "spec.limits[3].min[cpu]",
                "spec.limits[3].default[cpu]",
                "spec.limits[3].maxLimitRequestRatio[cpu]",
                "spec.limits[4].defaultRequest[wonders]",
                "spec.limits[4].defaultRequest[example.com/gpu]",
            ]
        );
    }
}
