//! The status of a CRD: what the server makes of it.

use apimachinery::time::format_time;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The status a CRD should have; `None` when it has it.
pub(super) fn wanted(crd: &Value, conflict: Option<&str>, now: Timestamp) -> Option<Value> {
    let mut status = crd
        .get("status")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let before = status.clone();
    let (accepted, reason, message) = match conflict {
        None => ("True", "NoConflicts", "no conflicts found"),
        Some(why) => ("False", "NameConflict", why),
    };
    condition(&mut status, "NamesAccepted", accepted, reason, message, now);
    if conflict.is_none() {
        if let Some(names) = crd.pointer("/spec/names") {
            status.insert("acceptedNames".to_owned(), names.clone());
        }
        condition(
            &mut status,
            "Established",
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
            now,
        );
    } else if !is_established(&status) {
        condition(
            &mut status,
            "Established",
            "False",
            "NotAccepted",
            "not all names are accepted",
            now,
        );
        status
            .entry("acceptedNames")
            .or_insert_with(|| json!({"kind": "", "plural": ""}));
    }
    (status != before).then_some(Value::Object(status))
}

fn is_established(status: &Map<String, Value>) -> bool {
    status
        .get("conditions")
        .and_then(Value::as_array)
        .is_some_and(|list| {
            list.iter().any(|c| {
                c.get("type").is_some_and(|t| t == "Established")
                    && c.get("status").is_some_and(|s| s == "True")
            })
        })
}

/// Sets a condition; the transition time moves only with the status.
pub(super) fn condition(
    status: &mut Map<String, Value>,
    ty: &str,
    state: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else {
        return;
    };
    let fresh = |since: Value| json!({"type": ty, "status": state, "lastTransitionTime": since, "reason": reason, "message": message});
    match list
        .iter_mut()
        .find(|c| c.get("type").is_some_and(|t| t == ty))
    {
        Some(old) => {
            let same = old.get("status").is_some_and(|s| s == state);
            let since = old
                .get("lastTransitionTime")
                .filter(|_| same)
                .cloned()
                .unwrap_or_else(|| format_time(now).into());
            // An established CRD keeps the reason it was established for.
            if !(same && ty == "Established") {
                *old = fresh(since);
            }
        }
        None => list.push(fresh(format_time(now).into())),
    }
}
