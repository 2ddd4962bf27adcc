//! What is wrong with policy and binding objects.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::selector::label_selector_errors;
use serde_json::Value as Json;

use super::compile::{
    expressions, is_identifier, list, mutating, qualified, text, webhook_conditions,
};

const REASONS: [&str; 4] = [
    "Forbidden",
    "Invalid",
    "RequestEntityTooLarge",
    "Unauthorized",
];

/// Entries of each list of a policy.
const ENTRIES: usize = 64;

/// What is wrong with a `ValidatingAdmissionPolicy`, expressions included.
#[must_use]
pub fn policy(object: &Json) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = FieldPath::new("spec");
    let Some(spec) = object.get("spec").filter(|spec| spec.is_object()) else {
        errors.push(FieldError::required(&at, ""));
        return errors;
    };
    frame(spec, &at, &mut errors);
    if list(spec, "validations").is_empty() && list(spec, "auditAnnotations").is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&at.child("validations"), detail));
        errors.push(FieldError::required(&at.child("auditAnnotations"), detail));
    }
    validations(spec, &at.child("validations"), &mut errors);
    annotations(spec, &at.child("auditAnnotations"), &mut errors);
    let entries = [
        "matchConditions",
        "variables",
        "validations",
        "auditAnnotations",
    ];
    if !too_many(spec, &entries, &at, &mut errors) {
        expressions(spec, &at, &mut errors);
    }
    errors
}

/// Complains of lists with too many entries.
fn too_many(spec: &Json, lists: &[&str], at: &FieldPath, errors: &mut Vec<FieldError>) -> bool {
    let before = errors.len();
    for key in lists {
        let given = list(spec, key).len();
        if given > ENTRIES {
            errors.push(FieldError::too_many(&at.child(key), given, ENTRIES));
        }
    }
    errors.len() > before
}

/// What policies of both kinds have.
fn frame(spec: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    one_of(spec, "failurePolicy", &["Fail", "Ignore"], at, errors);
    if let Some(kind) = spec.get("paramKind").filter(|kind| kind.is_object()) {
        param_kind(kind, &at.child("paramKind"), errors);
    }
    match spec
        .get("matchConstraints")
        .filter(|given| given.is_object())
    {
        None => errors.push(FieldError::required(&at.child("matchConstraints"), "")),
        Some(given) => {
            let at = at.child("matchConstraints");
            resources(given, &at, errors);
            if list(given, "resourceRules").is_empty() {
                errors.push(FieldError::required(&at.child("resourceRules"), ""));
            }
        }
    }
    named(
        list(spec, "matchConditions"),
        &at.child("matchConditions"),
        errors,
    );
    variables(spec, &at.child("variables"), errors);
}

/// What is wrong with a `MutatingAdmissionPolicy`, expressions included.
#[must_use]
pub fn mutating_policy(object: &Json) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = FieldPath::new("spec");
    let Some(spec) = object.get("spec").filter(|spec| spec.is_object()) else {
        errors.push(FieldError::required(&at, ""));
        return errors;
    };
    frame(spec, &at, &mut errors);
    if let Some(given) = spec.get("matchConstraints") {
        mutable_operations(given, &at.child("matchConstraints"), &mut errors);
    }
    let given = list(spec, "mutations");
    if given.is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(FieldError::required(&at.child("mutations"), detail));
    }
    for (index, given) in given.iter().enumerate() {
        mutation(given, &at.child("mutations").index(index), &mut errors);
    }
    required(spec, "reinvocationPolicy", &at, &mut errors);
    let known = ["IfNeeded", "Never"];
    one_of(spec, "reinvocationPolicy", &known, &at, &mut errors);
    let entries = ["matchConditions", "variables", "mutations"];
    if !too_many(spec, &entries, &at, &mut errors) {
        mutating(spec, &at, &mut errors);
    }
    errors
}

/// A deletion has no object that could be changed.
fn mutable_operations(given: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let known = ["*", "CONNECT", "CREATE", "UPDATE"];
    let at = at.child("resourceRules").child("operations");
    for rule in list(given, "resourceRules") {
        for given in list(rule, "operations").iter().filter_map(Json::as_str) {
            if !known.contains(&given) {
                errors.push(FieldError::not_supported(&at, given, &known));
            }
        }
    }
}

