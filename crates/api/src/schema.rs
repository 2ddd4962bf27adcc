//! Schema fragments that the derive cannot know.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A `resource.Quantity`: clients send `1` as well as `"1Gi"`.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
        "x-kubernetes-int-or-string": true,
    })
}

/// `requests` and `limits`: resource name to quantity.
pub(crate) fn quantities(generator: &mut SchemaGenerator) -> Schema {
    let value = quantity(generator);
    json_schema!({"type": "object", "additionalProperties": value})
}

/// `metadata` of a template: the API server cannot check it, admission does.
pub(crate) fn template_metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// A whole number that cannot be negative; the type in Rust says how large.
pub(crate) fn uint(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX})
}

/// A whole number.
pub(crate) fn int64(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64"})
}
