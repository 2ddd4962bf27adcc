//! Operators on values.

use std::cmp::Ordering;
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::objects::{Key, OptionalValue};

use crate::authorizer;
use crate::budget::{Budget, Fault};
use crate::construct::Constructed;
use crate::library::fault;
use crate::text::result_size;

/// An operator of two operands that needs both.
pub(crate) fn binary(
    name: &str,
    left: Value,
    right: Value,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    match name {
        op::EQUALS | op::NOT_EQUALS => {
            charge_smaller(&left, &right, budget)?;
            Ok(Value::Bool((left == right) == (name == op::EQUALS)))
        }
        op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
            charge_smaller(&left, &right, budget)?;
            compare(name, &left, &right)
        }
        op::IN => contains(&right, &left, budget),
        op::INDEX => index(&left, &right),
        op::ADD => add(left, right, budget),
        op::SUBSTRACT => (left - right).map_err(fault),
        op::MULTIPLY => (left * right).map_err(fault),
        op::DIVIDE => match (&left, &right) {
            (Value::UInt(_), Value::UInt(0)) => Err(Fault::Division),
            _ => (left / right).map_err(fault),
        },
        op::MODULO => (left % right).map_err(fault),
        op::OPT_INDEX | op::OPT_SELECT => Ok(optional_index(&left, &right)),
        _ => Err(Fault::Undeclared(name.to_owned())),
    }
}

/// Comparing costs what the smaller side costs to pass over.
fn charge_smaller(left: &Value, right: &Value, budget: &mut Budget) -> Result<(), Fault> {
    match (left, right) {
        (Value::String(a), Value::String(b)) if a.len() != b.len() => {
            budget.charge(1 + a.len().min(b.len()) as u64 / 10)
        }
        (Value::List(a), Value::List(b)) if a.len() > b.len() => budget.charge_for(right),
        _ => budget.charge_for(left),
    }
}

