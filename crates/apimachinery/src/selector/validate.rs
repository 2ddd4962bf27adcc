//! What is wrong with a `metav1.LabelSelector`, field by field, as kube-apiserver reports it.

use serde_json::{Map, Value};

use crate::field::{FieldError, FieldPath};
use crate::name;

/// Complaints about a selector in JSON; none for `null`. Keys and values of `matchLabels` are reported at the map,
/// requirements at their own fields.
#[must_use]
pub fn label_selector_errors(selector: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        errors.extend(label_errors(labels, &path.child("matchLabels")));
    }
    let requirements = selector.get("matchExpressions").and_then(Value::as_array);
    for (index, one) in requirements.into_iter().flatten().enumerate() {
        requirement(
            one,
            &path.child("matchExpressions").index(index),
            &mut errors,
        );
    }
    errors
}

/// Complaints about a map of labels.
#[must_use]
pub fn label_errors(labels: &Map<String, Value>, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels {
        for detail in name::label_key(key) {
            errors.push(FieldError::invalid(path, key.as_str(), detail));
        }
        let value = value.as_str().unwrap_or_default();
        for detail in name::label_value(value) {
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
    errors
}

fn requirement(one: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
    let values: Vec<&str> = one
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match text("operator") {
        "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(
            &path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    for detail in name::label_key(text("key")) {
        errors.push(FieldError::invalid(&path.child("key"), text("key"), detail));
    }
    for (index, value) in values.iter().enumerate() {
        for detail in name::label_value(value) {
            errors.push(FieldError::invalid(
                &path.child("values").index(index),
                *value,
                detail,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_is_named_by_its_field() {
        let selector = json!({
            "matchLabels": {"a b": "c", "d": "e f"},
            "matchExpressions": [
                {"key": "k", "operator": "In"},
                {"key": "k", "operator": "Exists", "values": ["x"]},
                {"key": "", "operator": "Near"},
                {"key": "k", "operator": "In", "values": ["ok", "not ok"]},
            ],
        });
        let found: Vec<(String, &str)> =
            label_selector_errors(&selector, &FieldPath::new("spec").child("selector"))
                .iter()
                .map(|e| (e.path.to_string(), e.reason()))
                .collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(p, r)| (p.as_str(), *r)).collect();
        let at = |rest: &str| format!("spec.selector.{rest}");
        let expected = [
            (at("matchLabels"), "FieldValueInvalid"),
            (at("matchLabels"), "FieldValueInvalid"),
            (at("matchExpressions[0].values"), "FieldValueRequired"),
            (at("matchExpressions[1].values"), "FieldValueForbidden"),
            (at("matchExpressions[2].operator"), "FieldValueInvalid"),
        ];
        let expected: Vec<(&str, &str)> = expected.iter().map(|(p, r)| (p.as_str(), *r)).collect();
        assert_eq!(found.get(..5), Some(&expected[..]));
        let last = at("matchExpressions[3].values[1]");
        assert_eq!(found.last(), Some(&(last.as_str(), "FieldValueInvalid")));
        assert!(label_selector_errors(&Value::Null, &FieldPath::root()).is_empty());
    }
}
