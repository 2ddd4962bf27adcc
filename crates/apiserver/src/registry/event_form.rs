//! Events are stored in core's form and also served in that of `events.k8s.io`.

use serde_json::{Map, Value};

/// (core, events.k8s.io); dots go into a map.
const FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), value);
    }
}

/// Core form to `events.k8s.io/v1`.
pub(super) fn to_new(object: &mut Value) {
    if let Some(map) = object.as_object_mut() {
        for (core, new) in FIELDS {
            rename(map, core, new);
        }
        // Core writes these even when they are empty.
        for key in ["reportingController", "reportingInstance"] {
            if map.get(key).is_some_and(|v| v == "") {
                map.remove(key);
            }
        }
        map.insert(
            "apiVersion".to_owned(),
            Value::String("events.k8s.io/v1".to_owned()),
        );
    }
}

/// `events.k8s.io/v1` to core form.
pub(super) fn to_core(object: &mut Value) {
    if let Some(map) = object.as_object_mut() {
        for (core, new) in FIELDS {
            rename(map, new, core);
        }
        map.insert("apiVersion".to_owned(), Value::String("v1".to_owned()));
    }
}
