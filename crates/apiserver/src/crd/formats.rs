//! Warnings of formats that nobody checks.

use serde_json::Value;

/// Formats of strings and numbers that Kubernetes knows.
const KNOWN: [&str; 34] = [
    "",
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "double",
    "duration",
    "email",
    "float",
    "hexcolor",
    "hostname",
    "int32",
    "int64",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "quantity",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "int-or-string",
];

/// Texts for the unknown formats of a CRD's schemas, each once.
pub(super) fn warnings(crd: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    for version in versions.into_iter().flatten() {
        if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
            walk(schema, &mut found);
        }
    }
    found
}

fn walk(schema: &Value, found: &mut Vec<String>) {
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && !KNOWN.contains(&format)
    {
        let text = format!("unrecognized format {format:?}");
        if !found.contains(&text) {
            found.push(text);
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for child in properties.into_iter().flat_map(|map| map.values()) {
        walk(child, found);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = schema.get(key) {
            walk(child, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_formats_are_named_once() {
        let crd = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": {
            "a": {"format": "made-up"}, "b": {"items": {"format": "made-up"}}, "c": {"format": "byte"},
        }}}}]}});
        assert_eq!(warnings(&crd), ["unrecognized format \"made-up\""]);
    }
}
