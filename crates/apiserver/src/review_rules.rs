//! What a review of somebody's access must be like.

use apimachinery::field::{FieldError, FieldPath};
use serde_json::Value;

/// Whose access is reviewed, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// The caller's own.
    Own,
    /// Anybody's, anywhere.
    Anybody,
    /// Anybody's in this namespace.
    Local(&'a str),
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A member that says something.
fn part<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|part| part.is_object())
}

/// Everything wrong with a review.
pub(crate) fn check(review: &Value, scope: Scope<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let none = Value::Null;
    let spec = review.get("spec").unwrap_or(&none);
    let path = FieldPath::new("spec");
    attributes(spec, &path, &mut errors);
    if scope != Scope::Own {
        let groups = spec.get("groups").and_then(Value::as_array);
        if text(spec, "user").is_empty() && groups.is_none_or(Vec::is_empty) {
            let detail = "at least one of user or group must be specified";
            errors.push(FieldError::invalid(&path.child("user"), "", detail));
        }
    }
    metadata(review, scope, &mut errors);
    if let Scope::Local(namespace) = scope {
        let given = part(spec, "resourceAttributes").map(|given| text(given, "namespace"));
        if let Some(given) = given.filter(|given| *given != namespace) {
            let at = path.child("resourceAttributes").child("namespace");
            let detail = "must match metadata.namespace";
            errors.push(FieldError::invalid(&at, given, detail));
        }
        if let Some(given) = part(spec, "nonResourceAttributes") {
            let at = path.child("nonResourceAttributes");
            let detail = "disallowed on this kind of request";
            errors.push(FieldError::invalid(&at, given.clone(), detail));
        }
    }
    errors
}

fn attributes(spec: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let resource = part(spec, "resourceAttributes");
    match (resource, part(spec, "nonResourceAttributes")) {
        (Some(_), Some(other)) => {
            let at = path.child("nonResourceAttributes");
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid(&at, other.clone(), detail));
        }
        (None, None) => {
            let at = path.child("resourceAttributes");
            let detail =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid(&at, Value::Null, detail));
        }
        _ => {}
    }
    let Some(resource) = resource else { return };
    let path = path.child("resourceAttributes");
    for key in ["fieldSelector", "labelSelector"] {
        if let Some(selector) = part(resource, key) {
            self::selector(selector, key, &path.child(key), errors);
        }
    }
}

fn selector(selector: &Value, name: &str, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let raw = text(selector, "rawSelector");
    let requirements = selector.get("requirements").and_then(Value::as_array);
    let requirements = requirements.map(Vec::as_slice).unwrap_or_default();
    if !raw.is_empty() && !requirements.is_empty() {
        let detail = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid(&path.child("rawSelector"), raw, detail));
    }
    if raw.is_empty() && requirements.is_empty() {
        let detail = format!("when {name} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(&path.child("requirements"), detail));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = path.child("requirements").index(index);
        if text(requirement, "key").is_empty() {
            errors.push(FieldError::required(&at.child("key"), "must be specified"));
        }
        let values = requirement.get("values").and_then(Value::as_array);
        let has_values = values.is_some_and(|values| !values.is_empty());
        match text(requirement, "operator") {
            "In" | "NotIn" if !has_values => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&at.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if has_values => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&at.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(&at.child("operator"), other, detail));
            }
        }
    }
}