fn compare(name: &str, left: &Value, right: &Value) -> Result<Value, Fault> {
    let order = match (left, right) {
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        _ => left.partial_cmp(right),
    };
    let number = |value: &Value| matches!(value, Value::Int(_) | Value::UInt(_) | Value::Float(_));
    let order = match order {
        Some(order) => order,
        // Not a number: no comparison holds.
        None if number(left) && number(right) => return Ok(Value::Bool(false)),
        None => return Err(Fault::Overload),
    };
    if matches!(left, Value::Null) {
        return Err(Fault::Overload);
    }
    Ok(Value::Bool(match name {
        op::LESS => order == Ordering::Less,
        op::LESS_EQUALS => order != Ordering::Greater,
        op::GREATER => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn contains(within: &Value, wanted: &Value, budget: &mut Budget) -> Result<Value, Fault> {
    match within {
        Value::List(list) => {
            for item in list.iter() {
                charge_smaller(item, wanted, budget)?;
                if item == wanted {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        Value::Map(map) => {
            budget.charge(1)?;
            let found = key(wanted).is_some_and(|key| map.map.contains_key(&key));
            Ok(Value::Bool(found))
        }
        _ => Err(Fault::Overload),
    }
}

/// A value as the key of a map.
pub(crate) fn key(value: &Value) -> Option<Key> {
    Some(match value {
        Value::String(text) => Key::String(Arc::clone(text)),
        Value::Int(int) => Key::Int(*int),
        Value::UInt(uint) => Key::Uint(*uint),
        Value::Bool(b) => Key::Bool(*b),
        _ => return None,
    })
}

/// The key of a map as a value.
pub(crate) fn key_value(key: &Key) -> Value {
    match key {
        Key::String(text) => Value::String(Arc::clone(text)),
        Key::Int(int) => Value::Int(*int),
        Key::Uint(uint) => Value::UInt(*uint),
        Key::Bool(b) => Value::Bool(*b),
    }
}

/// `of[at]`.
pub(crate) fn index(of: &Value, at: &Value) -> Result<Value, Fault> {
    if let Some(inner) = as_optional(of) {
        return Ok(match inner.value() {
            Some(inner) => optional_index(inner, at),
            None => none(),
        });
    }
    if let Some(made) = Constructed::of(of) {
        let Value::String(name) = at else {
            return Err(Fault::Overload);
        };
        let found = made.field(name).cloned();
        return found.ok_or_else(|| Fault::NoKey(name.to_string()));
    }
    if let Value::String(name) = at
        && let Some(found) = authorizer::field(of, name)
    {
        return Ok(found);
    }
    match of {
        Value::List(list) => {
            let at = match at {
                Value::Int(int) => *int,
                Value::UInt(uint) => i64::try_from(*uint).map_err(|_| Fault::Overflow)?,
                Value::Float(float) if float.fract() == 0.0 && float.abs() < 1e15 => *float as i64,
                _ => return Err(Fault::Overload),
            };
            let place = usize::try_from(at).map_err(|_| Fault::Bounds(at))?;
            list.get(place).cloned().ok_or(Fault::Bounds(at))
        }
        Value::Map(map) => {
            let wanted = key(at).ok_or(Fault::Overload)?;
            map.map
                .get(&wanted)
                .cloned()
                .ok_or_else(|| Fault::NoKey(wanted.to_string()))
        }
        _ => Err(Fault::Overload),
    }
}

/// `of.field`.
pub(crate) fn select(of: &Value, field: &str) -> Result<Value, Fault> {
    index(of, &crate::text::string(field)).map_err(|fault| match of {
        Value::List(_) => Fault::Overload,
        _ => fault,
    })
}

/// `has(of.field)`.
pub(crate) fn has(of: &Value, field: &str) -> Result<Value, Fault> {
    match select(of, field) {
        Ok(found) => Ok(Value::Bool(match as_optional(&found) {
            Some(found) if as_optional(of).is_some() => found.value().is_some(),
            _ => true,
        })),
        Err(Fault::NoKey(_)) => Ok(Value::Bool(false)),
        Err(fault) => Err(fault),
    }
}

fn optional_index(of: &Value, at: &Value) -> Value {
    match index(of, at) {
        Ok(found) if as_optional(of).is_some() => found,
        Ok(found) => some(found),
        Err(_) => none(),
    }
}

/// The optional that a value is.
pub(crate) fn as_optional(value: &Value) -> Option<&OptionalValue> {
    match value {
        Value::Opaque(opaque) => opaque.downcast_ref::<OptionalValue>(),
        _ => None,
    }
}

/// An optional with a value.
pub(crate) fn some(value: Value) -> Value {
    Value::Opaque(Arc::new(OptionalValue::of(value)))
}

/// An optional without.
pub(crate) fn none() -> Value {
    Value::Opaque(Arc::new(OptionalValue::none()))
}

/// Adds; lists and texts are appended in place when nobody else holds the left one.
fn add(left: Value, right: Value, budget: &mut Budget) -> Result<Value, Fault> {
    match (&left, &right) {
        (Value::String(a), Value::String(b)) => result_size(a.len() + b.len(), budget)?,
        (Value::Bytes(a), Value::Bytes(b)) => {
            result_size(a.len() + b.len(), budget)?;
            return Ok(Value::Bytes(Arc::new(
                [a.as_slice(), b.as_slice()].concat(),
            )));
        }
        (Value::List(a), Value::List(b)) => {
            let copied = if Arc::strong_count(a) == 1 {
                0
            } else {
                a.len()
            };
            budget.charge(1 + (copied + b.len()) as u64)?;
        }
        _ => {}
    }
    (left + right).map_err(fault)
}

/// `-value`.
pub(crate) fn negate(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or(Fault::Overflow),
        Value::Float(float) => Ok(Value::Float(-float)),
        _ => Err(Fault::Overload),
    }
}
