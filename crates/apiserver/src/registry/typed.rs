//! Built-in kinds as a server of typed structs writes them.
//!
//! ```text
//! body ─► normalize: canonical quantities, times and bytes; what is empty is left out ─► schema, strategies
//!      ─► complete: fields that are written even when they are empty ─► webhooks, managed fields, store
//! ```
//! kube-apiserver decodes into Go structs and encodes those: texts come back in one spelling, fields marked
//! `omitempty` vanish when they are empty, others appear as `null`, `{}` or zero. Clients compare what they sent with
//! what they get, so the same forms are used here. Which fields are which is a fact of the types
//! (`k8s.io/api/*/types.go`), not of their schemas; hence the facts in [`super::typed_fields`].

use apimachinery::quantity::Quantity;
use apimachinery::time::{format_micro_time, format_time, parse_time};
use schema::{AdditionalProperties, SchemaRef, SchemaType};
use serde_json::{Map, Value};

use super::typed_fields::{self, Zero};

/// Brings an object into canonical form.
///
/// # Errors
/// Says what cannot be read as what its field is: upstream's decoder fails there, before any validation.
pub(super) fn normalize(root: &SchemaRef, object: &mut Value) -> Result<(), String> {
    visit(root, object)
}

fn visit(schema: &SchemaRef, value: &mut Value) -> Result<(), String> {
    match value {
        Value::Object(map) => members(schema, map),
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for item in list {
                    visit(items, item)?;
                }
            }
            Ok(())
        }
        Value::String(_) | Value::Number(_) => scalar(schema, value),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

fn members(schema: &SchemaRef, map: &mut Map<String, Value>) -> Result<(), String> {
    let facts = schema.definition_name().and_then(typed_fields::of);
    let droppable = facts.map_or(&[][..], |facts| &facts.omitted);
    let mut wrong = Ok(());
    map.retain(|key, value| {
        let Some(child) = schema.properties.get(key) else {
            return match &schema.additional_properties {
                AdditionalProperties::Schema(child) => {
                    entry(child, value, &mut wrong);
                    !value.is_null()
                }
                // Unknown fields are reported by pruning, free ones are kept as they are.
                AdditionalProperties::None | AdditionalProperties::Any => true,
            };
        };
        if value.is_null() {
            return false;
        }
        if wrong.is_ok() {
            wrong = visit(child, value);
        }
        if is_zero(value) && droppable.contains(&key.as_str()) {
            return false;
        }
        let empty = match value {
            Value::Object(map) => {
                map.is_empty() && !matches!(child.additional_properties, AdditionalProperties::None)
            }
            Value::Array(list) => list.is_empty() && child.items.is_some(),
            _ => false,
        };
        // What has no `omitempty` is written as `null` later: nothing tells an empty list from none in the store.
        let known = facts.is_some() || !schema.required.iter().any(|r| r == key);
        !(empty && known)
    });
    wrong
}

