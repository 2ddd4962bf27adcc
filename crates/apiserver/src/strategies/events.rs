//! Events, in core's form and in that of `events.k8s.io`, which asks for more.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::Value;

use super::fields::text;
use crate::strategy::{Context, Strategy};

/// Longest reason, action and reporting instance; longest message.
const SHORT: usize = 128;
const LONG: usize = 1024;

pub(super) struct Event;

#[async_trait]
impl Strategy for Event {
    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        if cx.kind.group().is_empty() {
            common(
                object,
                "involvedObject",
                "message",
                cx.namespace,
                &mut errors,
            );
            return Ok(errors);
        }
        common(object, "regarding", "note", cx.namespace, &mut errors);
        match old {
            None => complete(object, &mut errors),
            Some(old) => unchanged(object, old, &mut errors),
        }
        Ok(errors)
    }
}

/// Fields of an event of `events.k8s.io`, and what they are called where a fault is told.
const FIXED: [(&str, &str); 13] = [
    ("regarding", "involvedObject"),
    ("reason", "reason"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

/// Of an event of `events.k8s.io` only the series goes on.
fn unchanged(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for (field, told) in FIXED {
        if object.get(field) != old.get(field) {
            let given = object.get(field).cloned().unwrap_or_default();
            let at = FieldPath::new(told);
            errors.push(FieldError::invalid(&at, given, "field is immutable"));
        }
    }
    if object.get("series") != old.get("series") {
        series(object, errors);
    }
}

fn series(object: &Value, errors: &mut Vec<FieldError>) {
    let Some(series) = object.get("series").filter(|s| s.is_object()) else {
        return;
    };
    let count = series.get("count").and_then(Value::as_i64).unwrap_or(0);
    if count < 2 {
        let at = FieldPath::new("series.count");
        errors.push(FieldError::invalid(&at, "", "should be at least 2"));
    }
    if text(series, "/lastObservedTime").is_empty() {
        let at = FieldPath::new("series.lastObservedTime");
        errors.push(FieldError::required(&at, ""));
    }
}

/// What holds in both forms. Paths are those of the internal type, whichever form was sent.
fn common(object: &Value, about: &str, note: &str, namespace: &str, errors: &mut Vec<FieldError>) {
    let path = FieldPath::new("involvedObject").child("namespace");
    let about = text(object, &format!("/{about}/namespace"));
    let foreign = FieldError::invalid(&path, about, "does not match event.namespace");
    if text(object, "/eventTime").is_empty() {
        // Events about cluster-wide objects lie in "default".
        if (about.is_empty() && namespace != "default") || (!about.is_empty() && about != namespace)
        {
            errors.push(foreign);
        }
        return;
    }
    if about.is_empty() && !matches!(namespace, "default" | "kube-system") {
        errors.push(foreign);
    }
    let core = note == "message";
    let controller = if core {
        "reportingComponent"
    } else {
        "reportingController"
    };
    let given = text(object, &format!("/{controller}"));
    let at = FieldPath::new("reportingController");
    if given.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    for detail in name::qualified_name(given) {
        errors.push(FieldError::invalid(&at, given, detail));
    }
    for field in ["reportingInstance", "action", "reason"] {
        let given = text(object, &format!("/{field}"));
        let at = FieldPath::new(field);
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        if given.len() > SHORT {
            let detail = format!("can have at most {SHORT} characters");
            errors.push(FieldError::invalid(&at, "", detail));
        }
    }
    if text(object, &format!("/{note}")).len() > LONG {
        let detail = format!("can have at most {LONG} characters");
        errors.push(FieldError::invalid(&FieldPath::new("message"), "", detail));
    }
}

/// What a new event of `events.k8s.io` must say, and what it must leave to the old form.
fn complete(object: &Value, errors: &mut Vec<FieldError>) {
    series(object, errors);
    if text(object, "/eventTime").is_empty() {
        errors.push(FieldError::required(&FieldPath::new("eventTime"), ""));
    }
    let ty = text(object, "/type");
    if !matches!(ty, "Normal" | "Warning") {
        let detail = format!("has invalid value: {ty}");
        errors.push(FieldError::invalid(&FieldPath::new("type"), "", detail));
    }
    for (field, internal) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        let set = match object.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Number(n)) => n.as_i64() != Some(0),
            Some(_) => true,
        };
        if set {
            let at = FieldPath::new(internal);
            errors.push(FieldError::invalid(&at, "", "needs to be unset"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_event_says_who_did_what_when() {
        let mut errors = Vec::new();
        let object = json!({
            "regarding": {"namespace": "n"}, "deprecatedCount": 1, "type": "Odd", "series": {"count": 1},
        });
        common(&object, "regarding", "note", "n", &mut errors);
        complete(&object, &mut errors);
        let found: Vec<&str> = errors.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(
            found,
            [
                "series.count",
                "series.lastObservedTime",
                "eventTime",
                "type",
                "count"
            ]
        );

        let old = json!({"note": "a", "series": {"count": 2, "lastObservedTime": "x"}});
        let mut errors = Vec::new();
        let new = json!({"note": "b", "series": {"count": 3, "lastObservedTime": "y"}});
        unchanged(&new, &old, &mut errors);
        let found: Vec<&str> = errors.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(found, ["message"]);

        let mut errors = Vec::new();
        let object = json!({"eventTime": "2024-01-01T00:00:00.000000Z", "involvedObject": {}});
        common(&object, "involvedObject", "message", "n", &mut errors);
        let mut found: Vec<&str> = errors.iter().map(|e| e.path.as_str()).collect();
        found.dedup();
        assert_eq!(
            found,
            [
                "involvedObject.namespace",
                "reportingController",
                "reportingInstance",
                "action",
                "reason"
            ]
        );
    }
}
