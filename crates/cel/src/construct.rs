//! Objects that expressions make: `Object{..}`, `Object.spec{..}` and `JSONPatch{..}` of mutating policies.
//!
//! The type of an object is a name without a schema: any field is taken, and what a field of it is only shows when
//! it is looked at. That an `Object.spec{..}` stands in the field `spec` of an `Object{..}` is checked on the value,
//! as Kubernetes does.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::objects::{Key, Opaque};
use serde_json::{Map, Number, Value as Json};

use crate::budget::{Budget, Fault, text_cost};
use crate::library;
use crate::ops;
use crate::types::Type;

/// Type of the root.
pub(crate) const OBJECT: &str = "Object";
/// Type of an operation of a JSON patch (RFC 6902).
pub(crate) const JSON_PATCH: &str = "JSONPatch";

/// See the module.
#[derive(Debug, PartialEq)]
pub(crate) struct Constructed {
    type_name: String,
    fields: BTreeMap<String, Value>,
}

impl Eq for Constructed {}

impl Opaque for Constructed {
    fn runtime_type_name(&self) -> &str {
        &self.type_name
    }
}

impl Constructed {
    pub(crate) fn value(type_name: &str, fields: BTreeMap<String, Value>) -> Value {
        Value::Opaque(Arc::new(Constructed {
            type_name: type_name.to_owned(),
            fields,
        }))
    }

    pub(crate) fn of(value: &Value) -> Option<&Constructed> {
        match value {
            Value::Opaque(opaque) => opaque.downcast_ref::<Constructed>(),
            _ => None,
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.fields.values()
    }
}

/// Whether expressions can make objects of a type of that name.
pub(crate) fn is_type(name: &str) -> bool {
    name == JSON_PATCH || name == OBJECT || name.starts_with("Object.")
}

/// The type of a field; `None` when there is no such field.
pub(crate) fn field_type(type_name: &str, field: &str) -> Option<Type> {
    if type_name != JSON_PATCH {
        return Some(Type::Dyn);
    }
    match field {
        "op" | "path" | "from" => Some(Type::String(4096)),
        "value" => Some(Type::Dyn),
        _ => None,
    }
}

/// The apply configuration that an expression made.
pub(crate) fn configuration(value: &Value, budget: &mut Budget) -> Result<Json, String> {
    match Constructed::of(value) {
        Some(made) if made.type_name == OBJECT => {}
        _ => {
            return Err("the expression did not evaluate to an Object".to_owned());
        }
    }
    named_by_path(value).map_err(|e| format!("type mismatch: {e}"))?;
    to_json(value, budget).map_err(|e| e.to_string())
}

/// The JSON patch that an expression made.
pub(crate) fn json_patch(value: &Value, budget: &mut Budget) -> Result<Json, String> {
    let Value::List(list) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let mut operations = Vec::with_capacity(list.len());
    for item in list.iter() {
        let made = Constructed::of(item).filter(|made| made.type_name == JSON_PATCH);
        let Some(made) = made else {
            return Err(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch"
                    .to_owned(),
            );
        };
        let mut operation = Map::new();
        for (name, value) in &made.fields {
            if name == "value" && Constructed::of(value).is_some() {
                named_by_path(value).map_err(|e| format!("type mismatch: {e}"))?;
            }
            let json = to_json(value, budget).map_err(|e| match e {
                Fault::Exhausted => e.to_string(),
                e => format!(
                    "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {e}"
                ),
            })?;
            if name != "from" || json != "" {
                operation.insert(name.clone(), json);
            }
        }
        operations.push(Json::Object(operation));
    }
    Ok(Json::Array(operations))
}

/// Objects within an object must be named by the path of their field.
fn named_by_path(value: &Value) -> Result<(), String> {
    let Some(made) = Constructed::of(value) else {
        return Ok(());
    };
    let mut faults = Vec::new();
    let mut room = 10_000;
    walk(value, &made.type_name, &mut faults, &mut room);
    if faults.is_empty() {
        Ok(())
    } else {
        faults.truncate(10);
        Err(faults.join("\n"))
    }
}

/// Bounded: values may share their parts, and then a walk is longer than what made them.
fn walk(value: &Value, path: &str, faults: &mut Vec<String>, room: &mut usize) {
    let Some(left) = room.checked_sub(1) else {
        return;
    };
    *room = left;
    match value {
        Value::List(list) => list.iter().for_each(|item| walk(item, path, faults, room)),
        Value::Map(map) => map
            .map
            .values()
            .for_each(|item| walk(item, path, faults, room)),
        _ => {
            let Some(made) = Constructed::of(value) else {
                return;
            };
            if made.type_name != path {
                faults.push(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    made.type_name
                ));
            }
            for (name, field) in &made.fields {
                walk(field, &format!("{path}.{name}"), faults, room);
            }
        }
    }
}

/// A value as JSON. Charged as it goes: values may share parts, so that the text is longer than what made them.
fn to_json(value: &Value, budget: &mut Budget) -> Result<Json, Fault> {
    budget.charge(1)?;
    let text = |text: &str, budget: &mut Budget| {
        budget.charge(text_cost(text.len()))?;
        Ok(Json::String(text.to_owned()))
    };
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(int) => Json::from(*int),
        Value::UInt(uint) => Json::from(*uint),
        // As a JSON number has no type, a whole one is written without a fraction.
        Value::Float(float) if float.fract() == 0.0 && float.abs() < 9e15 => {
            Json::from(*float as i64)
        }
        Value::Float(float) => Json::Number(Number::from_f64(*float).ok_or(Fault::Overload)?),
        Value::String(given) => text(given, budget)?,
        Value::Bytes(_) => {
            budget.charge_for(value)?;
            to_json(
                &library::call("base64.encode", None, vec![value.clone()])?,
                budget,
            )?
        }
        Value::Timestamp(_) | Value::Duration(_) => {
            to_json(&library::call("string", None, vec![value.clone()])?, budget)?
        }
        Value::List(list) => {
            let items = list.iter().map(|item| to_json(item, budget));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let mut out = Map::new();
            for (key, item) in map.map.iter() {
                let Key::String(key) = key else {
                    return Err(Fault::Function(format!(
                        "map key \"{key}\" is not a string"
                    )));
                };
                budget.charge(text_cost(key.len()))?;
                out.insert(key.to_string(), to_json(item, budget)?);
            }
            Json::Object(out)
        }
        _ => match (Constructed::of(value), ops::as_optional(value)) {
            (Some(made), _) if made.type_name != JSON_PATCH => {
                let mut out = Map::new();
                for (name, item) in &made.fields {
                    budget.charge(text_cost(name.len()))?;
                    out.insert(name.clone(), to_json(item, budget)?);
                }
                Json::Object(out)
            }
            (_, Some(optional)) => match optional.value() {
                Some(held) => to_json(held, budget)?,
                None => Json::Null,
            },
            _ => {
                return Err(Fault::Function(
                    "a value of this type has no JSON".to_owned(),
                ));
            }
        },
    })
}
