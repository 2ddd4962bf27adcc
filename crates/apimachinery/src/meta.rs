//! Access to the metadata of an object that is a `serde_json::Value`.
//!
//! Readers return what is there and never fail: a field of the wrong type reads as absent (schema
//! validation has refused it long before). Writers create `metadata` where it is missing; on a value
//! that is no object they do nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::time::{format_time, parse_time};

/// `metadata` of lists, tables and statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// The revision that the list shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Where the next page begins.
    #[serde(default, rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_: String,
    /// How many objects follow this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<i64>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's `apiVersion`.
    #[serde(default)]
    pub api_version: String,
    /// The owner's kind.
    #[serde(default)]
    pub kind: String,
    /// The owner's name.
    #[serde(default)]
    pub name: String,
    /// The owner's uid.
    #[serde(default)]
    pub uid: String,
    /// True for the one owner that controls this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// True when foreground deletion of the owner waits for this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    metadata(object)?
        .get(field)?
        .as_str()
        .filter(|s| !s.is_empty())
}

/// `metadata`, when it is a map.
pub fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

/// `metadata` for writing, created where missing; none when `object` is no map.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object
        .as_object_mut()?
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut()
}

/// `apiVersion`.
pub fn api_version(object: &Value) -> Option<&str> {
    object.get("apiVersion")?.as_str()
}

/// `kind`.
pub fn kind(object: &Value) -> Option<&str> {
    object.get("kind")?.as_str()
}

/// `apiVersion` and `kind` together.
pub fn gvk(object: &Value) -> Option<GroupVersionKind> {
    Some(
        GroupVersion::parse(api_version(object)?)
            .ok()?
            .with_kind(kind(object)?),
    )
}

/// `metadata.name`.
pub fn name(object: &Value) -> Option<&str> {
    text(object, "name")
}

