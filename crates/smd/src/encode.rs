//! FieldsV1, the JSON form of a field set in `managedFields`.
//!
//! A key is a path element; `"."` below it says that the path itself is in the set, as does an empty object.

use serde_json::{Map, Value};

use crate::limits;
use crate::path::PathElement;
use crate::set::FieldSet;

/// A `fieldsV1` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Something other than an object where an object must be.
    #[error("fieldsV1 must consist of objects")]
    NotAnObject,
    /// A key that is no path element.
    #[error("{0}")]
    Element(String),
    /// Nested deeper than any object may be.
    #[error("fieldsV1 is nested deeper than {} levels", limits::DEPTH)]
    TooDeep,
}

/// Writes a set as FieldsV1.
pub fn encode_fields(set: &FieldSet) -> Value {
    Value::Object(encode_level(set))
}

fn encode_level(set: &FieldSet) -> Map<String, Value> {
    let mut out = Map::new();
    for element in set.members() {
        out.insert(element.encode(), Value::Object(Map::new()));
    }
    for (element, child) in set.children() {
        let mut below = encode_level(child);
        if set.has_member(element) {
            below.insert(".".to_owned(), Value::Object(Map::new()));
        }
        out.insert(element.encode(), Value::Object(below));
    }
    out
}

/// Reads FieldsV1. Kinds of path elements from the future are left out.
///
/// # Errors
/// The value is malformed or too deep.
pub fn decode_fields(value: &Value) -> Result<FieldSet, DecodeError> {
    decode_level(value, 0).map(|(_, set)| set)
}

/// The set below a node, and whether the node itself is a member.
fn decode_level(value: &Value, depth: usize) -> Result<(bool, FieldSet), DecodeError> {
    if depth > limits::DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let object = value.as_object().ok_or(DecodeError::NotAnObject)?;
    let mut set = FieldSet::new();
    let mut member = object.is_empty();
    for (key, below) in object {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = PathElement::decode(key).map_err(DecodeError::Element)? else {
            continue;
        };
        let (is_member, child) = decode_level(below, depth + 1)?;
        if is_member {
            set.insert_member(element.clone());
        }
        set.insert_child(element, child);
    }
    Ok((member, set))
}
