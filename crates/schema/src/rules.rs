//! What can be said about CEL rules (`x-kubernetes-validations`) without compiling them.

use apimachinery::field::{FieldError, FieldErrorKind as Kind, FieldPath};
use serde_json::Value;

use crate::decode::problem;
use crate::model::{Schema, ValidationRule};

/// The reasons that a rule may give to its cause.
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// Checks the rules of one schema.
pub(crate) fn check(schema: &Schema, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in schema.validations.iter().enumerate() {
        let at = path.child("x-kubernetes-validations").index(index);
        check_rule(schema, rule, &at, &mut errors);
    }
    errors
}

fn check_rule(
    schema: &Schema,
    rule: &ValidationRule,
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    let mut report = |kind, field: &str, bad: Option<&str>, detail: &str| {
        let bad = bad.map(Value::from);
        errors.push(problem(kind, path.child(field), bad, detail));
    };
    if rule.rule.trim().is_empty() {
        report(Kind::Required, "rule", None, "rule is not specified");
    }
    match &rule.message {
        Some(message) if message.trim().is_empty() => {
            let detail = "must be non-empty if specified";
            report(Kind::Invalid, "message", Some(message), detail);
        }
        Some(message) if message.contains(['\n', '\r']) => {
            let detail = "must not contain line breaks";
            report(Kind::Invalid, "message", Some(message), detail);
        }
        None if rule.message_expression.is_none() && rule.rule.trim().contains(['\n', '\r']) => {
            let detail = "message must be specified if rule contains line breaks";
            report(Kind::Required, "message", None, detail);
        }
        _ => {}
    }
    if let Some(expression) = &rule.message_expression
        && expression.trim().is_empty()
    {
        let detail = "must be non-empty if specified";
        report(Kind::Required, "messageExpression", None, detail);
    }
    if let Some(reason) = &rule.reason
        && !REASONS.contains(&reason.as_str())
    {
        let supported: Vec<String> = REASONS.iter().map(|one| format!("{one:?}")).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        report(Kind::NotSupported, "reason", Some(reason), &detail);
    }
    let field = rule.field_path.as_deref().unwrap_or_default();
    if field.is_empty() {
        return;
    }
    let faults = [
        (field.trim().is_empty(), "must be non-empty if specified"),
        (field.contains(['\n', '\r']), "must not contain line breaks"),
        (!leads_somewhere(schema, field), "must be a valid path"),
    ];
    for (_, detail) in faults.iter().filter(|(wrong, _)| *wrong) {
        report(Kind::Invalid, "fieldPath", Some(field), detail);
    }
}

/// Whether a path of the form `.a.b['c d']` names a field of the schema.
fn leads_somewhere(schema: &Schema, path: &str) -> bool {
    let mut schema = schema;
    let mut rest = path;
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let (name, tail) = if let Some(tail) = rest.strip_prefix("['") {
            match tail.split_once("']") {
                Some(parts) => parts,
                None => return false,
            }
        } else if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            tail.split_at(end)
        } else {
            return false;
        };
        let Some(member) = schema.member(name) else {
            return false;
        };
        (schema, rest) = (member, tail);
    }
    true
}
