//! Targets that are functions of bytes.

use apimachinery::field::FieldPath;
use apimachinery::jsonpath::JsonPath;
use apimachinery::patch::{json_patch, merge_patch};
use apimachinery::quantity::Quantity;
use apimachinery::selector::{FieldSelector, LabelSelector};
use schema::Schema;
use serde_json::{Map, Value, json};

fn utf8(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Two JSON values with a line feed between them.
fn pair(data: &[u8]) -> Option<(Value, Value)> {
    let (first, second) = utf8(data)?.split_once('\n')?;
    Some((
        serde_json::from_str(first).ok()?,
        serde_json::from_str(second).ok()?,
    ))
}

/// What is printed of a selector selects the same.
pub(crate) fn selector(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let again = LabelSelector::parse(&selector.to_string());
        let again = again.expect("a selector can be read as it is printed");
        for labels in [
            json!({}),
            json!({"a": "1"}),
            json!({"app": "web", "tier": ""}),
        ] {
            let labels = labels.as_object().cloned().unwrap_or_default();
            assert_eq!(
                selector.matches(&labels),
                again.matches(&labels),
                "{text:?}"
            );
        }
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let _ = selector.matches(|path| Some(path.to_owned()));
    }
}

/// What is printed of a quantity is the same amount.
pub(crate) fn text(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Ok(quantity) = Quantity::parse(text) {
        let again = Quantity::parse(&quantity.to_string());
        let again = again.expect("a quantity can be read as it is printed");
        assert_eq!(quantity, again, "{text:?}");
    }
    if let Ok(path) = JsonPath::parse(text) {
        let value = json!({"spec": {"a": [1, {"b": null}], "c.d": "e"}, "status": {"conditions": [{"type": "Ready"}]}});
        let _ = path.find(&value);
    }
    let _ = apimachinery::name::dns1123_subdomain(text);
}

/// A schema is parsed; an object is pruned, defaulted and validated by it. Defaults are stable.
pub(crate) fn schema(data: &[u8]) {
    let Some((document, mut object)) = pair(data) else {
        return;
    };
    let Ok(schema) = Schema::parse(&document) else {
        return;
    };
    let _ = schema.to_value();
    schema::prune(&schema, &mut object);
    if schema::default(&schema, &mut object).is_ok() {
        let once = object.clone();
        assert!(schema::default(&schema, &mut object).is_ok());
        assert_eq!(once, object, "defaults change what has them");
    }
    let _ = schema::validate(&schema, &object, None, &FieldPath::root());
}

/// Patches end, and change nothing when they fail.
pub(crate) fn patch(data: &[u8]) {
    let Some((target, patch)) = pair(data) else {
        return;
    };
    let mut patched = target.clone();
    if json_patch(&mut patched, &patch).is_err() {
        assert_eq!(patched, target, "a patch that failed has changed something");
    }
    let mut merged = target;
    if merge_patch(&mut merged, &patch).is_ok() {
        let once = merged.clone();
        assert!(merge_patch(&mut merged, &patch).is_ok());
        assert_eq!(once, merged, "a merge patch is not idempotent");
    }
}

/// Field sets are read as they are printed; sets are sets.
pub(crate) fn fields(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Ok(set) = smd::decode_fields(&value) {
        let again = smd::decode_fields(&smd::encode_fields(&set));
        assert_eq!(again.as_ref().ok(), Some(&set), "{value}");
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.union(&set), set);
        assert_eq!(set.intersection(&set), set);
    }
    let object = Map::from_iter([("metadata".to_owned(), json!({"managedFields": value}))]);
    let _ = smd::validate_managed_fields(&Value::Object(object));
}
