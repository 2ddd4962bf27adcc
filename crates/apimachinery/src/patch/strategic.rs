//! Strategic merge patch: a merge patch that knows what lists mean.
//!
//! ```text
//!   patch ── $patch ──► replace or empty the map
//!         ── $retainKeys ──► drop the map's other keys
//!         ── $setElementOrder/LIST ──► merge LIST and put it in this order
//!         ── $deleteFromPrimitiveList/LIST ──► remove these scalars
//!         ── KEY: null ──► remove        KEY: map ──► merge, or replace where the type says so
//!         ── KEY: list ──► by merge key, as a set, or replace, as [`PatchMeta`] says
//! ```
//!
//! Within a list merged by key, `{KEY: .., $patch: delete}` removes an element and `{$patch: replace}`
//! replaces the list by the rest of the patch. No directive and no `null` of the patch ever reaches the
//! result. `$patch: merge` is the default and may be said; kube refuses that.

use serde_json::{Map, Value};

use super::PatchError;
use super::order::{arrange, identity};
use crate::limits::STRATEGIC_DEPTH;

/// How a list is patched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListStrategy {
    /// As a whole.
    #[default]
    Replace,
    /// Maps, matched by the value of this field.
    MergeByKey(String),
    /// Scalars without repetition.
    MergeSet,
}

/// How a map is patched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapStrategy {
    /// Key by key.
    #[default]
    Merge,
    /// As a whole.
    Replace,
}

/// What the type of an object says about patching it.
///
/// Paths consist of field names and map keys; elements of lists add nothing:
/// the environment of a container is `["spec", "containers", "env"]`.
pub trait PatchMeta {
    /// How the list at `path` is patched.
    fn list_strategy(&self, path: &[&str]) -> ListStrategy;

    /// How the map at `path` is patched.
    fn map_strategy(&self, path: &[&str]) -> MapStrategy {
        let _ = path;
        MapStrategy::Merge
    }
}

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// `original` with `patch` merged into it.
pub fn apply(original: &Value, patch: &Value, meta: &dyn PatchMeta) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::Malformed(
            "a strategic merge patch must be a JSON object".to_owned(),
        ));
    };
    let original = match original {
        Value::Object(map) => map.clone(),
        Value::Null => Map::new(),
        _ => {
            return Err(does_not_apply(
                "a strategic merge patch applies to JSON objects only",
            ));
        }
    };
    let mut merge = Merge {
        meta,
        path: Vec::new(),
    };
    merge.map(original, patch).map(Value::Object)
}

fn does_not_apply(message: impl Into<String>) -> PatchError {
    PatchError::DoesNotApply(message.into())
}

fn malformed(message: &str) -> PatchError {
    PatchError::Malformed(message.to_owned())
}

fn unknown_type(directive: &Value, map: &Map<String, Value>) -> PatchError {
    does_not_apply(format!(
        "unknown patch type: {directive} in map: {}",
        Value::Object(map.clone())
    ))
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_FROM)
}

/// A value of the patch without directives and nulls, to stand in the result.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(clean_map(map)),
        Value::Array(list) => Value::Array(clean_list(list)),
        other => other.clone(),
    }
}

fn clean_map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .map(|(key, value)| (key.clone(), clean(value)))
        .collect()
}

fn clean_list(list: &[Value]) -> Vec<Value> {
    list.iter()
        .filter(|element| match element.get(PATCH).and_then(Value::as_str) {
            Some("delete") => false,
            Some("replace") => element.as_object().is_some_and(|map| map.len() > 1),
            _ => true,
        })
        .map(clean)
        .collect()
}

struct Merge<'m, 'p> {
    meta: &'m dyn PatchMeta,
    path: Vec<&'p str>,
}

