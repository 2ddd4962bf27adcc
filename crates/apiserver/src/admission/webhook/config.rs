//! A webhook as its configuration describes it.

use std::time::Duration;

use apimachinery::selector::LabelSelector;
use base64::Engine as _;
use cel::policy::Conditions;
use serde_json::Value;

use crate::service_resolver::ServiceReference;
use crate::stack;

/// Where a webhook listens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `clientConfig.url`.
    Url(String),
    /// `clientConfig.service`, and the path there, which begins with `/`.
    Service(ServiceReference, String),
}

impl Endpoint {
    /// Reads `clientConfig` of a webhook, be it one of admission or of conversion.
    pub(crate) fn of(webhook: &Value) -> Self {
        let text = |pointer: &str| {
            let value = webhook.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default()
        };
        match text("/clientConfig/url") {
            "" => {
                let port = webhook.pointer("/clientConfig/service/port");
                let port = port.and_then(Value::as_u64).unwrap_or(443);
                let reference = ServiceReference {
                    namespace: text("/clientConfig/service/namespace").to_owned(),
                    name: text("/clientConfig/service/name").to_owned(),
                    // It was validated when it was stored.
                    port: u16::try_from(port).unwrap_or_default(),
                };
                let path = text("/clientConfig/service/path").trim_start_matches('/');
                Endpoint::Service(reference, format!("/{path}"))
            }
            url => Endpoint::Url(url.to_owned()),
        }
    }

    /// Where the webhook is asked.
    pub(super) fn url(&self) -> String {
        match self {
            Endpoint::Url(url) => url.clone(),
            Endpoint::Service(reference, path) => {
                format!("https://{}:{}{path}", reference.host(), reference.port)
            }
        }
    }
}

/// One rule: which writes a webhook is asked about.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub operations: Vec<String>,
    pub groups: Vec<String>,
    pub versions: Vec<String>,
    pub resources: Vec<String>,
    /// `*`, `Cluster` or `Namespaced`.
    pub scope: String,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Webhook {
    pub name: String,
    pub endpoint: Endpoint,
    /// PEM; empty for the system's roots.
    pub ca: Vec<u8>,
    pub rules: Vec<Rule>,
    /// Other versions of the kind count as well.
    pub equivalent: bool,
    pub ignore_failure: bool,
    /// The namespace selector is empty.
    pub namespaces_all: bool,
    pub namespace_selector: LabelSelector,
    pub object_selector: LabelSelector,
    pub timeout: Duration,
    pub reinvoke: bool,
    pub conditions: Conditions,
}

/// The webhooks of a stored configuration, in its order.
pub(super) fn parse(configuration: &Value) -> Vec<Webhook> {
    configuration
        .get("webhooks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(webhook)
        .collect()
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn selector(value: &Value, key: &str) -> (bool, LabelSelector) {
    match value.get(key) {
        None | Some(Value::Null) => (true, LabelSelector::everything()),
        Some(Value::Object(map)) if map.is_empty() => (true, LabelSelector::everything()),
        // It was validated when it was stored.
        Some(given) => (
            false,
            LabelSelector::from_json(given).unwrap_or_else(|_| LabelSelector::nothing()),
        ),
    }
}

fn webhook(value: &Value) -> Webhook {
    let text = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let rules = value.get("rules").and_then(Value::as_array);
    let rules = rules.into_iter().flatten().map(|rule| Rule {
        operations: strings(rule, "operations"),
        groups: strings(rule, "apiGroups"),
        versions: strings(rule, "apiVersions"),
        resources: strings(rule, "resources"),
        scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
    });
    let (namespaces_all, namespace_selector) = selector(value, "namespaceSelector");
    let (_, object_selector) = selector(value, "objectSelector");
    let seconds = value["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
    Webhook {
        name: text("/name").to_owned(),
        endpoint: Endpoint::of(value),
        ca: base64::engine::general_purpose::STANDARD
            .decode(text("/clientConfig/caBundle"))
            .unwrap_or_default(),
        rules: rules.collect(),
        equivalent: text("/matchPolicy") != "Exact",
        ignore_failure: text("/failurePolicy") == "Ignore",
        namespaces_all,
        namespace_selector,
        object_selector,
        timeout: Duration::from_secs(seconds),
        reinvoke: text("/reinvocationPolicy") == "IfNeeded",
        conditions: match value.get("matchConditions").and_then(Value::as_array) {
            Some(given) if !given.is_empty() => {
                // Without a thread to compile in, the webhook is asked about everything: never less.
                stack::compiling(|| Conditions::compile(given)).unwrap_or_default()
            }
            _ => Conditions::default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_asked_by_its_name() {
        let url =
            |service: Value| Endpoint::of(&json!({"clientConfig": {"service": service}})).url();
        assert_eq!(
            url(json!({"namespace": "ns", "name": "hook"})),
            "https://hook.ns.svc:443/"
        );
        assert_eq!(
            url(json!({"namespace": "ns", "name": "hook", "port": 8443, "path": "/v1/pods"})),
            "https://hook.ns.svc:8443/v1/pods"
        );
    }
}