/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> Option<&str> {
    text(object, "generateName")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> Option<&str> {
    text(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> Option<&str> {
    text(object, "uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> Option<&str> {
    text(object, "resourceVersion")
}

/// `metadata.generation`.
pub fn generation(object: &Value) -> Option<i64> {
    metadata(object)?.get("generation")?.as_i64()
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> Option<Timestamp> {
    parse_time(text(object, "creationTimestamp")?).ok()
}

/// `metadata.deletionTimestamp`.
pub fn deletion_timestamp(object: &Value) -> Option<Timestamp> {
    parse_time(text(object, "deletionTimestamp")?).ok()
}

/// True once deletion has begun.
pub fn is_deleting(object: &Value) -> bool {
    text(object, "deletionTimestamp").is_some()
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period(object: &Value) -> Option<i64> {
    metadata(object)?
        .get("deletionGracePeriodSeconds")?
        .as_i64()
}

/// `metadata.labels` as the map in the object.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    metadata(object)?.get("labels")?.as_object()
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.annotations` as the map in the object.
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    metadata(object)?.get("annotations")?.as_object()
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// A map of strings, such as [`labels`], copied.
pub fn string_map(map: Option<&Map<String, Value>>) -> BTreeMap<String, String> {
    map.into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    metadata(object)
        .and_then(|m| m.get("finalizers")?.as_array())
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// `metadata.ownerReferences`; malformed entries are left out.
pub fn owner_references(object: &Value) -> Vec<OwnerReference> {
    metadata(object)
        .and_then(|m| m.get("ownerReferences")?.as_array())
        .map(|list| {
            list.iter()
                .filter_map(|v| OwnerReference::deserialize(v).ok())
                .collect()
        })
        .unwrap_or_default()
}

/// The one owner with `controller: true`.
pub fn controller(object: &Value) -> Option<OwnerReference> {
    owner_references(object)
        .into_iter()
        .find(|owner| owner.controller == Some(true))
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(metadata) = metadata_mut(object) {
        match value {
            Some(value) => metadata.insert(field.to_owned(), value),
            None => metadata.remove(field),
        };
    }
}

/// Sets `apiVersion` and `kind`.
pub fn set_gvk(object: &mut Value, gvk: &GroupVersionKind) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".to_owned(), gvk.api_version().into());
        map.insert("kind".to_owned(), gvk.kind.clone().into());
    }
}

/// Sets `metadata.name`.
pub fn set_name(object: &mut Value, name: impl Into<String>) {
    set(object, "name", Some(Value::String(name.into())));
}

/// Sets `metadata.namespace`, or removes it.
pub fn set_namespace(object: &mut Value, namespace: Option<&str>) {
    set(object, "namespace", namespace.map(Into::into));
}

/// Sets `metadata.uid`.
pub fn set_uid(object: &mut Value, uid: impl Into<String>) {
    set(object, "uid", Some(Value::String(uid.into())));
}

/// Sets `metadata.resourceVersion`, or removes it.
pub fn set_resource_version(object: &mut Value, version: Option<&str>) {
    set(object, "resourceVersion", version.map(Into::into));
}

/// Sets `metadata.generation`, or removes it.
pub fn set_generation(object: &mut Value, generation: Option<i64>) {
    set(object, "generation", generation.map(Into::into));
}

/// Sets `metadata.creationTimestamp`, or removes it.
pub fn set_creation_timestamp(object: &mut Value, time: Option<Timestamp>) {
    set(
        object,
        "creationTimestamp",
        time.map(|t| format_time(t).into()),
    );
}

/// Sets `metadata.deletionTimestamp`, or removes it.
pub fn set_deletion_timestamp(object: &mut Value, time: Option<Timestamp>) {
    set(
        object,
        "deletionTimestamp",
        time.map(|t| format_time(t).into()),
    );
}

/// Sets `metadata.deletionGracePeriodSeconds`, or removes it.
pub fn set_deletion_grace_period(object: &mut Value, seconds: Option<i64>) {
    set(
        object,
        "deletionGracePeriodSeconds",
        seconds.map(Into::into),
    );
}

/// Sets `metadata.finalizers`; an empty list removes the field.
pub fn set_finalizers<S: Into<String>>(
    object: &mut Value,
    finalizers: impl IntoIterator<Item = S>,
) {
    let list: Vec<Value> = finalizers
        .into_iter()
        .map(|f| Value::String(f.into()))
        .collect();
    set(
        object,
        "finalizers",
        (!list.is_empty()).then_some(Value::Array(list)),
    );
}

/// Sets `metadata.ownerReferences`; an empty list removes the field.
pub fn set_owner_references(object: &mut Value, owners: &[OwnerReference]) {
    let list = serde_json::to_value(owners)
        .ok()
        .filter(|_| !owners.is_empty());
    set(object, "ownerReferences", list);
}

/// Sets one label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    set_entry(object, "labels", key, value);
}

/// Sets one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    set_entry(object, "annotations", key, value);
}

fn set_entry(object: &mut Value, field: &str, key: &str, value: &str) {
    if let Some(metadata) = metadata_mut(object) {
        let map = metadata
            .entry(field)
            .or_insert_with(|| Value::Object(Map::new()));
        if !map.is_object() {
            *map = Value::Object(Map::new());
        }
        if let Some(map) = map.as_object_mut() {
            map.insert(key.to_owned(), value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_is_there() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
                "labels": {"l": "1"}, "annotations": {"a": "2"}, "finalizers": ["f"],
                "creationTimestamp": "2026-01-02T15:04:05Z", "deletionTimestamp": "2026-01-02T15:04:06Z",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "x", "controller": true}],
            },
        });
        assert_eq!(
            gvk(&object),
            Some(GroupVersionKind::new("apps", "v1", "Deployment"))
        );
        assert_eq!(
            (name(&object), namespace(&object), uid(&object)),
            (Some("a"), Some("n"), Some("u"))
        );
        assert_eq!(
            (resource_version(&object), generation(&object)),
            (Some("7"), Some(3))
        );
        assert_eq!(
            (label(&object, "l"), annotation(&object, "a")),
            (Some("1"), Some("2"))
        );
        assert_eq!(finalizers(&object), ["f"]);
        assert!(is_deleting(&object));
        assert_eq!(controller(&object).unwrap().uid, "x");
        assert!(deletion_timestamp(&object) > creation_timestamp(&object));
        assert_eq!(
            string_map(labels(&object)),
            BTreeMap::from([("l".to_owned(), "1".to_owned())])
        );
    }

    #[test]
    fn wrong_types_read_as_absent() {
        for object in [
            json!(null),
            json!({"metadata": 5}),
            json!({"metadata": {"name": 5, "labels": [], "finalizers": {}, "ownerReferences": [5]}}),
        ] {
            assert_eq!(name(&object), None);
            assert!(
                labels(&object).is_none()
                    && finalizers(&object).is_empty()
                    && owner_references(&object).is_empty()
            );
        }
    }

    #[test]
    fn writers_create_metadata_and_remove_empty_fields() {
        let mut object = json!({"metadata": null});
        set_name(&mut object, "a");
        set_label(&mut object, "k", "v");
        set_finalizers(&mut object, ["x"]);
        assert_eq!(
            object,
            json!({"metadata": {"name": "a", "labels": {"k": "v"}, "finalizers": ["x"]}})
        );
        set_finalizers(&mut object, Vec::<String>::new());
        set_namespace(&mut object, None);
        assert_eq!(
            object,
            json!({"metadata": {"name": "a", "labels": {"k": "v"}}})
        );
        let mut scalar = json!(5);
        set_name(&mut scalar, "a");
        assert_eq!(scalar, json!(5));
    }
}