fn mutation(given: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let both = ["JSONPatch", "ApplyConfiguration"];
    let (own, other) = match text(given, "patchType") {
        "" => {
            errors.push(FieldError::required(&at.child("patchType"), ""));
            return;
        }
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        unknown => {
            let at = at.child("patchType");
            let known = ["ApplyConfiguration", "JSONPatch"];
            errors.push(FieldError::not_supported(&at, unknown, &known));
            return;
        }
    };
    let ty = both[usize::from(own != "jsonPatch")];
    match given.get(own).filter(|given| given.is_object()) {
        None => {
            let detail = format!("must be specified when patchType is {ty}");
            errors.push(FieldError::required(&at.child(own), detail));
        }
        Some(given) => required(given, "expression", &at.child(own), errors),
    }
    if given.get(other).is_some_and(Json::is_object) {
        let detail = format!("must not be specified when patchType is {ty}");
        let shown = format!("{{{other}}}");
        errors.push(FieldError::invalid(&at.child(other), shown, detail));
    }
}

fn one_of(value: &Json, key: &str, known: &[&str], at: &FieldPath, errors: &mut Vec<FieldError>) {
    let given = text(value, key);
    if !given.is_empty() && !known.contains(&given) {
        errors.push(FieldError::not_supported(&at.child(key), given, known));
    }
}

fn required(value: &Json, key: &str, at: &FieldPath, errors: &mut Vec<FieldError>) {
    if text(value, key).trim().is_empty() {
        errors.push(FieldError::required(&at.child(key), ""));
    }
}

fn param_kind(kind: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    required(kind, "apiVersion", at, errors);
    required(kind, "kind", at, errors);
    let version = text(kind, "apiVersion");
    if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid(
            &at.child("apiVersion"),
            version,
            detail,
        ));
    }
}

fn resources(given: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    one_of(given, "matchPolicy", &["Equivalent", "Exact"], at, errors);
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = given.get(key) {
            errors.extend(label_selector_errors(selector, &at.child(key)));
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list(given, key).iter().enumerate() {
            resource_rule(rule, &at.child(key).index(index), errors);
        }
    }
}

fn resource_rule(rule: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for key in ["operations", "apiGroups", "apiVersions", "resources"] {
        let given = list(rule, key);
        if given.is_empty() {
            errors.push(FieldError::required(&at.child(key), ""));
        }
        if given.len() > 1 && given.iter().any(|one| one == "*") {
            let detail = "if '*' is present, must not specify other values";
            errors.push(FieldError::invalid(
                &at.child(key),
                Json::Array(given.to_vec()),
                detail,
            ));
        }
    }
    let operations = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (index, given) in list(rule, "operations").iter().enumerate() {
        let given = given.as_str().unwrap_or_default();
        if !operations.contains(&given) {
            let at = at.child("operations").index(index);
            errors.push(FieldError::not_supported(&at, given, &operations));
        }
    }
    one_of(rule, "scope", &["*", "Cluster", "Namespaced"], at, errors);
}

/// What is wrong with the `matchConditions` of a webhook, expressions included.
#[must_use]
pub fn match_conditions(given: &[Json], at: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if given.len() > ENTRIES {
        errors.push(FieldError::too_many(at, given.len(), ENTRIES));
        return errors;
    }
    named(given, at, &mut errors);
    webhook_conditions(given, at, &mut errors);
    errors
}

/// Names and presence of match conditions.
fn named(given: &[Json], at: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut seen = Vec::new();
    for (index, condition) in given.iter().enumerate() {
        let at = at.index(index);
        let given = text(condition, "name");
        if given.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        for detail in qualified(given).into_iter().filter(|_| !given.is_empty()) {
            errors.push(FieldError::invalid(&at.child("name"), given, detail));
        }
        if seen.contains(&given) {
            errors.push(FieldError::duplicate(&at.child("name"), given));
        }
        seen.push(given);
        required(condition, "expression", &at, errors);
    }
}

fn variables(spec: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut seen = Vec::new();
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        let at = at.index(index);
        let given = text(variable, "name");
        if given.is_empty() {
            errors.push(FieldError::required(
                &at.child("name"),
                "name is not specified",
            ));
        } else if !is_identifier(given) {
            let detail = "name is not a valid CEL identifier";
            errors.push(FieldError::invalid(&at.child("name"), given, detail));
        } else if seen.contains(&given) {
            errors.push(FieldError::duplicate(&at.child("name"), given));
        }
        seen.push(given);
        if text(variable, "expression").trim().is_empty() {
            let detail = "expression is not specified";
            errors.push(FieldError::required(&at.child("expression"), detail));
        }
    }
}

