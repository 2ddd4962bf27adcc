//! The set of fields that an applied object claims.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::path::PathElement;
use crate::set::FieldSet;
use crate::types::{Kind, Type};

/// The fields of a value: leaves, elements of lists, keys of maps; not structs, unless empty.
pub(crate) fn fields_of(ty: Type<'_>, value: &Value) -> FieldSet {
    collect(ty, value).1
}

/// Whether the node itself is a field, and the fields below it.
fn collect(ty: Type<'_>, value: &Value) -> (bool, FieldSet) {
    let mut set = FieldSet::new();
    match ty.kind(value) {
        Kind::Leaf => return (true, set),
        Kind::List(elements) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let identities: Vec<Option<PathElement>> = items
                .iter()
                .map(|item| elements.identify(item).ok())
                .collect();
            let mut seen = BTreeSet::new();
            let mut repeated = BTreeSet::new();
            for identity in identities.iter().flatten() {
                if !seen.insert(identity) {
                    repeated.insert(identity);
                }
            }
            for (item, identity) in items.iter().zip(&identities) {
                let Some(identity) = identity else { continue };
                set.insert_member(identity.clone());
                if !repeated.contains(identity) {
                    let (_, below) = collect(elements.item, item);
                    set.insert_child(identity.clone(), below);
                }
            }
        }
        Kind::Map(members) => {
            for (name, member) in value.as_object().into_iter().flatten() {
                let (is_field, below) = collect(members.member(name), member);
                let empty = member.is_null() || member.as_object().is_some_and(Map::is_empty);
                if is_field || empty || !members.is_named(name) {
                    set.insert_member(PathElement::field(name.as_str()));
                }
                set.insert_child(PathElement::field(name.as_str()), below);
            }
        }
    }
    (false, set)
}

/// The set with every named field of a struct as a member that has members below it.
///
/// Structs are no fields of their own, but when all their fields go, so must they.
pub(crate) fn with_named_fields(ty: Type<'_>, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::new();
    for element in set.members() {
        out.insert_member(element.clone());
    }
    for (element, child) in set.children() {
        if let PathElement::Field(name) = element
            && ty.named_field(name).is_some()
        {
            out.insert_member(element.clone());
        }
        out.insert_child(element.clone(), with_named_fields(ty.below(element), child));
    }
    out
}

/// The set with everything below an atomic list or map replaced by the path of that list or map: a schema may have
/// made it atomic since the set was written.
pub(crate) fn with_atomics_whole(ty: Type<'_>, set: &FieldSet, value: &Value) -> FieldSet {
    let mut out = FieldSet::new();
    for element in set.members() {
        out.insert_member(element.clone());
    }
    for (element, child) in set.children() {
        let below = ty.below(element);
        let member = match element {
            PathElement::Field(name) => value.get(name),
            _ => None,
        };
        match member {
            Some(member @ (Value::Object(_) | Value::Array(_))) => match below.kind(member) {
                Kind::Leaf => out.insert_member(element.clone()),
                _ => out.insert_child(element.clone(), with_atomics_whole(below, child, member)),
            },
            _ => out.insert_child(element.clone(), child.clone()),
        }
    }
    out
}
