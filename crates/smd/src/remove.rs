//! Removing fields from an object.

use serde_json::{Map, Value};

use crate::path::PathElement;
use crate::set::FieldSet;
use crate::types::{Kind, Type};

/// The value without the fields of `gone`. What is merged as a whole is never taken apart. A list or map that loses
/// all its elements stays, empty.
pub(crate) fn remove(ty: Type<'_>, value: &Value, gone: &FieldSet) -> Value {
    if gone.is_empty() {
        return value.clone();
    }
    match (ty.kind(value), value) {
        (Kind::List(elements), Value::Array(items)) => {
            let kept = items.iter().filter_map(|item| {
                let Ok(identity) = elements.identify(item) else {
                    return Some(item.clone());
                };
                kept(elements.item, &identity, item, gone)
            });
            Value::Array(kept.collect())
        }
        (Kind::Map(members), Value::Object(object)) => {
            let kept = object.iter().filter_map(|(name, member)| {
                let element = PathElement::field(name.as_str());
                let member = kept(members.member(name), &element, member, gone)?;
                Some((name.clone(), member))
            });
            Value::Object(kept.collect::<Map<String, Value>>())
        }
        _ => value.clone(),
    }
}

fn kept(ty: Type<'_>, element: &PathElement, value: &Value, gone: &FieldSet) -> Option<Value> {
    if gone.has_member(element) {
        return None;
    }
    Some(match gone.child(element) {
        Some(below) => remove(ty, value, below),
        None => value.clone(),
    })
}