fn validations(spec: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for (index, given) in list(spec, "validations").iter().enumerate() {
        let at = at.index(index);
        if text(given, "expression").trim().is_empty() {
            let detail = "expression is not specified";
            errors.push(FieldError::required(&at.child("expression"), detail));
        }
        let message = text(given, "message");
        if !message.is_empty() && message.trim().is_empty() {
            let detail = "message must be non-empty if specified";
            errors.push(FieldError::invalid(&at.child("message"), message, detail));
        } else if message.contains(['\n', '\r']) {
            let detail = "message must not contain line breaks";
            errors.push(FieldError::invalid(&at.child("message"), message, detail));
        } else if message.is_empty() && text(given, "expression").trim().contains('\n') {
            let detail = "message must be specified if expression contains line breaks";
            errors.push(FieldError::required(&at.child("message"), detail));
        }
        let made = text(given, "messageExpression");
        if !made.is_empty() && made.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(FieldError::invalid(
                &at.child("messageExpression"),
                made,
                detail,
            ));
        }
        one_of(given, "reason", &REASONS, &at, errors);
    }
}

fn annotations(spec: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut seen = Vec::new();
    for (index, given) in list(spec, "auditAnnotations").iter().enumerate() {
        let at = at.index(index);
        let key = text(given, "key");
        if key.is_empty() {
            errors.push(FieldError::required(&at.child("key"), ""));
        } else {
            for detail in qualified(key) {
                errors.push(FieldError::invalid(&at.child("key"), key, detail));
            }
            if seen.contains(&key) {
                errors.push(FieldError::duplicate(&at.child("key"), key));
            }
        }
        seen.push(key);
        if text(given, "valueExpression").trim().is_empty() {
            let detail = "valueExpression is not specified";
            errors.push(FieldError::required(&at.child("valueExpression"), detail));
        }
    }
}

/// What is wrong with a `MutatingAdmissionPolicyBinding`.
#[must_use]
pub fn mutating_binding(object: &Json) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = FieldPath::new("spec");
    let Some(spec) = object.get("spec").filter(|spec| spec.is_object()) else {
        errors.push(FieldError::required(&at, ""));
        return errors;
    };
    reference(spec, &at, &mut errors);
    if let Some(given) = spec.get("matchResources") {
        mutable_operations(given, &at.child("matchResources"), &mut errors);
    }
    errors
}

/// What bindings of both kinds have.
fn reference(spec: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    required(spec, "policyName", at, errors);
    if let Some(given) = spec.get("paramRef").filter(|given| given.is_object()) {
        param_ref(given, &at.child("paramRef"), errors);
    }
    if let Some(given) = spec.get("matchResources").filter(|given| given.is_object()) {
        resources(given, &at.child("matchResources"), errors);
    }
}

/// What is wrong with a `ValidatingAdmissionPolicyBinding`.
#[must_use]
pub fn binding(object: &Json) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = FieldPath::new("spec");
    let Some(spec) = object.get("spec").filter(|spec| spec.is_object()) else {
        errors.push(FieldError::required(&at, ""));
        return errors;
    };
    reference(spec, &at, &mut errors);
    actions(
        list(spec, "validationActions"),
        &at.child("validationActions"),
        &mut errors,
    );
    errors
}

fn param_ref(given: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let selector = given.get("selector").filter(|s| s.is_object());
    match (text(given, "name"), selector) {
        ("", None) => {
            let detail = "one of name or selector must be specified";
            errors.push(FieldError::required(&at.child("name"), detail));
        }
        ("", Some(selector)) => {
            errors.extend(label_selector_errors(selector, &at.child("selector")));
        }
        (_, Some(_)) => {
            let detail = "name and selector are mutually exclusive";
            errors.push(FieldError::forbidden(&at.child("name"), detail));
        }
        (_, None) => {}
    }
    let known = ["Allow", "Deny"];
    match text(given, "parameterNotFoundAction") {
        "" => errors.push(FieldError::required(
            &at.child("parameterNotFoundAction"),
            "",
        )),
        given if known.contains(&given) => {}
        other => errors.push(FieldError::not_supported(
            &at.child("parameterNotFoundAction"),
            other,
            &known,
        )),
    }
}

fn actions(given: &[Json], at: &FieldPath, errors: &mut Vec<FieldError>) {
    if given.is_empty() {
        let detail = "at least one validation action is required";
        errors.push(FieldError::required(at, detail));
    }
    let known = ["Audit", "Deny", "Warn"];
    let mut seen = Vec::new();
    for (index, action) in given.iter().enumerate() {
        let action = action.as_str().unwrap_or_default();
        if !known.contains(&action) {
            errors.push(FieldError::not_supported(&at.index(index), action, &known));
        }
        if seen.contains(&action) {
            errors.push(FieldError::duplicate(&at.index(index), action));
        }
        seen.push(action);
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(at, Json::Array(given.to_vec()), detail));
    }
}
