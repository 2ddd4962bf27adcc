//! Dropping what the schema does not know.
//!
//! An unknown field is removed and its path reported, so that the caller can warn or refuse
//! (`fieldValidation`). `apiVersion`, `kind` and `metadata` of a resource are always known; what is
//! inside `metadata` is judged only where the schema holds a full `ObjectMeta`.

use std::fmt::Write;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::builtin;
use crate::limits;
use crate::model::{AdditionalProperties, Schema};

/// Prunes a whole API object; returns the paths of the removed fields (`spec.list[0].bar`).
pub fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut pruner = Pruner::default();
    pruner.value(schema, object, Place::RESOURCE, 0);
    pruner.finish()
}

/// Prunes a value that is not an API object by itself, such as a default or a part of an object.
pub fn prune_value(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut pruner = Pruner::default();
    pruner.value(schema, value, Place::default(), 0);
    pruner.finish()
}

/// What is known of a value that has no schema at all: nothing, so an object becomes empty.
static NOTHING: LazyLock<Schema> = LazyLock::new(Schema::default);

#[derive(Default)]
struct Pruner {
    path: String,
    unknown: Vec<String>,
}

/// What the surroundings of a value add to its schema.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The value is an API object.
    resource: bool,
    /// The value is an element of a list that keeps unknown fields.
    keeps: bool,
}

impl Place {
    const RESOURCE: Place = Place {
        resource: true,
        keeps: false,
    };
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

    fn value(&mut self, schema: &Schema, value: &mut Value, place: Place, depth: usize) {
        if depth > limits::VALUE_DEPTH {
            return;
        }
        match value {
            Value::Object(object) => self.object(schema, object, place, depth),
            Value::Array(items) => {
                let keeps = schema.preserve_unknown || place.keeps;
                let child = match schema.items.as_deref() {
                    Some(child) => child,
                    None if keeps => return,
                    None => &NOTHING,
                };
                let place = Place {
                    resource: false,
                    keeps,
                };
                for (index, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    // Writing to a String cannot fail.
                    let _ = write!(self.path, "[{index}]");
                    self.value(child, item, place, depth + 1);
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
        place: Place,
        depth: usize,
    ) {
        let resource = place.resource || schema.embedded_resource;
        let keeps = place.keeps || schema.preserve_unknown;
        let mut unknown = Vec::new();
        for (key, value) in object.iter_mut() {
            if resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                self.identity(schema, key, value, depth);
                continue;
            }
            let child: &Schema = match (schema.properties.get(key), &schema.additional_properties) {
                (Some(child), _) | (None, AdditionalProperties::Schema(child)) => child,
                // Any value may be there, but an object in it has no known fields, as in Kubernetes.
                (None, AdditionalProperties::Any) => &NOTHING,
                (None, AdditionalProperties::None) => {
                    if !keeps {
                        unknown.push(key.clone());
                    }
                    continue;
                }
            };
            self.at_member(key, |pruner| {
                pruner.value(child, value, Place::default(), depth + 1);
            });
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
            self.at_member(key, |pruner| {
                pruner.value(&meta, value, Place::default(), depth + 1);
            });
        }
    }
}
