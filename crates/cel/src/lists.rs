//! Functions of lists, as cel-go's `ext.Lists` (version 3) has them: `slice`, `flatten`, `distinct`, `sort`, `first`,
//! `last`, `lists.range`.

use std::cmp::Ordering;
use std::sync::Arc;

use kube_cel::cel::Value;

use crate::budget::{Budget, Fault};
use crate::ops;

type Outcome = Result<Value, Fault>;

fn failed(text: impl Into<String>) -> Fault {
    Fault::Function(text.into())
}

fn list(values: Vec<Value>) -> Value {
    Value::List(Arc::new(values))
}

/// Calls a function of this module; `None` when it is none.
pub(crate) fn call(
    name: &str,
    target: Option<&Value>,
    args: &[Value],
    budget: &mut Budget,
) -> Option<Outcome> {
    Some(match (name, target, args) {
        ("slice", Some(Value::List(of)), [Value::Int(start), Value::Int(end)]) => {
            slice(of, *start, *end, budget)
        }
        ("flatten", Some(Value::List(of)), []) => flatten(of, 1, budget),
        ("flatten", Some(Value::List(of)), [Value::Int(depth)]) => {
            if *depth < 0 {
                return Some(Err(failed("level must be non-negative")));
            }
            flatten(of, *depth, budget)
        }
        ("distinct", Some(Value::List(of)), []) => distinct(of, budget),
        ("sort", Some(Value::List(of)), []) => sort(of, budget),
        ("first", Some(Value::List(of)), []) => Ok(optional(of.first())),
        ("last", Some(Value::List(of)), []) => Ok(optional(of.last())),
        ("lists.range", None, [Value::Int(size)]) => range(*size, budget),
        _ => return None,
    })
}

fn optional(value: Option<&Value>) -> Value {
    value.map_or_else(ops::none, |value| ops::some(value.clone()))
}

fn slice(of: &[Value], start: i64, end: i64, budget: &mut Budget) -> Outcome {
    let bad = |text: &str| failed(format!("cannot slice({start}, {end}), {text}"));
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(bad("negative indexes not supported"));
    };
    if from > to {
        return Err(bad("start index must be less than or equal to end index"));
    }
    let part = of.get(from..to);
    let part = part.ok_or_else(|| bad(&format!("list is length {}", of.len())))?;
    budget.charge(1 + part.len() as u64)?;
    Ok(list(part.to_vec()))
}

fn flatten(of: &[Value], depth: i64, budget: &mut Budget) -> Outcome {
    let mut flat = Vec::new();
    // A list may be nested as deep as a value may; each level is one turn.
    let mut level: Vec<Value> = of.to_vec();
    for _ in 0..depth {
        flat.clear();
        let mut nested = false;
        for item in &level {
            budget.charge(1)?;
            match item {
                Value::List(inner) => {
                    budget.charge(inner.len() as u64)?;
                    nested |= inner.iter().any(|item| matches!(item, Value::List(_)));
                    flat.extend(inner.iter().cloned());
                }
                other => flat.push(other.clone()),
            }
        }
        std::mem::swap(&mut level, &mut flat);
        if !nested {
            break;
        }
    }
    Ok(list(level))
}

fn distinct(of: &[Value], budget: &mut Budget) -> Outcome {
    let mut kept: Vec<Value> = Vec::new();
    for item in of {
        budget.charge(1)?;
        for earlier in &kept {
            budget.charge_for(earlier)?;
        }
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    Ok(list(kept))
}

fn sort(of: &[Value], budget: &mut Budget) -> Outcome {
    let size = of.len() as u64;
    for item in of {
        budget.charge_for(item)?;
    }
    budget.charge(size.saturating_mul(u64::from(size.checked_ilog2().unwrap_or(0)) + 1))?;
    // An order that is none may not be asked for.
    if let Some(first) = of.first()
        && !of.iter().all(|item| compare(first, item).is_some())
    {
        return Err(failed("list elements must have the same type"));
    }
    let mut sorted = of.to_vec();
    sorted.sort_by(|a, b| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(list(sorted))
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Some(a.total_cmp(b)),
        (Value::Int(_), Value::Int(_))
        | (Value::UInt(_), Value::UInt(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::String(_), Value::String(_))
        | (Value::Timestamp(_), Value::Timestamp(_))
        | (Value::Duration(_), Value::Duration(_)) => a.partial_cmp(b),
        _ => None,
    }
}

fn range(size: i64, budget: &mut Budget) -> Outcome {
    if size < 0 {
        return Err(failed("lists.range(): size must not be negative"));
    }
    budget.charge(1 + size.unsigned_abs())?;
    Ok(list((0..size).map(Value::Int).collect()))
}
