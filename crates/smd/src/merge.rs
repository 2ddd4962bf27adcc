//! Merging an applied object into the live one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use crate::path::{Path, PathElement};
use crate::types::{Elements, Kind, Type};

/// A list that cannot be merged because its elements have no unique identity.
#[derive(Clone, Debug)]
pub(crate) struct MergeError {
    pub(crate) path: Path,
    pub(crate) message: String,
}

/// The live object with what was applied laid over it.
pub(crate) fn merge(ty: Type<'_>, live: &Value, applied: &Value) -> Result<Value, MergeError> {
    let mut path = Vec::new();
    let merged = node(ty, Some(live), Some(applied), &mut path)?;
    Ok(merged.unwrap_or(Value::Null))
}

fn node(
    ty: Type<'_>,
    live: Option<&Value>,
    applied: Option<&Value>,
    path: &mut Vec<PathElement>,
) -> Result<Option<Value>, MergeError> {
    let (Some(live), Some(applied)) = (live, applied) else {
        return Ok(live.or(applied).cloned());
    };
    match ty.kind(applied) {
        Kind::Leaf => Ok(Some(applied.clone())),
        Kind::Map(members) => {
            let ours = live.as_object().filter(|m| !m.is_empty());
            let theirs = applied.as_object().filter(|m| !m.is_empty());
            let (Some(ours), Some(theirs)) = (ours, theirs) else {
                // Nothing to merge; null and empty are kept apart when both sides are empty.
                return Ok(Some(match ours {
                    Some(_) => live.clone(),
                    None => applied.clone(),
                }));
            };
            let mut out = Map::new();
            for name in ours.keys().chain(theirs.keys()) {
                if out.contains_key(name) {
                    continue;
                }
                path.push(PathElement::field(name.as_str()));
                let member = node(members.member(name), ours.get(name), theirs.get(name), path)?;
                path.pop();
                if let Some(member) = member {
                    out.insert(name.clone(), member);
                }
            }
            Ok(Some(Value::Object(out)))
        }
        Kind::List(elements) => {
            let ours = live.as_array().filter(|l| !l.is_empty());
            let theirs = applied.as_array().filter(|l| !l.is_empty());
            let (Some(ours), Some(theirs)) = (ours, theirs) else {
                return Ok(Some(match ours {
                    Some(_) => live.clone(),
                    None => applied.clone(),
                }));
            };
            list(elements, ours, theirs, path).map(Some)
        }
    }
}

/// A list by identity; elements that repeat count as absent in `values`.
struct Indexed<'v> {
    order: Vec<PathElement>,
    values: BTreeMap<PathElement, Option<&'v Value>>,
}

fn index<'v>(
    elements: Elements<'_>,
    list: &'v [Value],
    may_repeat: bool,
    path: &[PathElement],
) -> Result<Indexed<'v>, MergeError> {
    let mut out = Indexed {
        order: Vec::with_capacity(list.len()),
        values: BTreeMap::new(),
    };
    for (i, value) in list.iter().enumerate() {
        let failed = |message: String| MergeError {
            path: Path(path.to_vec()),
            message: format!("element {i}: {message}"),
        };
        let identity = elements.identify(value).map_err(failed)?;
        match out.values.get_mut(&identity) {
            None => {
                out.values.insert(identity.clone(), Some(value));
            }
            Some(seen) if may_repeat => *seen = None,
            Some(_) => {
                return Err(MergeError {
                    path: Path(path.to_vec()),
                    message: format!("duplicate entries for key {identity}"),
                });
            }
        }
        out.order.push(identity);
    }
    Ok(out)
}

/// Merges two lists by identity. Elements of both come in the order of the applied list; elements of the live list
/// alone stay between the neighbours they had.
fn list(
    elements: Elements<'_>,
    live: &[Value],
    applied: &[Value],
    path: &mut Vec<PathElement>,
) -> Result<Value, MergeError> {
    let right = index(elements, applied, false, path)?;
    let left = index(elements, live, true, path)?;
    let mut shared: VecDeque<&PathElement> = right
        .order
        .iter()
        .filter(|identity| left.values.contains_key(identity))
        .collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let (mut l, mut r) = (0, 0);
    loop {
        let from_left = left.order.get(l);
        let from_right = right.order.get(r);
        let mut both = |identity: &PathElement| -> Result<(), MergeError> {
            let ours = left.values.get(identity).copied().flatten();
            let theirs = right.values.get(identity).copied().flatten();
            path.push(identity.clone());
            let merged = node(elements.item, ours, theirs, path)?;
            path.pop();
            out.extend(merged);
            Ok(())
        };
        match (from_left, from_right) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {
                done.insert(a);
                both(a)?;
                l += 1;
                r += 1;
                next_shared = shared.pop_front();
                continue;
            }
            (Some(a), Some(_))
                if right.values.contains_key(a) && next_shared.is_some_and(|next| next != a) =>
            {
                // In both lists, but its turn is not now.
                l += 1;
                continue;
            }
            _ => {}
        }
        if let Some(a) = from_left {
            if !right.values.contains_key(a) {
                // By position: repeated elements stay as they are.
                out.extend(live.get(l).cloned());
                l += 1;
                continue;
            }
            if done.contains(a) {
                l += 1;
            }
        }
        if let Some(b) = from_right {
            done.insert(b);
            both(b)?;
            r += 1;
            if next_shared == Some(b) {
                next_shared = shared.pop_front();
            }
        }
    }
    Ok(Value::Array(out))
}
