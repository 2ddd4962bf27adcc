//! JSON patch, RFC 6902.
//!
//! As in kube-apiserver, `test` for `null` also passes where nothing is, and an array index with a minus
//! counts from the end. Operations run on a copy that replaces the object only when all of them succeed.

use serde_json::Value;

use super::PatchError;
use crate::limits::{
    JSON_PATCH_COPY_BYTES, JSON_PATCH_DEPTH, JSON_PATCH_OPERATIONS, JSON_PATCH_WORK,
};

/// Applies the operations in `patch` to `target`.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::Malformed(
            "a JSON patch must be an array of operations".to_owned(),
        ));
    };
    if operations.len() > JSON_PATCH_OPERATIONS {
        return Err(PatchError::TooManyOperations {
            limit: JSON_PATCH_OPERATIONS,
            actual: operations.len(),
        });
    }
    let mut run = Run {
        document: target.clone(),
        copied: 0,
        work: 0,
    };
    for operation in operations {
        run.step(operation)?;
    }
    *target = run.document;
    Ok(())
}

struct Run {
    document: Value,
    copied: usize,
    work: usize,
}

type Pointer = Vec<String>;

fn does_not_apply(op: &str, why: &str, path: &str) -> PatchError {
    PatchError::DoesNotApply(format!(
        "{op} operation does not apply: doc is missing {why}: {path}"
    ))
}

impl Run {
    fn step(&mut self, operation: &Value) -> Result<(), PatchError> {
        if !operation.is_object() && !operation.is_null() {
            return Err(PatchError::Malformed(
                "error decoding patch: an operation must be an object".to_owned(),
            ));
        }
        let text = |field: &str| match operation.get(field) {
            Some(Value::String(text)) => Ok(text.as_str()),
            None | Some(Value::Null) => Err(PatchError::DoesNotApply(format!(
                "JSON patch operation without \"{field}\""
            ))),
            Some(_) => Err(PatchError::Malformed(format!(
                "error decoding patch: \"{field}\" of an operation must be a string"
            ))),
        };
        let value = || {
            operation.get("value").ok_or_else(|| {
                PatchError::DoesNotApply("JSON patch operation without \"value\"".to_owned())
            })
        };
        let op = text("op")?;
        let path = text("path")?;
        let pointer = parse(path)?;
        match op {
            "add" => self.add(op, path, &pointer, value()?.clone()),
            "replace" => {
                let value = value()?.clone();
                self.check_depth(&pointer, &value)?;
                let place = lookup_mut(&mut self.document, &pointer);
                *place.ok_or_else(|| does_not_apply(op, "key", path))? = value;
                Ok(())
            }
            "remove" => self.remove(op, path, &pointer).map(drop),
            "test" => {
                let wanted = value()?;
                let found = lookup(&self.document, &pointer);
                let passes = found.map_or(wanted.is_null(), |found| equal(found, wanted));
                if passes {
                    return Ok(());
                }
                Err(PatchError::TestFailed(format!(
                    "testing value {path} failed: test failed"
                )))
            }
            "move" => {
                let from = text("from")?;
                let source = parse(from)?;
                if source == pointer {
                    return lookup(&self.document, &source)
                        .map(drop)
                        .ok_or_else(|| does_not_apply(op, "from path", from));
                }
                if pointer.starts_with(&source) {
                    return Err(PatchError::DoesNotApply(format!(
                        "move operation cannot put {from} into itself at {path}"
                    )));
                }
                let value = self.remove(op, from, &source)?;
                self.add(op, path, &pointer, value)
            }
            "copy" => {
                let from = text("from")?;
                let source = parse(from)?;
                let value = lookup(&self.document, &source)
                    .ok_or_else(|| does_not_apply(op, "from path", from))?
                    .clone();
                self.copied = self.copied.saturating_add(measure(&value).bytes);
                if self.copied > JSON_PATCH_COPY_BYTES {
                    return Err(PatchError::TooMuch(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {JSON_PATCH_COPY_BYTES}",
                        self.copied
                    )));
                }
                self.add(op, path, &pointer, value)
            }
            other => Err(PatchError::DoesNotApply(format!(
                "Unexpected kind: {other}"
            ))),
        }
    }

    fn charge(&mut self, work: usize) -> Result<(), PatchError> {
        self.work = self.work.saturating_add(work);
        if self.work > JSON_PATCH_WORK {
            return Err(PatchError::TooMuch(
                "the JSON patch needs too much work".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_depth(&mut self, pointer: &[String], value: &Value) -> Result<(), PatchError> {
        let size = measure(value);
        self.charge(size.nodes)?;
        if pointer.len() + size.depth > JSON_PATCH_DEPTH {
            return Err(PatchError::TooMuch(format!(
                "the JSON patch nests values deeper than {JSON_PATCH_DEPTH}"
            )));
        }
        Ok(())
    }

    fn add(
        &mut self,
        op: &str,
        path: &str,
        pointer: &[String],
        value: Value,
    ) -> Result<(), PatchError> {
        self.check_depth(pointer, &value)?;
        let Some((last, parents)) = pointer.split_last() else {
            self.document = value;
            return Ok(());
        };
        let mut work = 0;
        match lookup_mut(&mut self.document, parents) {
            Some(Value::Object(map)) => {
                map.insert(last.clone(), value);
            }
            Some(Value::Array(list)) => {
                let at = if last == "-" {
                    Some(list.len())
                } else {
                    index(last, list.len() + 1)
                };
                let at = at
                    .filter(|at| *at <= list.len())
                    .ok_or_else(|| does_not_apply(op, "index", path))?;
                work = list.len() - at;
                list.insert(at, value);
            }
            _ => return Err(does_not_apply(op, "path", path)),
        }
        self.charge(work)
    }

    fn remove(&mut self, op: &str, path: &str, pointer: &[String]) -> Result<Value, PatchError> {
        let Some((last, parents)) = pointer.split_last() else {
            return Err(PatchError::DoesNotApply(format!(
                "{op} operation cannot remove the whole document"
            )));
        };
        let mut work = 0;
        let removed =
            match lookup_mut(&mut self.document, parents) {
                Some(Value::Object(map)) => map.remove(last),
                Some(Value::Array(list)) => index(last, list.len())
                    .filter(|at| *at < list.len())
                    .map(|at| {
                        work = list.len() - at;
                        list.remove(at)
                    }),
                _ => return Err(does_not_apply(op, "path", path)),
            };
        self.charge(work)?;
        removed.ok_or_else(|| does_not_apply(op, "key", path))
    }
}

/// A JSON pointer, RFC 6901.
fn parse(text: &str) -> Result<Pointer, PatchError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let malformed = || {
        PatchError::DoesNotApply(format!(
            "malformed JSON pointer {}",
            crate::quote::quoted(text)
        ))
    };
    let rest = text.strip_prefix('/').ok_or_else(malformed)?;
    // Deeper than any document can be: nothing is there, and nothing may be put there.
    if rest.split('/').nth(2 * JSON_PATCH_DEPTH).is_some() {
        return Err(malformed());
    }
    rest.split('/')
        .map(|token| {
            let bad = token
                .match_indices('~')
                .any(|(i, _)| !matches!(token.as_bytes().get(i + 1), Some(b'0' | b'1')));
            if bad {
                Err(malformed())
            } else {
                Ok(token.replace("~1", "/").replace("~0", "~"))
            }
        })
        .collect()
}

/// The place that a token names in a list of this length; negative ones count from the end, as upstream's do.
fn index(token: &str, length: usize) -> Option<usize> {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let plain =
        digits.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !digits.starts_with('0'));
    let number: usize = plain.then(|| digits.parse().ok())??;
    if digits.len() == token.len() {
        Some(number)
    } else {
        length.checked_sub(number)
    }
}

fn lookup<'a>(value: &'a Value, pointer: &[String]) -> Option<&'a Value> {
    pointer.iter().try_fold(value, |value, token| match value {
        Value::Object(map) => map.get(token),
        Value::Array(list) => list.get(index(token, list.len())?),
        _ => None,
    })
}

