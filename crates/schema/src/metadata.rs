//! Metadata that no server could decode.
//!
//! Kubernetes decodes the metadata of custom resources, and of resources embedded in them, into typed
//! structs before anything else, so a label that is a number is a malformed request (400) and not an
//! invalid object (422). This finds the first such fault and words it as Kubernetes does.

use apimachinery::field::{FieldError, FieldErrorKind, FieldPath};
use serde_json::Value;

use crate::builtin;
use crate::limits;
use crate::model::{AdditionalProperties, Schema};
use crate::validate::{type_name, validate};

/// Why the metadata of `object`, or of a resource embedded in it, cannot be decoded.
#[must_use]
pub fn malformed_metadata(schema: &Schema, object: &Value) -> Option<String> {
    if let Some(fault) = object.get("metadata").and_then(fault) {
        return Some(fault);
    }
    let mut path = Vec::new();
    embedded(schema, object, &mut path)
}

fn fault(metadata: &Value) -> Option<String> {
    if metadata.is_null() {
        return None;
    }
    let meta = builtin::object_meta()?;
    let errors = validate(&meta, metadata, None, &FieldPath::root());
    let wrong = |error: &&FieldError| {
        error.kind == FieldErrorKind::TypeInvalid
            // Null stands for nothing.
            && error.bad_value.as_ref().is_none_or(|bad| bad != "null")
    };
    errors
        .iter()
        .find(wrong)
        .map(|error| unmarshal_error(&meta, error))
}

fn unmarshal_error(meta: &Schema, error: &FieldError) -> String {
    let path = error.path.as_str();
    let field = path.split(['.', '[']).next().unwrap_or_default();
    let wanted = error
        .detail
        .rsplit("must be of type ")
        .next()
        .unwrap_or_default();
    let wanted = wanted.split(':').next().unwrap_or_default();
    let bad = error
        .bad_value
        .as_ref()
        .and_then(Value::as_str)
        .unwrap_or_default();
    if wanted == "date-time" {
        return format!(
            "parsing time {bad:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {bad:?} as \"2006\""
        );
    }
    let found = match bad {
        "integer" => "number",
        "boolean" => "bool",
        other => other,
    };
    let whole = path == field;
    let field_schema = meta.member(field);
    let is_map = field_schema
        .is_some_and(|own| matches!(own.additional_properties, AdditionalProperties::Schema(_)));
    let wanted = match wanted {
        "object" if whole && is_map => "map[string]string",
        "object" => "v1.ObjectMeta",
        "integer" => "int64",
        "boolean" => "bool",
        "array" => "[]string",
        other => other,
    };
    if field.is_empty() {
        return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
    }
    format!(
        "json: cannot unmarshal {found} into Go struct field ObjectMeta.{field} of type {wanted}"
    )
}

/// Looks for embedded resources below a value.
fn embedded(schema: &Schema, value: &Value, path: &mut Vec<String>) -> Option<String> {
    if path.len() > limits::VALUE_DEPTH {
        return None;
    }
    match value {
        Value::Object(object) => {
            let metadata = object.get("metadata").filter(|_| schema.embedded_resource);
            if let Some(metadata) = metadata
                && let Some(fault) = fault(metadata)
            {
                let shown = match metadata {
                    Value::Object(_) | Value::Array(_) => metadata.to_string(),
                    other => format!("{:?}", type_name(other)),
                };
                let at = path.join(".").replace(".[", "[");
                return Some(format!("{at}.metadata: Invalid value: {shown}: {fault}"));
            }
            object.iter().find_map(|(key, value)| {
                let child = schema
                    .member(key)
                    .filter(|_| value.is_object() || value.is_array())?;
                path.push(key.clone());
                let found = embedded(child, value, path);
                path.pop();
                found
            })
        }
        Value::Array(items) => {
            let child = schema.items.as_ref()?;
            items.iter().enumerate().find_map(|(index, item)| {
                path.push(format!("[{index}]"));
                let found = embedded(child, item, path);
                path.pop();
                found
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_read_as_recorded() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": {
            "type": "object", "properties": {"tmpl": {
                "type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true,
            }},
        }}}))
        .unwrap();
        let root = json!({"metadata": {"name": "a", "labels": {"k": 5}}});
        assert_eq!(
            malformed_metadata(&schema, &root).unwrap(),
            "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
        );
        let inner = json!({"metadata": {"name": "a"}, "spec": {"tmpl": {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": 1}, "name": "x"},
        }}});
        assert_eq!(
            malformed_metadata(&schema, &inner).unwrap(),
            "spec.tmpl.metadata: Invalid value: {\"labels\":{\"a\":1},\"name\":\"x\"}: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
        );
        let good = json!({"metadata": {"name": "a", "labels": null, "creationTimestamp": null}});
        assert_eq!(malformed_metadata(&schema, &good), None);
    }
}
