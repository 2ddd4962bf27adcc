//! Whether an applied object can be typed: declared fields, right kinds, unique elements.
//!
//! This is the check of server-side apply itself, before any validation of the kind: an undeclared field or a
//! list element without identity would have no owner.

use std::collections::BTreeSet;

use apimachinery::field::{FieldError, FieldErrorKind, FieldPath};
use serde_json::Value;

use crate::limits;
use crate::path::{Path, PathElement};
use crate::types::{Kind, Type};

/// The faults of an applied object, at most [`limits::ERRORS`].
pub(crate) fn validate(ty: Type<'_>, value: &Value) -> Vec<FieldError> {
    let mut check = Check {
        path: Vec::new(),
        errors: Vec::new(),
    };
    check.node(ty, value);
    check.errors
}

/// An error about a field, its path in the notation of field sets without the leading dot.
pub(crate) fn error(path: &[PathElement], message: impl Into<String>) -> FieldError {
    let text = Path(path.to_vec()).to_string();
    let path = FieldPath::from(text.strip_prefix('.').unwrap_or(&text));
    FieldError::new(FieldErrorKind::TypeInvalid, &path, None, message)
}

struct Check {
    path: Vec<PathElement>,
    errors: Vec<FieldError>,
}

impl Check {
    fn fail(&mut self, message: impl Into<String>) {
        if self.errors.len() < limits::ERRORS {
            self.errors.push(error(&self.path, message));
        }
    }

    fn node(&mut self, ty: Type<'_>, value: &Value) {
        let admits = ty.admits();
        let fits = match value {
            Value::Null => true,
            Value::Object(_) => admits.map,
            Value::Array(_) => admits.list,
            scalar => admits.scalar && ty.admits_scalar(scalar),
        };
        if !fits {
            self.fail(format!("expected {}, got {}", ty.expected(), got(value)));
            return;
        }
        match (ty.kind(value), value) {
            (Kind::List(elements), Value::Array(items)) => {
                let mut seen = BTreeSet::new();
                for (i, item) in items.iter().enumerate() {
                    match elements.identify(item) {
                        Err(message) => self.fail(format!("element {i}: {message}")),
                        Ok(identity) => {
                            if !seen.insert(identity.clone()) {
                                self.fail(format!("duplicate entries for key {identity}"));
                            }
                            self.path.push(identity);
                            self.node(elements.item, item);
                            self.path.pop();
                        }
                    }
                }
            }
            // What is merged as a whole must fit its schema, too.
            (Kind::Leaf, Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    let index = i64::try_from(i).unwrap_or(i64::MAX);
                    self.path.push(PathElement::Index(index));
                    self.node(ty.item(), item);
                    self.path.pop();
                }
            }
            (_, Value::Object(object)) => {
                let Some(members) = ty.members() else { return };
                for (name, member) in object {
                    self.path.push(PathElement::field(name.as_str()));
                    match members.declared(name) {
                        Some(ty) => self.node(ty, member),
                        None => self.fail("field not declared in schema"),
                    }
                    self.path.pop();
                }
            }
            _ => {}
        }
    }
}

fn got(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