fn lookup_mut<'a>(value: &'a mut Value, pointer: &[String]) -> Option<&'a mut Value> {
    pointer.iter().try_fold(value, |value, token| match value {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => {
            let at = index(token, list.len())?;
            list.get_mut(at)
        }
        _ => None,
    })
}

/// Equality of RFC 6902: numbers by amount, not by notation.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || (x.is_f64() || y.is_f64()) && x.as_f64() == y.as_f64()
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, x)| y.get(k).is_some_and(|y| equal(x, y)))
        }
        _ => a == b,
    }
}

struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// Nodes, approximate JSON bytes, and nesting (a scalar has none).
fn measure(value: &Value) -> Size {
    let mut size = Size {
        nodes: 0,
        bytes: 0,
        depth: 0,
    };
    let mut pending = vec![(value, 0)];
    while let Some((value, depth)) = pending.pop() {
        size.nodes += 1;
        size.depth = size.depth.max(depth);
        size.bytes += match value {
            Value::String(s) => s.len() + 3,
            Value::Object(map) => {
                pending.extend(map.values().map(|v| (v, depth + 1)));
                2 + map.keys().map(|k| k.len() + 3).sum::<usize>()
            }
            Value::Array(list) => {
                pending.extend(list.iter().map(|v| (v, depth + 1)));
                2
            }
            _ => 5,
        };
    }
    size
}
