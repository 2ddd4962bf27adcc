//! What the versions of a CRD must be like.
//!
//! Upstream's internal form has what all versions say alike (schema, subresources, columns, selectable fields) once,
//! beside the versions; its errors are reported there. So are ours: once, at `spec.validation` and the like.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use schema::Schema;
use serde_json::Value;

use super::validate::text;
use super::{columns, defaults, selectable};
use crate::stack;

/// Longest text of `deprecationWarning`.
const MAX_WARNING: usize = 256;

/// What a schema may say at its root when its objects have a status of their own, so that the part for `status` can
/// be judged by itself.
const ROOT_KEYWORDS: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// The parts of a version that upstream keeps beside the versions when all say the same.
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    fn of(versions: &[Value]) -> Self {
        let alike = |key: &str| {
            let part = |version: &Value| {
                let part = version.get(key).filter(|part| !part.is_null());
                part.cloned().unwrap_or_default()
            };
            let first = versions.first().map(part);
            versions.iter().all(|version| Some(part(version)) == first)
        };
        Shared {
            schema: alike("schema"),
            subresources: alike("subresources"),
            columns: alike("additionalPrinterColumns"),
            selectable: alike("selectableFields"),
        }
    }
}

fn has_status(version: &Value) -> bool {
    let status = version.pointer("/subresources/status");
    status.is_some_and(|status| !status.is_null())
}

/// Everything wrong with the versions of a CRD.
pub(super) fn validate(object: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    let list = object
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let path = spec.child("versions");
    let shared = Shared::of(list);
    let mut names = Vec::new();
    for (index, version) in list.iter().enumerate() {
        let at = path.index(index);
        let given = text(version, "/name");
        let wrong = name::dns1035_label(given).join(",");
        if !wrong.is_empty() {
            if index == 0 {
                // The old single `version` is the first of the list.
                let old = spec.child("version");
                errors.push(FieldError::invalid(&old, given, wrong.clone()));
            }
            errors.push(FieldError::invalid(&at.child("name"), given, wrong));
        }
        names.push(given);
        deprecation(version, &at.child("deprecationWarning"), errors);
        if version
            .pointer("/schema/openAPIV3Schema")
            .is_none_or(Value::is_null)
        {
            let path = at.child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&path, ""));
        }
        // What all have in common is judged with the first, and reported beside the versions.
        let place = |shared: bool, own: &str, common: &str| match (shared, index) {
            (false, _) => Some(at.child(own)),
            (true, 0) => Some(spec.child(common)),
            (true, _) => None,
        };
        if let Some(at) = place(shared.schema, "schema", "validation") {
            let status = if shared.schema {
                list.iter().any(has_status)
            } else {
                has_status(version)
            };
            schema(version, status, &at.child("openAPIV3Schema"), errors);
        }
        if let Some(at) = place(shared.subresources, "subresources", "subresources") {
            columns::subresources(version, &at, errors);
        }
        let key = "additionalPrinterColumns";
        if let Some(at) = place(shared.columns, key, key) {
            columns::validate(version, &at, errors);
        }
        let key = "selectableFields";
        if let Some(at) = place(shared.selectable, key, key) {
            selectable::validate(version, &at, errors);
        }
    }
    let mut wrong = |detail: &str| {
        let given = Value::Array(list.to_vec());
        errors.push(FieldError::invalid(&path, given, detail));
    };
    let unique = (names.iter().enumerate())
        .all(|(index, name)| !names.iter().take(index).any(|earlier| earlier == name));
    if !unique {
        wrong("must contain unique version names");
    }
    let is_storage = |version: &&Value| version.get("storage") == Some(&Value::Bool(true));
    if list.iter().filter(is_storage).count() != 1 {
        wrong("must have exactly one version marked as storage version");
    }
}

fn deprecation(version: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return;
    };
    let mut wrong = |detail: String| errors.push(FieldError::invalid(path, warning, detail));
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return wrong("can only be set for deprecated versions".to_owned());
    }
    if warning.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    if warning.len() > MAX_WARNING {
        wrong(format!("must be <= {MAX_WARNING} characters long"));
    }
    if let Some(at) = warning.find(char::is_control) {
        wrong(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

fn schema(version: &Value, status: bool, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let document = version.pointer("/schema/openAPIV3Schema");
    let Some(document) = document.filter(|document| !document.is_null()) else {
        return;
    };
    if status {
        root_with_status(document, path, errors);
    }
    let schema = match Schema::parse_at(document, path) {
        Ok(schema) => schema,
        Err(found) => return errors.extend(found),
    };
    if !has_rules(document) {
        return;
    }
    let judged = stack::compiling(|| {
        cel::rules::compile(&schema, path)?;
        let found = defaults::against_rules(&schema, path);
        if found.is_empty() { Ok(()) } else { Err(found) }
    });
    match judged {
        Some(Ok(())) => {}
        Some(Err(found)) => errors.extend(found),
        None => errors.push(FieldError::internal(path, stack::NO_STACK)),
    }
}

/// Whether a keyword says something: upstream cannot tell a zero value from none.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(given) => *given,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

fn root_with_status(document: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Some(keywords) = document.as_object() else {
        return;
    };
    let ty = text(document, "/type");
    if !ty.is_empty() && ty != "object" {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(&path.child("type"), ty, detail));
        return;
    }
    let extra = keywords
        .iter()
        .any(|(key, value)| !ROOT_KEYWORDS.contains(&key.as_str()) && says_something(value));
    if extra {
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            ROOT_KEYWORDS.join(" ")
        );
        errors.push(FieldError::invalid(path, document.clone(), detail));
    }
}

/// Whether a schema says anything in expressions; most say nothing.
fn has_rules(document: &Value) -> bool {
    match document {
        Value::Object(map) => {
            map.contains_key("x-kubernetes-validations") || map.values().any(has_rules)
        }
        Value::Array(list) => list.iter().any(has_rules),
        _ => false,
    }
}
