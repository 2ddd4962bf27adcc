//! JSON merge patch, RFC 7386.

use serde_json::{Map, Value};

use super::PatchError;

/// Merges `patch` into `target`: maps merge, `null` removes, everything else replaces.
///
/// The patch must be a map: an object of the API cannot become something else.
pub fn merge_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed(
            "a JSON merge patch must be a JSON object".to_owned(),
        ));
    }
    merge(target, patch);
    Ok(())
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
