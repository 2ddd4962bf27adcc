//! Access to fields by JSON pointer, and defaults.

use apimachinery::field::{FieldError, FieldPath};
use serde_json::{Map, Value};

/// The text at `pointer`, or empty.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The elements of the list at `pointer`.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Sets a field that is absent.
pub(super) fn default(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a text that is absent or empty.
pub(super) fn default_text(map: &mut Map<String, Value>, key: &str, value: &str) {
    if map
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// The object at `key`, created when absent.
pub(super) fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value
        .as_object_mut()?
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
}

/// Fields that may not change.
pub(super) fn immutable(
    object: &Value,
    old: &Value,
    pointers: &[&str],
    errors: &mut Vec<FieldError>,
) {
    for pointer in pointers {
        if object.pointer(pointer) != old.pointer(pointer) {
            let path = pointer
                .trim_start_matches('/')
                .split('/')
                .fold(FieldPath::root(), |path, step| path.child(step));
            let value = object.pointer(pointer).cloned().unwrap_or(Value::Null);
            errors.push(FieldError::invalid(&path, value, "field is immutable"));
        }
    }
}
