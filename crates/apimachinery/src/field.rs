//! What is wrong with a field: its path, the kind of fault, the value and a sentence.
//!
//! A [`FieldError`] prints as kube's validation errors do: `spec.x: Invalid value: "abc": must be ...`.
//! [`crate::status::ApiError::invalid`] turns a list of them into a 422 with one cause for each.

use std::fmt;

use serde_json::Value;

use crate::quote::{quoted, quoted_list};

/// Where a field is: `spec.disks[0].labels[k]`. The root prints as `<nil>`, as in kube.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(String);

impl FieldPath {
    /// The object itself.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// A field of the root.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A field of this one; `name` may itself be dotted.
    #[must_use]
    pub fn child(&self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        if self.0.is_empty() {
            return Self(name.to_owned());
        }
        let mut path = String::with_capacity(self.0.len() + 1 + name.len());
        path.push_str(&self.0);
        path.push('.');
        path.push_str(name);
        Self(path)
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&self, key: impl AsRef<str>) -> Self {
        Self(format!("{}[{}]", self.0, key.as_ref()))
    }

    /// True for the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as text; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

impl From<&str> for FieldPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl From<String> for FieldPath {
    fn from(path: String) -> Self {
        Self(path)
    }
}

/// The kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldErrorKind {
    /// A reference to something that is not there.
    NotFound,
    /// The field must be given.
    Required,
    /// The value must be unique and is not.
    Duplicate,
    /// The value is malformed or out of range.
    Invalid,
    /// The value is not one of an enumeration.
    NotSupported,
    /// The field may not be set under these conditions.
    Forbidden,
    /// The text is too long.
    TooLong,
    /// The list or map has too many entries.
    TooMany,
    /// The list or map has too few entries.
    TooFew,
    /// The value has the wrong JSON type.
    TypeInvalid,
    /// Validation itself failed.
    Internal,
}

impl FieldErrorKind {
    /// The `reason` of a [`crate::status::StatusCause`].
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    /// The words that open the message.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }

    /// Kinds whose message never shows the value.
    fn hides_value(self) -> bool {
        matches!(
            self,
            Self::Required | Self::Forbidden | Self::TooLong | Self::Internal
        )
    }
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// The kind of fault.
    pub kind: FieldErrorKind,
    /// Where.
    pub path: FieldPath,
    /// The value found, where the message shows one.
    pub bad_value: Option<Value>,
    /// What would be right; may be empty.
    pub detail: String,
}