impl<'p> Merge<'_, 'p> {
    fn map(
        &mut self,
        mut original: Map<String, Value>,
        patch: &'p Map<String, Value>,
    ) -> Result<Map<String, Value>, PatchError> {
        if self.path.len() > STRATEGIC_DEPTH {
            return Err(PatchError::TooMuch(format!(
                "the patch nests deeper than {STRATEGIC_DEPTH}"
            )));
        }
        match patch.get(PATCH) {
            None => {}
            Some(directive) => match directive.as_str() {
                Some("merge") => {}
                Some("replace") => return Ok(clean_map(patch)),
                Some("delete") => return Ok(Map::new()),
                _ => return Err(unknown_type(directive, patch)),
            },
        }
        retain_keys(&mut original, patch)?;
        for (key, order) in patch {
            if let Some(list) = key.strip_prefix(SET_ORDER) {
                self.ordered_list(&mut original, patch, list, order)?;
            }
        }
        for (key, value) in patch {
            if let Some(list) = key.strip_prefix(DELETE_FROM) {
                delete_from(&mut original, list, value)?;
                continue;
            }
            // A list with an order has been merged above.
            let done = value.is_array() && patch.contains_key(&format!("{SET_ORDER}{key}"));
            if is_directive(key) || done {
                continue;
            }
            if value.is_null() {
                original.remove(key);
                continue;
            }
            let merged = match (original.remove(key), value) {
                (Some(Value::Object(old)), Value::Object(new)) => self.within(key, |merge| {
                    Ok(Value::Object(match merge.meta.map_strategy(&merge.path) {
                        MapStrategy::Merge => merge.map(old, new)?,
                        MapStrategy::Replace => clean_map(new),
                    }))
                })?,
                (Some(Value::Array(old)), Value::Array(new)) => {
                    self.within(key, |merge| merge.list(old, new).map(Value::Array))?
                }
                _ => clean(value),
            };
            original.insert(key.clone(), merged);
        }
        Ok(original)
    }

    fn within<T>(
        &mut self,
        key: &'p str,
        work: impl FnOnce(&mut Self) -> Result<T, PatchError>,
    ) -> Result<T, PatchError> {
        self.path.push(key);
        let result = work(self);
        self.path.pop();
        result
    }

    /// Merges a list and orders it as `$setElementOrder` says.
    fn ordered_list(
        &mut self,
        original: &mut Map<String, Value>,
        patch: &'p Map<String, Value>,
        key: &'p str,
        order: &Value,
    ) -> Result<(), PatchError> {
        const BAD: &str = "Invalid patch format of setElementOrder list";
        let Value::Array(order) = order else {
            return Err(malformed(BAD));
        };
        let new = match patch.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Array(new)) => Some(new),
            Some(_) => return Err(malformed(BAD)),
        };
        let old = match original.remove(key) {
            None | Some(Value::Null) => None,
            Some(Value::Array(old)) => Some(old),
            Some(_) => return Err(malformed(BAD)),
        };
        let strategy = self.within(key, |merge| Ok(merge.meta.list_strategy(&merge.path)))?;
        let merge_key = match &strategy {
            ListStrategy::MergeByKey(merge_key) => Some(merge_key.as_str()),
            _ => None,
        };
        if let Some(new) = new {
            check_order(new, order, merge_key)?;
        }
        let before = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => return Ok(()),
            (Some(old), None) => old,
            (None, Some(new)) => clean_list(new),
            (Some(old), Some(new)) => self.within(key, |merge| merge.list(old, new))?,
        };
        let arranged = match strategy {
            ListStrategy::Replace => merged,
            _ => arrange(merged, order, &before, merge_key),
        };
        // `null` beside an order: remove, as everywhere; the main loop does it.
        original.insert(key.to_owned(), Value::Array(arranged));
        Ok(())
    }

    fn list(&mut self, old: Vec<Value>, new: &'p [Value]) -> Result<Vec<Value>, PatchError> {
        let strategy = self.meta.list_strategy(&self.path);
        if strategy != ListStrategy::Replace && old.iter().chain(new).any(Value::is_array) {
            return Err(does_not_apply("Lists of lists are not supported"));
        }
        match strategy {
            ListStrategy::Replace => Ok(clean_list(new)),
            ListStrategy::MergeSet => {
                if old.iter().chain(new).any(Value::is_object) {
                    return Err(does_not_apply(format!(
                        "a map in the list of scalars {}",
                        self.path.join(".")
                    )));
                }
                let mut seen = std::collections::HashSet::new();
                let both = old
                    .iter()
                    .chain(new)
                    .filter(|v| seen.insert(v.to_string()))
                    .cloned()
                    .collect();
                Ok(arrange(both, new, &old, None))
            }
            ListStrategy::MergeByKey(merge_key) => self.list_of_maps(old, new, &merge_key),
        }
    }

    fn list_of_maps(
        &mut self,
        mut old: Vec<Value>,
        new: &'p [Value],
        merge_key: &str,
    ) -> Result<Vec<Value>, PatchError> {
        let id_of = |element: &Value| {
            identity(element, Some(merge_key)).ok_or_else(|| {
                does_not_apply(format!(
                    "map: {element} does not contain declared merge key: {merge_key}"
                ))
            })
        };
        // First the elements that are directives.
        let mut plain: Vec<&'p Map<String, Value>> = Vec::with_capacity(new.len());
        let mut replace = false;
        let mut deleted = std::collections::HashSet::new();
        for element in new {
            let Value::Object(map) = element else {
                return Err(does_not_apply(format!(
                    "expected a map in {}, but received {element}",
                    self.path.join(".")
                )));
            };
            match map
                .get(PATCH)
                .map(|directive| (directive, directive.as_str()))
            {
                None | Some((_, Some("merge"))) => plain.push(map),
                Some((_, Some("delete"))) => {
                    deleted.insert(id_of(element)?);
                }
                Some((_, Some("replace"))) => replace = true,
                Some((directive, _)) => return Err(unknown_type(directive, map)),
            }
        }
        if replace {
            return Ok(plain
                .into_iter()
                .map(|map| Value::Object(clean_map(map)))
                .collect());
        }
        old.retain(|element| {
            identity(element, Some(merge_key)).is_none_or(|id| !deleted.contains(&id))
        });

        let before = old.clone();
        let mut positions = std::collections::HashMap::new();
        for (i, element) in old.iter().enumerate() {
            positions.entry(id_of(element)?).or_insert(i);
        }
        let mut order = Vec::with_capacity(plain.len());
        for map in plain {
            let Some(value) = map.get(merge_key) else {
                return Err(id_of(&Value::Object(map.clone()))
                    .err()
                    .unwrap_or_else(|| malformed("no merge key")));
            };
            order.push(Value::Object(Map::from_iter([(
                merge_key.to_owned(),
                value.clone(),
            )])));
            match positions
                .get(&value.to_string())
                .and_then(|at| old.get_mut(*at))
            {
                Some(place) => {
                    let element = match place.take() {
                        Value::Object(element) => element,
                        _ => Map::new(),
                    };
                    *place = Value::Object(self.map(element, map)?);
                }
                None => {
                    positions.insert(value.to_string(), old.len());
                    old.push(Value::Object(clean_map(map)));
                }
            }
        }
        Ok(arrange(old, &order, &before, Some(merge_key)))
    }
}

fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    const BAD: &str = "Invalid patch format of retainKeys";
    let keys: std::collections::HashSet<&str> = match patch.get(RETAIN_KEYS) {
        None => return Ok(()),
        Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Err(malformed(BAD)),
    };
    let stray = |(key, value): (&String, &Value)| {
        !value.is_null() && !is_directive(key) && !keys.contains(key.as_str())
    };
    if patch.iter().any(stray) {
        return Err(malformed(BAD));
    }
    original.retain(|key, _| keys.contains(key.as_str()));
    Ok(())
}

fn delete_from(
    original: &mut Map<String, Value>,
    key: &str,
    values: &Value,
) -> Result<(), PatchError> {
    let Value::Array(values) = values else {
        return Err(malformed("Invalid patch format of primitive list"));
    };
    if let Some(Value::Array(list)) = original.get_mut(key) {
        let gone: std::collections::HashSet<String> = values.iter().map(Value::to_string).collect();
        list.retain(|element| !gone.contains(&element.to_string()));
    }
    Ok(())
}

/// The patch's elements must appear in the order list, and in that order.
fn check_order(new: &[Value], order: &[Value], merge_key: Option<&str>) -> Result<(), PatchError> {
    let mut order_ids = order.iter().map(|element| identity(element, merge_key));
    for element in new.iter().filter(|element| element.get(PATCH).is_none()) {
        let id = identity(element, merge_key);
        if id.is_none() || !order_ids.any(|other| other == id) {
            let show = |list: &[Value]| Value::Array(list.to_vec()).to_string();
            return Err(does_not_apply(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                show(new),
                show(order)
            )));
        }
    }
    Ok(())
}
