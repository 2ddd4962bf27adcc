//! Defaults and validation of FlowSchemas and PriorityLevelConfigurations, as Kubernetes has them.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::strategy::{Context, Strategy};

/// Strategy of `flowschemas`.
pub(crate) struct FlowSchemas;
/// Strategy of `prioritylevelconfigurations`.
pub(crate) struct Levels;

fn text<'a>(object: &'a Value, at: &str) -> &'a str {
    object
        .pointer(at)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn default(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    map.entry(key).or_insert_with(|| value.into());
}

fn complete_schema(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        // Zero stands for unset.
        if spec.get("matchingPrecedence").is_none_or(|v| *v == 0) {
            spec.insert("matchingPrecedence".to_owned(), json!(1000));
        }
    }
}

fn complete_level(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(exempt) = spec.get_mut("exempt").and_then(Value::as_object_mut) {
        default(exempt, "nominalConcurrencyShares", 0);
        default(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = spec.get_mut("limited").and_then(Value::as_object_mut) {
        default(limited, "nominalConcurrencyShares", 30);
        default(limited, "lendablePercent", 0);
        let queuing = limited
            .get_mut("limitResponse")
            .and_then(|r| r.get_mut("queuing"))
            .and_then(Value::as_object_mut);
        if let Some(queuing) = queuing {
            default(queuing, "queues", 64);
            default(queuing, "handSize", 8);
            default(queuing, "queueLengthLimit", 50);
        }
    }
}

#[async_trait]
impl Strategy for FlowSchemas {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_schema(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_schema(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(schema_errors(object))
    }
}

#[async_trait]
impl Strategy for Levels {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_level(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_level(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(level_errors(object))
    }
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn schema_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = FieldPath::new("spec");
    let precedence = object
        .pointer("/spec/matchingPrecedence")
        .and_then(Value::as_i64)
        .unwrap_or(1000);
    let at = spec.child("matchingPrecedence");
    if precedence <= 0 {
        errors.push(FieldError::invalid(
            &at,
            precedence,
            "must be a positive value",
        ));
    } else if precedence > 10_000 {
        errors.push(FieldError::invalid(
            &at,
            precedence,
            "must not be greater than 10000",
        ));
    } else if precedence == 1 && text(object, "/metadata/name") != "exempt" {
        errors.push(FieldError::invalid(
            &at,
            precedence,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        ));
    }
    if let Some(method) = object.pointer("/spec/distinguisherMethod/type")
        && !matches!(method.as_str(), Some("ByUser" | "ByNamespace"))
    {
        errors.push(FieldError::not_supported(
            &spec.child("distinguisherMethod").child("type"),
            method.as_str().unwrap_or_default(),
            &["ByNamespace", "ByUser"],
        ));
    }
    let level = text(object, "/spec/priorityLevelConfiguration/name");
    if level.is_empty() {
        errors.push(FieldError::required(
            &spec.child("priorityLevelConfiguration").child("name"),
            "must reference a priority level",
        ));
    }
    let rules = object
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for (index, rule) in rules.iter().enumerate() {
        rule_errors(rule, &spec.child("rules").index(index), &mut errors);
    }
    errors
}

fn rule_errors(rule: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let subjects = items(rule, "subjects");
    if subjects.is_empty() {
        errors.push(FieldError::required(
            &at.child("subjects"),
            "subjects must contain at least one value",
        ));
    }
    for (index, subject) in subjects.iter().enumerate() {
        let at = at.child("subjects").index(index);
        let (field, name) = match text(subject, "/kind") {
            "User" => ("user", "/user/name"),
            "Group" => ("group", "/group/name"),
            "ServiceAccount" => ("serviceAccount", "/serviceAccount/name"),
            other => {
                errors.push(FieldError::not_supported(
                    &at.child("kind"),
                    other,
                    &["Group", "ServiceAccount", "User"],
                ));
                continue;
            }
        };
        if text(subject, name).is_empty() {
            errors.push(FieldError::required(&at.child(field).child("name"), ""));
        }
        if field == "serviceAccount" && text(subject, "/serviceAccount/namespace").is_empty() {
            errors.push(FieldError::required(
                &at.child(field).child("namespace"),
                "must specify namespace for service account",
            ));
        }
    }
    if items(rule, "resourceRules").is_empty() && items(rule, "nonResourceRules").is_empty() {
        errors.push(FieldError::required(
            at,
            "at least one of resourceRules and nonResourceRules has to be non-empty",
        ));
    }
    for (index, resource) in items(rule, "resourceRules").iter().enumerate() {
        let at = at.child("resourceRules").index(index);
        for field in ["verbs", "apiGroups", "resources"] {
            if items(resource, field).is_empty() {
                errors.push(FieldError::required(&at.child(field), ""));
            }
        }
        let cluster = resource.get("clusterScope").is_some_and(|v| v == true);
        if !cluster && items(resource, "namespaces").is_empty() {
            errors.push(FieldError::required(
                &at.child("namespaces"),
                "resource rules that are not cluster scoped must supply at least one namespace",
            ));
        }
    }
    for (index, path) in items(rule, "nonResourceRules").iter().enumerate() {
        let at = at.child("nonResourceRules").index(index);
        for field in ["verbs", "nonResourceURLs"] {
            if items(path, field).is_empty() {
                errors.push(FieldError::required(&at.child(field), ""));
            }
        }
    }
}

fn level_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = FieldPath::new("spec");
    let number = |at: &str| object.pointer(at).and_then(Value::as_i64);
    let has = |at: &str| object.pointer(at).is_some_and(|v| !v.is_null());
    let name = text(object, "/metadata/name");
    match text(object, "/spec/type") {
        "Exempt" => {
            if name != "exempt" {
                errors.push(FieldError::invalid(
                    &spec.child("type"),
                    "Exempt",
                    "type must be 'Limited' unless the name is 'exempt'",
                ));
            }
            if has("/spec/limited") {
                errors.push(FieldError::forbidden(
                    &spec.child("limited"),
                    "must be nil if the type is not Limited",
                ));
            }
        }
        "Limited" => {
            if name == "exempt" {
                errors.push(FieldError::invalid(
                    &spec.child("type"),
                    "Limited",
                    "type must be 'Exempt' if and only if name is 'exempt'",
                ));
            }
            if has("/spec/exempt") {
                errors.push(FieldError::forbidden(
                    &spec.child("exempt"),
                    "must be nil if the type is Limited",
                ));
            }
            if !has("/spec/limited") {
                errors.push(FieldError::required(
                    &spec.child("limited"),
                    "must not be empty when type is Limited",
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            &spec.child("type"),
            other,
            &["Exempt", "Limited"],
        )),
    }
    for part in ["exempt", "limited"] {
        let at = spec.child(part);
        if let Some(shares) = number(&format!("/spec/{part}/nominalConcurrencyShares"))
            && shares < 0
        {
            errors.push(FieldError::invalid(
                &at.child("nominalConcurrencyShares"),
                shares,
                "must be a non-negative integer",
            ));
        }
        if let Some(percent) = number(&format!("/spec/{part}/lendablePercent"))
            && !(0..=100).contains(&percent)
        {
            errors.push(FieldError::invalid(
                &at.child("lendablePercent"),
                percent,
                "must be between 0 and 100, inclusive",
            ));
        }
    }
    let limited = spec.child("limited");
    if let Some(percent) = number("/spec/limited/borrowingLimitPercent")
        && percent < 0
    {
        errors.push(FieldError::invalid(
            &limited.child("borrowingLimitPercent"),
            percent,
            "if specified, must be a non-negative integer",
        ));
    }
    if has("/spec/limited") {
        response_errors(object, &limited.child("limitResponse"), &mut errors);
    }
    errors
}

fn response_errors(object: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let queuing = object.pointer("/spec/limited/limitResponse/queuing");
    match text(object, "/spec/limited/limitResponse/type") {
        "Reject" => {
            if queuing.is_some() {
                errors.push(FieldError::forbidden(
                    &at.child("queuing"),
                    "must be nil if limited.limitResponse.type is not Limited",
                ));
            }
        }
        "Queue" => {
            let at = at.child("queuing");
            let Some(queuing) = queuing else {
                errors.push(FieldError::required(
                    &at,
                    "must not be empty if limited.limitResponse.type is Queue",
                ));
                return;
            };
            for field in ["queues", "handSize", "queueLengthLimit"] {
                let n = queuing.get(field).and_then(Value::as_i64).unwrap_or(0);
                if n <= 0 {
                    errors.push(FieldError::invalid(&at.child(field), n, "must be positive"));
                } else if n > 10_000_000 {
                    errors.push(FieldError::invalid(
                        &at.child(field),
                        n,
                        "must not be greater than 10000000",
                    ));
                }
            }
            let of = |field: &str| queuing.get(field).and_then(Value::as_i64).unwrap_or(0);
            if of("handSize") > of("queues") {
                errors.push(FieldError::invalid(
                    &at.child("handSize"),
                    of("handSize"),
                    format!("should not be greater than queues ({})", of("queues")),
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            &at.child("type"),
            other,
            &["Queue", "Reject"],
        )),
    }
}
