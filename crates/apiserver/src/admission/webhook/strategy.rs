//! Defaults and validation of webhook configurations.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::selector::label_selector_errors;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use base64::Engine as _;
use cel::policy::validate;
use serde_json::{Map, Value, json};

use crate::stack;
use crate::strategy::{Context, Strategy};

/// Of both kinds of configurations.
pub(crate) struct ConfigurationStrategy {
    /// Mutating webhooks have a `reinvocationPolicy`.
    pub mutating: bool,
}

#[async_trait]
impl Strategy for ConfigurationStrategy {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete(object, self.mutating);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete(object, self.mutating);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(judge(object, self.mutating))
    }
}

fn default(map: &mut Map<String, Value>, key: &str, value: Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value);
    }
}

fn complete(object: &mut Value, mutating: bool) {
    for webhook in object
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default(webhook, "failurePolicy", json!("Fail"));
        default(webhook, "matchPolicy", json!("Equivalent"));
        default(webhook, "namespaceSelector", json!({}));
        default(webhook, "objectSelector", json!({}));
        default(webhook, "timeoutSeconds", json!(10));
        if mutating {
            default(webhook, "reinvocationPolicy", json!("Never"));
        }
        if let Some(service) = webhook
            .get_mut("clientConfig")
            .and_then(|c| c.get_mut("service"))
            .and_then(Value::as_object_mut)
        {
            default(service, "port", json!(443));
        }
        for rule in webhook
            .get_mut("rules")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            default(rule, "scope", json!("*"));
        }
    }
}

fn judge(object: &Value, mutating: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let webhooks = object.get("webhooks").and_then(Value::as_array);
    for (index, webhook) in webhooks.into_iter().flatten().enumerate() {
        let path = FieldPath::new("webhooks").index(index);
        let name = webhook["name"].as_str().unwrap_or_default();
        if names.contains(&name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        names.push(name);
        self::webhook(webhook, name, mutating, &path, &mut errors);
    }
    errors
}

fn one_of(
    value: &Value,
    key: &str,
    allowed: &[&str],
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    let given = value[key].as_str().unwrap_or_default();
    if !allowed.contains(&given) {
        errors.push(FieldError::not_supported(&path.child(key), given, allowed));
    }
}

fn webhook(
    webhook: &Value,
    name: &str,
    mutating: bool,
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    // A qualified name of at least three parts.
    let at = path.child("name");
    if name.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else {
        let wrong = name::dns1123_subdomain(name);
        if wrong.is_empty() && name.split('.').count() < 3 {
            let text = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid(&at, name, text));
        }
        errors.extend(wrong.into_iter().map(|w| FieldError::invalid(&at, name, w)));
    }
    match webhook.get("sideEffects") {
        None => errors.push(FieldError::required(
            &path.child("sideEffects"),
            "must specify one of None, NoneOnDryRun",
        )),
        Some(_) => one_of(
            webhook,
            "sideEffects",
            &["None", "NoneOnDryRun"],
            path,
            errors,
        ),
    }
    one_of(webhook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    one_of(
        webhook,
        "matchPolicy",
        &["Equivalent", "Exact"],
        path,
        errors,
    );
    if mutating {
        one_of(
            webhook,
            "reinvocationPolicy",
            &["IfNeeded", "Never"],
            path,
            errors,
        );
    }
    let seconds = webhook["timeoutSeconds"].as_i64().unwrap_or_default();
    if !(1..=30).contains(&seconds) {
        errors.push(FieldError::invalid(
            &path.child("timeoutSeconds"),
            seconds,
            "the timeout value must be between 1 and 30 seconds",
        ));
    }
    versions(webhook, path, errors);
    for key in ["namespaceSelector", "objectSelector"] {
        errors.extend(label_selector_errors(&webhook[key], &path.child(key)));
    }
    if let Some(given) = webhook["matchConditions"]
        .as_array()
        .filter(|c| !c.is_empty())
    {
        let at = path.child("matchConditions");
        errors.extend(
            stack::compiling(|| validate::match_conditions(given, &at))
                .unwrap_or_else(|| vec![FieldError::internal(&at, stack::NO_STACK)]),
        );
    }
    let rules = webhook.get("rules").and_then(Value::as_array);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        self::rule(rule, &path.child("rules").index(index), errors);
    }
    client_config(
        &webhook["clientConfig"],
        &path.child("clientConfig"),
        errors,
    );
}