impl FieldError {
    /// From its parts.
    pub fn new(
        kind: FieldErrorKind,
        path: &FieldPath,
        bad_value: Option<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            path: path.clone(),
            bad_value,
            detail: detail.into(),
        }
    }

    /// The named thing is not there.
    pub fn not_found(path: &FieldPath, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, path, Some(value.into()), "")
    }

    /// The field must be given; `detail` may be empty.
    pub fn required(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, None, detail)
    }

    /// The value is there already.
    pub fn duplicate(path: &FieldPath, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, Some(value.into()), "")
    }

    /// The value is malformed or out of range.
    pub fn invalid(path: &FieldPath, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, path, Some(value.into()), detail)
    }

    /// The value is not one of `supported`, which is shown in the order given.
    pub fn not_supported<S: AsRef<str>>(
        path: &FieldPath,
        value: impl Into<Value>,
        supported: &[S],
    ) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted_list(supported))
        };
        Self::new(
            FieldErrorKind::NotSupported,
            path,
            Some(value.into()),
            detail,
        )
    }

    /// The field may not be set (or changed) here.
    pub fn forbidden(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, None, detail)
    }

    /// The text is longer than `max` bytes.
    pub fn too_long(path: &FieldPath, max: usize) -> Self {
        Self::new(
            FieldErrorKind::TooLong,
            path,
            None,
            format!("may not be more than {max} bytes"),
        )
    }

    /// The list or map has more than `max` entries.
    pub fn too_many(path: &FieldPath, actual: usize, max: usize) -> Self {
        let noun = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {noun}");
        Self::new(FieldErrorKind::TooMany, path, Some(actual.into()), detail)
    }

    /// The list or map has fewer than `min` entries.
    pub fn too_few(path: &FieldPath, actual: usize, min: usize) -> Self {
        let noun = if min == 1 { "item" } else { "items" };
        let detail = format!("must have at least {min} {noun}");
        Self::new(FieldErrorKind::TooFew, path, Some(actual.into()), detail)
    }

    /// The value has the wrong JSON type.
    pub fn type_invalid(
        path: &FieldPath,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(
            FieldErrorKind::TypeInvalid,
            path,
            Some(value.into()),
            detail,
        )
    }

    /// Validation itself failed.
    pub fn internal(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Internal, path, None, detail)
    }

    /// The `reason` of the matching [`crate::status::StatusCause`].
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// The message without the path: the `message` of a cause.
    pub fn body(&self) -> String {
        let mut text = self.kind.label().to_owned();
        if let Some(value) = self.bad_value.as_ref().filter(|_| !self.kind.hides_value()) {
            text.push_str(": ");
            text.push_str(&shown(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

impl std::error::Error for FieldError {}

/// The messages of `errors` as one: the message itself, or `[a, b]` without repetitions.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut messages: Vec<String> = Vec::with_capacity(errors.len());
    let mut seen = std::collections::HashSet::new();
    for error in errors {
        let message = error.to_string();
        if seen.insert(message.clone()) {
            messages.push(message);
        }
    }
    match messages.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A value as kube shows it: strings quoted, numbers and booleans bare, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => quoted(s),
        Value::Number(n) => match n.as_f64() {
            Some(float) if n.is_f64() => go_float(float),
            _ => n.to_string(),
        },
        Value::Object(_) | Value::Array(_) => html_safe(&value.to_string()),
        other => other.to_string(),
    }
}

/// Go's `%v` of a float: shortest form, an exponent from 1e21 up and below 1e-4.
fn go_float(float: f64) -> String {
    let size = float.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{float:e}");
        if let Some((mantissa, exponent)) = text.split_once('e') {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
    }
    format!("{float}")
}

/// Go's JSON encoder escapes what HTML would interpret.
fn html_safe(json: &str) -> String {
    if !json.contains(['<', '>', '&']) {
        return json.to_owned();
    }
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_print_as_in_kube() {
        let spec = FieldPath::new("spec");
        assert_eq!(
            spec.child("x").index(0).child("y").key("k").to_string(),
            "spec.x[0].y[k]"
        );
        assert_eq!(FieldPath::root().to_string(), "<nil>");
        assert_eq!(FieldPath::root().child("spec"), spec);
    }

    #[test]
    fn errors_print_as_recorded_from_kube() {
        let p = FieldPath::new("spec.x");
        let cases = [
            (
                FieldError::invalid(&p, "abc", "must be short"),
                r#"spec.x: Invalid value: "abc": must be short"#,
            ),
            (
                FieldError::invalid(&p, 70000, "must be between 1 and 65535, inclusive"),
                "spec.x: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                FieldError::invalid(&p, json!({"a": "c"}), "no"),
                r#"spec.x: Invalid value: {"a":"c"}: no"#,
            ),
            (
                FieldError::invalid(&p, json!(["<&>"]), ""),
                r#"spec.x: Invalid value: ["\u003c\u0026\u003e"]"#,
            ),
            (FieldError::required(&p, ""), "spec.x: Required value"),
            (
                FieldError::required(&p, "name or generateName is required"),
                "spec.x: Required value: name or generateName is required",
            ),
            (
                FieldError::not_found(&p, "none"),
                r#"spec.x: Not found: "none""#,
            ),
            (
                FieldError::duplicate(&p, json!({"name": "a"})),
                r#"spec.x: Duplicate value: {"name":"a"}"#,
            ),
            (
                FieldError::not_supported(&p, "Sometimes", &["Always", "Never"]),
                r#"spec.x: Unsupported value: "Sometimes": supported values: "Always", "Never""#,
            ),
            (
                FieldError::not_supported(&p, Value::Null, &["storage"]),
                r#"spec.x: Unsupported value: null: supported values: "storage""#,
            ),
            (
                FieldError::forbidden(&p, "field is immutable"),
                "spec.x: Forbidden: field is immutable",
            ),
            (
                FieldError::too_long(&p, 5),
                "spec.x: Too long: may not be more than 5 bytes",
            ),
            (
                FieldError::too_many(&p, 4, 3),
                "spec.x: Too many: 4: must have at most 3 items",
            ),
            (
                FieldError::too_many(&p, 2, 1),
                "spec.x: Too many: 2: must have at most 1 item",
            ),
            (
                FieldError::type_invalid(
                    &p,
                    "string",
                    "spec.x in body must be of type boolean: \"string\"",
                ),
                "spec.x: Invalid value: \"string\": spec.x in body must be of type boolean: \"string\"",
            ),
            (
                FieldError::internal(&p, "boom"),
                "spec.x: Internal error: boom",
            ),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(
            FieldError::type_invalid(&p, 1, "").reason(),
            "FieldValueTypeInvalid"
        );
    }

    #[test]
    fn floats_print_as_in_go() {
        for (float, expected) in [
            (10.0, "10"),
            (0.5, "0.5"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (1e20, "100000000000000000000"),
            (0.0, "0"),
        ] {
            assert_eq!(go_float(float), expected);
        }
    }

    #[test]
    fn aggregates_drop_repetitions() {
        let p = FieldPath::new("a");
        let one = FieldError::required(&p, "");
        assert_eq!(aggregate(std::slice::from_ref(&one)), "a: Required value");
        assert_eq!(aggregate(&[one.clone(), one.clone()]), "a: Required value");
        let two = FieldError::required(&FieldPath::new("b"), "");
        assert_eq!(
            aggregate(&[one, two]),
            "[a: Required value, b: Required value]"
        );
    }
}
