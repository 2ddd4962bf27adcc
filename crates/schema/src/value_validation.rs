//! The restrictions of a schema on one value: enums, bounds, patterns, formats, and their combinations.

use apimachinery::field::FieldErrorKind as Kind;
use apimachinery::name;
use serde_json::{Map, Number, Value};

use crate::format;
use crate::model::Schema;
use crate::validate::Validator;

/// Checks what concerns the value itself and not its children.
pub(crate) fn scalar(at: &mut Validator<'_>, schema: &Schema, value: &Value) {
    if !schema.enum_.is_empty() && !schema.enum_.iter().any(|one| same(one, value)) {
        let supported: Vec<String> = schema.enum_.iter().map(quoted).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        at.push(Kind::NotSupported, Some(value.clone()), detail);
    }
    match value {
        Value::String(text) => string(at, schema, text),
        Value::Number(number) => numeric(at, schema, number),
        _ => {}
    }
}

/// Equality of JSON values in which `1` and `1.0` are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// A value in a list of supported values: always in quotes.
fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => format!("{:?}", other.to_string()),
    }
}

fn string(at: &mut Validator<'_>, schema: &Schema, text: &str) {
    let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(max) = schema.bounds.max_length
        && length() > max
    {
        let detail = format!("may not be more than {max} bytes");
        at.push(Kind::TooLong, Some(text.into()), detail);
    }
    if let Some(min) = schema.bounds.min_length
        && length() < min
    {
        let rest = format!("should be at least {min} chars long");
        at.body(Kind::Invalid, text.into(), &rest);
    }
    if let Some(pattern) = &schema.pattern {
        // A malformed pattern never got past parsing; were it here, it must not let anything pass.
        if !pattern.matches(text) {
            let rest = format!("should match '{}'", pattern.as_str());
            at.body(Kind::Invalid, text.into(), &rest);
        }
    }
    if let Some(format) = &schema.format
        && !schema.int_or_string
        && !format::string_is(schema.ty, format, text)
    {
        let rest = format!("must be of type {format}: {text:?}");
        at.body(Kind::TypeInvalid, text.into(), &rest);
    }
}

fn numeric(at: &mut Validator<'_>, schema: &Schema, number: &Number) {
    let Some(value) = number.as_f64() else {
        return;
    };
    let bad = || Value::Number(number.clone());
    if let Some(format) = &schema.format
        && !format::number_is(format, number)
    {
        let ty = schema.ty.map_or("number", crate::SchemaType::as_str);
        let name = at.name();
        let detail = format!("Checked value must be of type {ty} with format {format} in {name}");
        at.push(Kind::Invalid, Some("".into()), detail);
    }
    if let Some(factor) = schema.bounds.multiple_of
        && !is_multiple(value, factor)
    {
        let rest = format!("should be a multiple of {factor}");
        at.body(Kind::Invalid, bad(), &rest);
    }
    if let Some(max) = schema.bounds.maximum {
        if schema.bounds.exclusive_maximum && value >= max {
            at.body(Kind::Invalid, bad(), &format!("should be less than {max}"));
        } else if value > max {
            let rest = format!("should be less than or equal to {max}");
            at.body(Kind::Invalid, bad(), &rest);
        }
    }
    if let Some(min) = schema.bounds.minimum {
        if schema.bounds.exclusive_minimum && value <= min {
            at.body(
                Kind::Invalid,
                bad(),
                &format!("should be greater than {min}"),
            );
        } else if value < min {
            let rest = format!("should be greater than or equal to {min}");
            at.body(Kind::Invalid, bad(), &rest);
        }
    }
}

fn is_multiple(value: f64, factor: f64) -> bool {
    if factor <= 0.0 {
        return true;
    }
    let quotient = value / factor;
    (quotient - quotient.round()).abs() < 1e-9
}

