//! Why an object is refused, one reason for each field.

use std::fmt;

use apimachinery::field::{FieldErrorKind, FieldPath};
use apimachinery::status::{ApiError, Reason, StatusCause, StatusDetails};

use crate::fields::Kind;

/// One reason, as it appears in `details.causes` of the answer.
///
/// KubeVirt's messages do not follow the pattern of kube's field errors, and its paths have oddities that
/// clients have come to know; so a cause carries both as plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub kind: FieldErrorKind,
    /// The sentence for people.
    pub message: String,
}

impl Cause {
    /// Any cause.
    pub fn new(field: impl fmt::Display, kind: FieldErrorKind, message: impl Into<String>) -> Self {
        Self {
            field: field.to_string(),
            kind,
            message: message.into(),
        }
    }

    /// A value that cannot be.
    pub fn invalid(field: impl fmt::Display, message: impl Into<String>) -> Self {
        Self::new(field, FieldErrorKind::Invalid, message)
    }

    /// A value that is missing.
    pub fn required(field: impl fmt::Display, message: impl Into<String>) -> Self {
        Self::new(field, FieldErrorKind::Required, message)
    }

    /// A value, or a field, that is not supported.
    pub fn not_supported(field: impl fmt::Display, message: impl Into<String>) -> Self {
        Self::new(field, FieldErrorKind::NotSupported, message)
    }

    /// The machine's word: `FieldValueInvalid`, ...
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The message of an answer with these causes, as KubeVirt composes it.
pub fn message(causes: &[Cause]) -> String {
    let messages: Vec<&str> = causes.iter().map(|c| c.message.as_str()).collect();
    messages.join(", ")
}

/// The answer to an object that is refused: 422, with all causes.
pub fn denied(kind: Kind, name: &str, causes: &[Cause]) -> ApiError {
    let (group, _) = kind.group_resource();
    let details = StatusDetails {
        name: name.to_owned(),
        group: group.to_owned(),
        kind: kind.as_str().to_owned(),
        causes: causes
            .iter()
            .map(|c| StatusCause {
                reason: c.reason().to_owned(),
                message: c.message.clone(),
                field: c.field.clone(),
            })
            .collect(),
        ..StatusDetails::default()
    };
    ApiError::new(Reason::Invalid, message(causes), Some(details))
}

/// `value` must satisfy a name rule; `rule` returns what is wrong.
pub(crate) fn named(
    causes: &mut Vec<Cause>,
    path: &FieldPath,
    value: &str,
    rule: fn(&str) -> Vec<String>,
) {
    if value.is_empty() {
        causes.push(Cause::required(path, format!("{path} is a required field")));
        return;
    }
    for wrong in rule(value) {
        causes.push(Cause::invalid(path, format!("{path} '{value}': {wrong}")));
    }
}
