//! An apply configuration laid over an object, without anybody coming to own anything: what mutating admission
//! policies do.

use apimachinery::field::aggregate;
use schema::Schema;
use serde_json::Value;

use crate::merge;
use crate::path::{Path, PathElement};
use crate::types::{Kind, Type, too_deep};
use crate::validate;

/// The object with `configuration`, which has the same apiVersion and kind, merged into it.
///
/// # Errors
/// When the configuration does not fit the schema, or sets a list, map or struct that is replaced as a whole: what
/// it does not name there would be lost. In kube-apiserver's words.
pub fn overlay(schema: &Schema, object: &Value, configuration: &Value) -> Result<Value, String> {
    if too_deep(object) || too_deep(configuration) {
        return Err("failed to convert patch object to typed object: nested too deep".to_owned());
    }
    let ty = Type::Resource(schema);
    let errors = validate::validate(ty, configuration);
    if !errors.is_empty() {
        return Err(format!(
            "failed to convert patch object to typed object: {}",
            aggregate(&errors)
        ));
    }
    let mut atomics = Vec::new();
    collect(ty, configuration, &mut Vec::new(), &mut atomics);
    if !atomics.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    merge::merge(ty, object, configuration)
        .map_err(|e| format!("failed to merge patch: {}: {}", e.path, e.message))
}

/// Paths of lists and maps that are replaced as a whole, as far as fields have names.
fn collect(ty: Type<'_>, value: &Value, path: &mut Vec<PathElement>, found: &mut Vec<String>) {
    let is_leaf = matches!(ty.kind(value), Kind::Leaf);
    match value {
        Value::Object(object) => {
            if is_leaf {
                found.push(Path(path.clone()).to_string());
            }
            for (name, member) in object {
                if let Some(ty) = ty.named_field(name) {
                    path.push(PathElement::field(name.as_str()));
                    collect(ty, member, path, found);
                    path.pop();
                }
            }
        }
        Value::Array(items) => {
            if is_leaf {
                found.push(Path(path.clone()).to_string());
            }
            for (index, item) in items.iter().enumerate() {
                path.push(PathElement::Index(i64::try_from(index).unwrap_or(i64::MAX)));
                collect(ty.item(), item, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}