/// Checks `allOf`, `anyOf`, `oneOf` and `not`.
///
/// Of alternatives that all fail, the errors of the first are reported with the summary, as a hint.
pub(crate) fn junctors<'v>(at: &mut Validator<'v>, schema: &Schema, value: &'v Value) {
    let attempt = |at: &Validator<'v>, nested: &Schema| {
        let mut fork = at.fork();
        fork.value(nested, value, None);
        fork.errors
    };
    if !schema.logic.any_of.is_empty() && !schema.int_or_string_pattern() {
        let mut first = None;
        let matched = schema.logic.any_of.iter().any(|nested| {
            let errors = attempt(at, nested);
            let ok = errors.is_empty();
            first.get_or_insert(errors);
            ok
        });
        if !matched {
            summary(at, "must validate at least one schema (anyOf)");
            at.errors.extend(first.unwrap_or_default());
        }
    }
    if !schema.logic.one_of.is_empty() {
        let mut first = None;
        let mut matches = 0;
        for nested in &schema.logic.one_of {
            let errors = attempt(at, nested);
            matches += usize::from(errors.is_empty());
            first.get_or_insert(errors);
        }
        if matches == 0 {
            let detail = "must validate one and only one schema (oneOf). Found none valid";
            summary(at, detail);
            at.errors.extend(first.unwrap_or_default());
        } else if matches > 1 {
            let detail = format!(
                "must validate one and only one schema (oneOf). Found {matches} valid alternatives"
            );
            summary(at, &detail);
        }
    }
    let mut failed = 0;
    for nested in &schema.logic.all_of {
        let errors = attempt(at, nested);
        failed += usize::from(!errors.is_empty());
        at.errors.extend(errors);
    }
    if failed > 0 {
        let none = failed == schema.logic.all_of.len();
        let none = if none { ". None validated" } else { "" };
        summary(at, &format!("must validate all the schemas (allOf){none}"));
    }
    if let Some(nested) = &schema.logic.not
        && attempt(at, nested).is_empty()
    {
        summary(at, "must not validate the schema (not)");
    }
}

fn summary(at: &mut Validator<'_>, rest: &str) {
    let detail = format!("\"{}\" {rest}", at.name());
    at.push(Kind::Invalid, Some("".into()), detail);
}

/// Checks what every embedded object needs: `apiVersion`, `kind`, and valid names in its metadata.
pub(crate) fn embedded_resource(at: &mut Validator<'_>, object: &Map<String, Value>) {
    let here = at.path();
    let mut report = |kind, path, bad: Option<Value>, detail: String| {
        let error = crate::decode::problem(kind, path, bad, detail);
        at.errors.push(error);
    };
    for field in ["apiVersion", "kind"] {
        let path = here.child(field);
        match object.get(field) {
            None => report(Kind::Required, path, None, String::new()),
            Some(Value::String(text)) if text.is_empty() => {
                let detail = "must not be empty".to_owned();
                report(Kind::Invalid, path, Some("".into()), detail);
            }
            Some(Value::String(text)) if field == "kind" => {
                for detail in name::dns1035_label(&text.to_lowercase()) {
                    let detail =
                        format!("may have mixed case, but should otherwise match: {detail}");
                    report(
                        Kind::Invalid,
                        path.clone(),
                        Some(text.as_str().into()),
                        detail,
                    );
                }
            }
            Some(Value::String(text)) => {
                if text.matches('/').count() > 1 {
                    let detail = format!("unexpected GroupVersion string: {text}");
                    report(Kind::Invalid, path, Some(text.as_str().into()), detail);
                }
            }
            Some(other) => {
                let detail = "must be a string".to_owned();
                report(Kind::Invalid, path, Some(other.clone()), detail);
            }
        }
    }
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
        return;
    };
    let here = here.child("metadata");
    let empty = Map::new();
    let map = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_object)
            .unwrap_or(&empty)
    };
    for (key, value) in map("labels") {
        let path = here.child("labels");
        for detail in name::qualified_name(key) {
            report(
                Kind::Invalid,
                path.clone(),
                Some(key.as_str().into()),
                detail,
            );
        }
        for detail in value.as_str().map(name::label_value).unwrap_or_default() {
            report(Kind::Invalid, path.clone(), Some(value.clone()), detail);
        }
    }
    for key in map("annotations").keys() {
        for detail in name::qualified_name(&key.to_lowercase()) {
            let path = here.child("annotations");
            report(Kind::Invalid, path, Some(key.as_str().into()), detail);
        }
    }
    let finalizers = metadata.get("finalizers").and_then(Value::as_array);
    for finalizer in finalizers.into_iter().flatten() {
        for detail in (finalizer.as_str().map(name::qualified_name)).unwrap_or_default() {
            let path = here.child("finalizers");
            report(Kind::Invalid, path, Some(finalizer.clone()), detail);
        }
    }
    let namespace = metadata.get("namespace").and_then(Value::as_str);
    for detail in (namespace.filter(|namespace| !namespace.is_empty()))
        .map(name::dns1123_label)
        .unwrap_or_default()
    {
        let path = here.child("namespace");
        report(Kind::Invalid, path, namespace.map(Value::from), detail);
    }
    for field in ["name", "generateName"] {
        let text = metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default();
        for detail in name::path_segment(text) {
            report(Kind::Invalid, here.child(field), Some(text.into()), detail);
        }
    }
}
