//! `selectableFields` of a version: which fields of its objects a field selector may name.

use std::collections::BTreeSet;

use apimachinery::field::{FieldError, FieldPath};
use schema::{Schema, SchemaType};
use serde_json::Value;

/// As upstream's.
const MAX: usize = 8;

/// Everything wrong with the selectable fields of a version.
pub(super) fn validate(version: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let fields = version.get("selectableFields").and_then(Value::as_array);
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else {
        return;
    };
    // What is wrong with the schema is said elsewhere.
    let document = version.pointer("/schema/openAPIV3Schema");
    let Some(Ok(schema)) = document.map(Schema::parse) else {
        return;
    };
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let at = path.index(index).child("jsonPath");
        let given = field
            .get("jsonPath")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let target = match find(&schema, given) {
            Ok(target) => target,
            Err(why) => {
                let detail = format!("is an invalid path: {why}");
                errors.push(FieldError::invalid(&at, given, detail));
                continue;
            }
        };
        if given == ".metadata" || given.starts_with(".metadata.") {
            let detail = "must not point to fields in metadata";
            errors.push(FieldError::invalid(&at, given, detail));
        }
        let plain = matches!(
            target.ty,
            Some(SchemaType::String | SchemaType::Boolean | SchemaType::Integer)
        );
        if !plain {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&at, given, detail));
        }
        if !seen.insert(given) {
            errors.push(FieldError::duplicate(&at, given));
        }
    }
    if seen.len() > MAX {
        errors.push(FieldError::too_many(path, seen.len(), MAX));
    }
}

/// What a path of names points to.
fn find<'s>(schema: &'s Schema, path: &str) -> Result<&'s Schema, String> {
    let Some(names) = path.strip_prefix('.') else {
        return Err("must begin with a dot".to_owned());
    };
    names.split('.').try_fold(schema, |schema, name| {
        if name.is_empty() || name.contains(['[', ']', '*', '@', '"', '\'']) {
            return Err("must be names with dots between them, without array notation".to_owned());
        }
        schema
            .member(name)
            .ok_or_else(|| format!("does not refer to a valid field: {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_plain_fields_of_the_schema_can_be_selected() {
        let faults = |paths: &[&str]| {
            let fields: Vec<Value> = paths.iter().map(|p| json!({"jsonPath": p})).collect();
            let version = json!({"selectableFields": fields, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "color": {"type": "string"}, "size": {"type": "integer"}, "on": {"type": "boolean"},
                    "list": {"type": "array", "items": {"type": "string"}},
                    "map": {"type": "object", "additionalProperties": {"type": "string"}},
                }}},
            }}});
            let mut errors = Vec::new();
            validate(&version, &FieldPath::new("f"), &mut errors);
            errors
                .iter()
                .map(|e| e.path.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            faults(&[".spec.color", ".spec.size", ".spec.on", ".spec.map.x"]),
            [""; 0]
        );
        assert_eq!(faults(&[""]), ["f[0].jsonPath"]);
        assert_eq!(
            faults(&["spec.color", ".spec.none", ".spec.list[0]"]),
            ["f[0].jsonPath", "f[1].jsonPath", "f[2].jsonPath"]
        );
        assert_eq!(
            faults(&[".spec.list", ".spec"]),
            ["f[0].jsonPath", "f[1].jsonPath"]
        );
        assert_eq!(faults(&[".spec.color", ".spec.color"]), ["f[1].jsonPath"]);
        let many: Vec<String> = (0..9).map(|i| format!(".spec.map.k{i}")).collect();
        assert_eq!(
            faults(&many.iter().map(String::as_str).collect::<Vec<_>>()),
            ["f"]
        );
    }
}
