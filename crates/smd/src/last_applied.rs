//! The way from client-side to server-side apply.
//!
//! `kubectl apply` without `--server-side` keeps what it applied in an annotation. The same user's first server-side
//! apply (manager `kubectl`) may take over the fields that this annotation shows to be his, and keeps the annotation
//! up to date, so that client-side apply still works.

use serde_json::Value;

use crate::collect::fields_of;
use crate::compare::compare;
use crate::set::FieldSet;
use crate::types::{Type, too_deep};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Manager names other than this one opt out.
pub(crate) const MANAGER: &str = "kubectl";
/// All annotations of an object together.
const ANNOTATIONS_BYTES: usize = 256 << 10;

/// The fields that client-side apply set and that still have the value it set.
pub(crate) fn applied_before(ty: Type<'_>, live: &Value, api_version: &str) -> FieldSet {
    let last: Option<Value> = annotation(live).and_then(|text| serde_json::from_str(text).ok());
    let Some(last) = last.filter(|last| !too_deep(last)) else {
        return FieldSet::new();
    };
    if last.get("apiVersion").and_then(Value::as_str) != Some(api_version) {
        return FieldSet::new();
    }
    let changes = compare(ty, &last, live);
    fields_of(ty, &last)
        .difference(&changes.modified)
        .difference(&changes.added)
        .difference(&changes.removed)
}

/// Writes what was applied into the annotation, if the object has one.
pub(crate) fn refresh(object: &mut Value, applied: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = annotations_mut(&mut applied) {
        annotations.remove(ANNOTATION);
    }
    let mut text = applied.to_string();
    text.push('\n');
    if let Some(annotations) = annotations_mut(object) {
        let others: usize = annotations
            .iter()
            .filter(|(name, _)| *name != ANNOTATION)
            .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
            .sum();
        if others + ANNOTATION.len() + text.len() > ANNOTATIONS_BYTES {
            text.clear();
        }
        annotations.insert(ANNOTATION.to_owned(), text.into());
    }
}

fn annotation(object: &Value) -> Option<&str> {
    object
        .get("metadata")?
        .get("annotations")?
        .get(ANNOTATION)?
        .as_str()
}

fn annotations_mut(object: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    object
        .get_mut("metadata")?
        .get_mut("annotations")?
        .as_object_mut()
}
