//! Filling in defaults.
//!
//! A default fills a missing field of an object that is there; it never makes the object around it.
//! A `null` where the schema does not allow one counts as missing, and vanishes when there is no
//! default, so that clients which write `null` for "unset" are understood.

use serde_json::{Map, Value};

use crate::builtin;
use crate::limits;
use crate::model::{AdditionalProperties, Schema};

/// The object would grow beyond all bounds by its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "defaults of the schema would add more than {} values to the object",
    limits::DEFAULTED_NODES
)]
pub struct DefaultsTooLarge;

/// Fills defaults into `value` and drops nulls that the schema does not allow.
///
/// # Errors
/// When defaults would add more than [`limits::DEFAULTED_NODES`] values; `value` is then half filled.
pub fn default(schema: &Schema, value: &mut Value) -> Result<(), DefaultsTooLarge> {
    fill(schema, value, 0, &mut 0)
}

fn fill(
    schema: &Schema,
    value: &mut Value,
    depth: usize,
    added: &mut usize,
) -> Result<(), DefaultsTooLarge> {
    if depth > limits::VALUE_DEPTH {
        return Ok(());
    }
    match value {
        Value::Object(object) => {
            add_missing(schema, object, added)?;
            if schema.embedded_resource
                && let (Some(meta), Some(metadata)) =
                    (builtin::object_meta(), object.get_mut("metadata"))
            {
                fill(&meta, metadata, depth + 1, added)?;
            }
            let mut drop = Vec::new();
            for (key, value) in object.iter_mut() {
                let child = match (schema.properties.get(key), &schema.additional_properties) {
                    (Some(child), _) | (None, AdditionalProperties::Schema(child)) => child,
                    _ => continue,
                };
                if value.is_null() && !child.nullable {
                    match &child.default {
                        Some(default) => *value = charged(default, added)?,
                        None => drop.push(key.clone()),
                    }
                }
                fill(child, value, depth + 1, added)?;
            }
            for key in drop {
                object.remove(&key);
            }
        }
        Value::Array(items) => {
            let Some(child) = &schema.items else {
                return Ok(());
            };
            for item in items {
                if let (Value::Null, false, Some(default)) =
                    (&*item, child.nullable, &child.default)
                {
                    *item = charged(default, added)?;
                }
                fill(child, item, depth + 1, added)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn add_missing(
    schema: &Schema,
    object: &mut Map<String, Value>,
    added: &mut usize,
) -> Result<(), DefaultsTooLarge> {
    for (name, property) in &schema.properties {
        // A reference to a definition has no default of its own; do not parse it only to find that out.
        if property.definition_name().is_some() || object.contains_key(name) {
            continue;
        }
        if let Some(default) = &property.default {
            object.insert(name.clone(), charged(default, added)?);
        }
    }
    Ok(())
}

/// A copy of a default, counted.
fn charged(default: &Value, added: &mut usize) -> Result<Value, DefaultsTooLarge> {
    *added += nodes(default);
    if *added > limits::DEFAULTED_NODES {
        return Err(DefaultsTooLarge);
    }
    Ok(default.clone())
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(object) => object.values().map(nodes).sum(),
        _ => 0,
    }
}