/// A review is no object: it has no name, no labels, nothing but the namespace that it is posted to.
fn metadata(review: &Value, scope: Scope<'_>, errors: &mut Vec<FieldError>) {
    let metadata = review.get("metadata").and_then(Value::as_object);
    let says = |key: &str, value: &Value| match (key, scope) {
        ("managedFields", _) => false,
        ("namespace", Scope::Local(namespace)) => value != namespace,
        _ => match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        },
    };
    let mut members = metadata.into_iter().flatten();
    if members.any(|(key, value)| says(key, value)) {
        let detail = match scope {
            Scope::Local(_) => "must be empty except for namespace",
            _ => "must be empty",
        };
        let given = review.get("metadata").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(
            &FieldPath::new("metadata"),
            given,
            detail,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Field and reason of each fault.
    fn faults(review: &Value, scope: Scope<'_>) -> Vec<String> {
        let text = |error: &FieldError| {
            let reason = error.reason().trim_start_matches("FieldValue").to_owned();
            format!("{} {reason}", error.path.as_str())
        };
        check(review, scope).iter().map(text).collect()
    }

    fn of(spec: &Value, scope: Scope<'_>) -> Vec<String> {
        faults(&json!({"spec": spec}), scope)
    }

    #[test]
    fn one_thing_is_asked_about_one_subject() {
        let pods = json!({"verb": "get", "resource": "pods"});
        let root = json!({"verb": "get", "path": "/"});
        let none: [&str; 0] = [];
        assert_eq!(of(&json!({"resourceAttributes": pods}), Scope::Own), none);
        assert_eq!(
            of(&json!({"nonResourceAttributes": root}), Scope::Own),
            none
        );
        assert_eq!(
            of(
                &json!({"user": "u", "resourceAttributes": pods}),
                Scope::Anybody
            ),
            none
        );
        assert_eq!(
            of(&json!({}), Scope::Anybody),
            ["spec.resourceAttributes Invalid", "spec.user Invalid"]
        );
        assert_eq!(
            of(
                &json!({"resourceAttributes": pods, "nonResourceAttributes": root}),
                Scope::Own
            ),
            ["spec.nonResourceAttributes Invalid"]
        );
    }

    #[test]
    fn a_local_one_stays_in_its_namespace() {
        let here = Scope::Local("ns");
        let there = json!({"verb": "get", "resource": "pods", "namespace": "other"});
        assert_eq!(
            of(&json!({"user": "u", "resourceAttributes": there}), here),
            ["spec.resourceAttributes.namespace Invalid"]
        );
        let root = json!({"verb": "get", "path": "/"});
        assert_eq!(
            of(&json!({"user": "u", "nonResourceAttributes": root}), here),
            ["spec.nonResourceAttributes Invalid"]
        );
    }

    #[test]
    fn selectors_have_requirements_of_their_form() {
        let with = |selector: &Value| {
            let pods = json!({"verb": "list", "resource": "pods", "labelSelector": selector});
            let faults = of(&json!({"resourceAttributes": pods}), Scope::Own);
            let at = "spec.resourceAttributes.labelSelector.";
            let short = faults.iter().map(|fault| fault.replace(at, ""));
            short.collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(with(&json!({"rawSelector": "a=b"})), none);
        assert_eq!(with(&json!({})), ["requirements Required"]);
        let one = json!([{"key": "a", "operator": "In", "values": ["b"]}]);
        assert_eq!(with(&json!({"requirements": one})), none);
        assert_eq!(
            with(&json!({"requirements": one, "rawSelector": "a=b"})),
            ["rawSelector Invalid"]
        );
        let wrong = json!([
            {"operator": "In"}, {"key": "a", "operator": "Exists", "values": ["b"]}, {"key": "a", "operator": "Is"},
        ]);
        assert_eq!(
            with(&json!({"requirements": wrong})),
            [
                "requirements[0].key Required",
                "requirements[0].values Required",
                "requirements[1].values Forbidden",
                "requirements[2].operator Invalid",
            ]
        );
    }

    #[test]
    fn a_review_has_no_metadata() {
        let spec = json!({"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}});
        let with = |metadata: &Value| json!({"metadata": metadata, "spec": spec});
        let none: [&str; 0] = [];
        let empty = with(&json!({"creationTimestamp": null, "labels": {}}));
        assert_eq!(faults(&empty, Scope::Anybody), none);
        let named = with(&json!({"name": "x"}));
        assert_eq!(faults(&named, Scope::Anybody), ["metadata Invalid"]);
    }
}