fn versions(webhook: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let at = path.child("admissionReviewVersions");
    let list = webhook["admissionReviewVersions"].as_array();
    let versions: Vec<&str> = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if versions.is_empty() {
        errors.push(FieldError::required(&at, "must specify one of v1, v1beta1"));
    } else if !versions.contains(&"v1") {
        errors.push(FieldError::invalid(
            &at,
            json!(versions),
            "must include at least one of v1",
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        if versions.iter().take(index).any(|v| v == version) {
            errors.push(FieldError::invalid(
                &at.index(index),
                *version,
                "duplicate version",
            ));
        }
    }
}

fn rule(rule: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for key in ["operations", "apiGroups", "apiVersions", "resources"] {
        let list: Vec<&str> = rule[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let at = path.child(key);
        if list.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        if list.len() > 1 && list.contains(&"*") {
            let text = "if '*' is present, must not specify other values";
            // Resources have their own rule: `*` and `*/status` go together.
            if key != "resources" {
                errors.push(FieldError::invalid(&at, json!(list), text));
            }
        }
        for (index, value) in list.iter().enumerate() {
            let at = at.index(index);
            const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
            if key == "operations" && !OPERATIONS.contains(value) {
                errors.push(FieldError::not_supported(&at, *value, &OPERATIONS));
            }
            if value.is_empty() && matches!(key, "apiVersions" | "resources") {
                errors.push(FieldError::required(&at, ""));
            }
        }
    }
    one_of(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

/// Validates how a webhook is reached; conversion webhooks of CRDs have the same.
pub(crate) fn client_config(config: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let url = config.get("url").and_then(Value::as_str);
    let service = config.get("service").filter(|s| !s.is_null());
    if url.is_some() == service.is_some() {
        errors.push(FieldError::required(
            path,
            "exactly one of url or service is required",
        ));
    }
    if let Some(url) = url {
        let at = path.child("url");
        match url.parse::<http::Uri>() {
            Err(e) => errors.push(FieldError::required(
                &at,
                format!("url must be a valid URL: {e}; desired format: https://host[/path]"),
            )),
            Ok(uri) => {
                let mut wrong = |text: &str| {
                    errors.push(FieldError::invalid(
                        &at,
                        url,
                        format!("{text}; desired format: https://host[/path]"),
                    ));
                };
                if uri.scheme_str() != Some("https") {
                    wrong("'https' is the only allowed URL scheme");
                }
                if uri.host().is_none_or(str::is_empty) {
                    wrong("host must be specified");
                }
                if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
                    wrong("user information is not permitted in the URL");
                }
                if url.contains('#') {
                    wrong("fragments are not permitted in the URL");
                }
                if uri.query().is_some() {
                    wrong("query parameters are not permitted in the URL");
                }
            }
        }
    }
    if let Some(service) = service {
        for key in ["name", "namespace"] {
            if service[key].as_str().unwrap_or_default().is_empty() {
                let at = path.child("service").child(key);
                errors.push(FieldError::required(
                    &at,
                    format!("service {key} is required"),
                ));
            }
        }
        let port = service["port"].as_i64().unwrap_or(443);
        if !(1..=65535).contains(&port) {
            let at = path.child("service").child("port");
            errors.push(FieldError::invalid(
                &at,
                port,
                "port is not valid: must be between 1 and 65535, inclusive",
            ));
        }
        let given = service["path"].as_str().unwrap_or_default();
        if let Some(fault) = path_fault(given) {
            let at = path.child("service").child("path");
            errors.push(FieldError::invalid(&at, given, fault));
        }
    }
    if let Some(bundle) = config["caBundle"].as_str().filter(|b| !b.is_empty()) {
        let at = path.child("caBundle");
        let decoded = base64::engine::general_purpose::STANDARD.decode(bundle);
        if !decoded.is_ok_and(|pem| crate::tls_client::config(&pem).is_ok()) {
            errors.push(FieldError::invalid(
                &at,
                bundle,
                "unable to load root certificates",
            ));
        }
    }
}

/// What is wrong with the path of a webhook behind a Service: its segments are names.
fn path_fault(path: &str) -> Option<String> {
    if matches!(path, "" | "/") {
        return None;
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Some("must start with a '/'".to_owned());
    };
    let segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
    segments.enumerate().find_map(|(index, segment)| {
        if segment.is_empty() {
            return Some(format!("segment[{index}] may not be empty"));
        }
        let fault = name::dns1123_subdomain(segment).into_iter().next()?;
        Some(format!("segment[{index}]: {fault}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_services_are_of_names() {
        for good in ["", "/", "/a", "/a/b.c/", "/validate-v1"] {
            assert_eq!(path_fault(good), None, "{good}");
        }
        assert_eq!(path_fault("a").unwrap(), "must start with a '/'");
        assert_eq!(path_fault("//").unwrap(), "segment[0] may not be empty");
        assert_eq!(path_fault("/a//b").unwrap(), "segment[1] may not be empty");
        assert!(path_fault("/a/B_").unwrap().starts_with("segment[1]: "));
    }

    #[test]
    fn configurations_are_completed_and_judged() {
        let mut object = json!({"webhooks": [{
            "name": "nodots", "sideEffects": "Some", "timeoutSeconds": 31,
            "admissionReviewVersions": ["v9"], "clientConfig": {"url": "http://x/y"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        }]});
        complete(&mut object, true);
        assert_eq!(object["webhooks"][0]["reinvocationPolicy"], "Never");
        assert_eq!(object["webhooks"][0]["rules"][0]["scope"], "*");
        let fields: Vec<String> = judge(&object, true)
            .iter()
            .map(|e| e.path.to_string())
            .collect();
        assert_eq!(
            fields,
            [
                "webhooks[0].name",
                "webhooks[0].sideEffects",
                "webhooks[0].timeoutSeconds",
                "webhooks[0].admissionReviewVersions",
                "webhooks[0].clientConfig.url",
            ]
        );
    }
}