/// An entry of a map; a text that is `null` is the empty text.
fn entry(schema: &SchemaRef, value: &mut Value, wrong: &mut Result<(), String>) {
    if value.is_null() && schema.ty == Some(SchemaType::String) {
        *value = Value::String(String::new());
    } else if wrong.is_ok() {
        *wrong = visit(schema, value);
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(given) => !given,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

fn scalar(schema: &SchemaRef, value: &mut Value) -> Result<(), String> {
    let Some(format) = schema.format.as_deref() else {
        return Ok(());
    };
    match (format, &*value) {
        ("quantity", Value::String(text)) => {
            let quantity = Quantity::parse(text).map_err(|e| e.to_string())?;
            let canonical = quantity.to_string();
            if canonical != *text {
                *value = Value::String(canonical);
            }
        }
        ("quantity", Value::Number(number)) => {
            let quantity = Quantity::parse(&number.to_string()).map_err(|e| e.to_string())?;
            *value = Value::String(quantity.to_string());
        }
        ("date-time", Value::String(text)) => {
            let time = parse_time(text).map_err(|e| e.to_string())?;
            let micro = schema.definition_name() == Some(typed_fields::MICRO_TIME);
            let canonical = if micro {
                format_micro_time(time)
            } else {
                format_time(time)
            };
            if canonical != *text {
                *value = Value::String(canonical);
            }
        }
        // Go's decoder skips line ends; `base64` wraps its lines.
        ("byte", Value::String(text)) if text.contains(['\n', '\r']) => {
            *value = Value::String(text.replace(['\n', '\r'], ""));
        }
        _ => {}
    }
    Ok(())
}

/// Adds the fields that are written even when they are empty.
pub(super) fn complete(root: &SchemaRef, object: &mut Value) {
    match object {
        Value::Object(map) => {
            if let Some(facts) = root.definition_name().and_then(typed_fields::of) {
                for (field, zero) in &facts.always {
                    if !map.contains_key(*field) {
                        map.insert((*field).to_owned(), zero_value(*zero));
                    }
                }
            }
            for (key, value) in map {
                if !(value.is_object() || value.is_array()) {
                    continue;
                }
                match (root.properties.get(key), &root.additional_properties) {
                    (Some(child), _) | (None, AdditionalProperties::Schema(child)) => {
                        complete(child, value);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &root.items {
                for item in list {
                    complete(items, item);
                }
            }
        }
        _ => {}
    }
}

fn zero_value(zero: Zero) -> Value {
    match zero {
        Zero::Null => Value::Null,
        Zero::Empty => Value::Object(Map::new()),
        Zero::Text => Value::String(String::new()),
        Zero::Number => Value::from(0),
        Zero::False => Value::Bool(false),
        Zero::Amount => Value::String("0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::gvk::GroupVersionKind;
    use serde_json::json;

    fn root(group: &str, version: &str, kind: &str) -> SchemaRef {
        let gvk = GroupVersionKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        };
        schema::builtin::definition_of(&gvk).unwrap().reference()
    }

    fn written(root: &SchemaRef, mut object: Value) -> Value {
        normalize(root, &mut object).unwrap();
        complete(root, &mut object);
        object
    }

    #[test]
    fn quantities_times_and_bytes_have_one_spelling() {
        let quota = written(
            &root("", "v1", "ResourceQuota"),
            json!({"spec": {"hard": {"cpu": "1000m", "memory": "1024Mi", "pods": 5, "x.y/z": 0.5}}}),
        );
        assert_eq!(
            quota["spec"]["hard"],
            json!({"cpu": "1", "memory": "1Gi", "pods": "5", "x.y/z": "500m"})
        );
        let event = written(
            &root("", "v1", "Event"),
            json!({"eventTime": "2024-01-02T03:04:05.5+02:00", "firstTimestamp": "2024-01-02T03:04:05.9Z"}),
        );
        assert_eq!(event["eventTime"], "2024-01-02T01:04:05.500000Z");
        assert_eq!(event["firstTimestamp"], "2024-01-02T03:04:05Z");
        let secret = written(
            &root("", "v1", "Secret"),
            json!({"data": {"k": "YWJj\nZGVm\n"}, "stringData": {"n": null}}),
        );
        assert_eq!(secret["data"]["k"], "YWJjZGVm");
        assert_eq!(secret["stringData"]["n"], "");
    }

    #[test]
    fn what_is_no_quantity_or_time_is_no_object_of_the_kind() {
        let quota = root("", "v1", "ResourceQuota");
        for hard in [json!("much"), json!("1ii"), json!("")] {
            normalize(&quota, &mut json!({"spec": {"hard": {"cpu": hard}}})).unwrap_err();
        }
        let lease = root("coordination.k8s.io", "v1", "Lease");
        normalize(&lease, &mut json!({"spec": {"renewTime": "yesterday"}})).unwrap_err();
    }

    #[test]
    fn empty_fields_are_written_or_left_out_as_their_types_say() {
        let pod = written(
            &root("", "v1", "Pod"),
            json!({
                "spec": {
                    "hostNetwork": false, "nodeName": "", "automountServiceAccountToken": false,
                    "nodeSelector": {}, "containers": [{"name": "c", "image": "i", "tty": false, "args": []}],
                },
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }),
        );
        assert_eq!(
            pod["spec"],
            json!({
                "automountServiceAccountToken": false,
                "containers": [{"name": "c", "image": "i", "resources": {}}],
            })
        );
        assert_eq!(
            pod["status"]["conditions"][0],
            json!({"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null})
        );
        let role = written(
            &root("rbac.authorization.k8s.io", "v1", "ClusterRole"),
            json!({}),
        );
        assert_eq!(role, json!({"rules": null}));
        let event = written(&root("", "v1", "Event"), json!({}));
        assert_eq!(
            event,
            json!({
                "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
                "eventTime": null, "reportingComponent": "", "reportingInstance": "",
            })
        );
    }

    #[test]
    fn the_facts_name_fields_that_exist() {
        for (name, facts) in typed_fields::all() {
            let definition = schema::builtin::definition(name).unwrap_or_else(|| panic!("{name}"));
            let schema = definition.schema();
            let fields = facts.always.iter().map(|(field, _)| field);
            for field in fields.chain(&facts.omitted) {
                assert!(schema.properties.contains_key(*field), "{name}: {field}");
            }
        }
    }
}
