//! The status of a CRD: what the server makes of it.

use apimachinery::meta;
use apimachinery::time::format_time;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::names::Judgement;
use super::validate;

/// The status a CRD should have; `None` when it has it.
pub(super) fn wanted(crd: &Value, names: &Judgement, now: Timestamp) -> Option<Value> {
    let mut status = crd
        .get("status")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let before = status.clone();
    let (accepted, reason, message) = match &names.conflict {
        None => ("True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => ("False", *reason, message.as_str()),
    };
    status.insert("acceptedNames".to_owned(), names.accepted.clone());
    condition(&mut status, "NamesAccepted", accepted, reason, message, now);
    if names.conflict.is_none() {
        condition(
            &mut status,
            "Established",
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
            now,
        );
    } else if !was_established(&status) {
        condition(
            &mut status,
            "Established",
            "False",
            "NotAccepted",
            "not all names are accepted",
            now,
        );
    }
    if let Some((state, reason, message)) = approval(crd) {
        condition(
            &mut status,
            "KubernetesAPIApprovalPolicyConformant",
            state,
            reason,
            &message,
            now,
        );
    }
    (status != before).then_some(Value::Object(status))
}

/// Whether a CRD in a group of the Kubernetes community was approved by it: state, reason, message.
fn approval(crd: &Value) -> Option<(&'static str, &'static str, String)> {
    let group = crd.pointer("/spec/group")?.as_str()?;
    if !validate::is_protected(group) {
        return None;
    }
    let given = meta::annotation(crd, validate::APPROVED).unwrap_or_default();
    Some(if given.starts_with("unapproved") {
        (
            "False",
            "UnapprovedAnnotation",
            format!("not approved: {given:?}"),
        )
    } else if given.is_empty() {
        let message = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
        ("False", "MissingAnnotation", message.to_owned())
    } else {
        ("True", "ApprovedAnnotation", format!("approved in {given}"))
    })
}

/// Whether its kinds have been served.
pub(super) fn is_established(crd: &Value) -> bool {
    crd.get("status")
        .and_then(Value::as_object)
        .is_some_and(was_established)
}

fn was_established(status: &Map<String, Value>) -> bool {
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
