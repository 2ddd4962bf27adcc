//! Dropping what the schema does not know.
//!
//! An unknown field is removed and its path reported, so that the caller can warn or refuse
//! (`fieldValidation`). `apiVersion`, `kind` and `metadata` of a resource are always known; what is
//! inside `metadata` is judged only where the schema holds a full `ObjectMeta`.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::builtin;
use crate::limits;
use crate::model::{AdditionalProperties, Schema};

/// Prunes a whole API object; returns the paths of the removed fields (`spec.list[0].bar`).
pub fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut pruner = Pruner::default();
    pruner.value(schema, object, true, 0);
    pruner.finish()
}

/// Prunes a value that is not an API object by itself, such as a default or a part of an object.
pub fn prune_value(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut pruner = Pruner::default();
    pruner.value(schema, value, schema.embedded_resource, 0);
    pruner.finish()
}

#[derive(Default)]
struct Pruner {
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn finish(mut self) -> Vec<String> {
        self.unknown.sort();
        self.unknown
    }

    fn report(&mut self, key: &str) {
        if self.unknown.len() < limits::UNKNOWN_FIELDS {
            let dot = if self.path.is_empty() { "" } else { "." };
            self.unknown.push(format!("{}{dot}{key}", self.path));
        }
    }

    fn at_member(&mut self, key: &str, visit: impl FnOnce(&mut Pruner)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        visit(self);
        self.path.truncate(length);
    }

    fn value(&mut self, schema: &Schema, value: &mut Value, resource: bool, depth: usize) {
        if depth > limits::VALUE_DEPTH {
            return;
        }
        match value {
            Value::Object(object) => self.object(schema, object, resource, depth),
            Value::Array(items) => {
                let Some(schema) = &schema.items else {
                    return;
                };
                for (index, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    // Writing to a String cannot fail.
                    let _ = write!(self.path, "[{index}]");
                    self.value(schema, item, schema.embedded_resource, depth + 1);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn object(
        &mut self,
        schema: &Schema,
        object: &mut Map<String, Value>,
        resource: bool,
        depth: usize,
    ) {
        let mut unknown = Vec::new();
        for (key, value) in object.iter_mut() {
            if resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                self.identity(schema, key, value, depth);
                continue;
            }
            match (schema.properties.get(key), &schema.additional_properties) {
                (Some(child), _) | (None, AdditionalProperties::Schema(child)) => {
                    self.at_member(key, |pruner| {
                        pruner.value(child, value, child.embedded_resource, depth + 1);
                    });
                }
                (None, AdditionalProperties::Any) => {}
                (None, AdditionalProperties::None) if schema.preserve_unknown => {}
                (None, AdditionalProperties::None) => unknown.push(key.clone()),
            }
        }
        for key in unknown {
            self.report(&key);
            object.remove(&key);
        }
    }

    /// `apiVersion`, `kind` and `metadata` of a resource stay; embedded metadata is a whole `ObjectMeta`.
    fn identity(&mut self, schema: &Schema, key: &str, value: &mut Value, depth: usize) {
        if key != "metadata" {
            return;
        }
        let given = schema.properties.get("metadata");
        let full = given
            .filter(|meta| meta.definition_name().is_some())
            .cloned();
        let meta = match full {
            None if schema.embedded_resource => builtin::object_meta(),
            known => known,
        };
        if let Some(meta) = meta {
            self.at_member(key, |pruner| pruner.value(&meta, value, false, depth + 1));
        }
    }
}
