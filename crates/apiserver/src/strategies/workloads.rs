//! Workloads of `apps` and `batch`, network policies and endpoint slices: data here, with the defaults that
//! clients compare against.

use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text};
use super::pod_defaults;
use crate::strategy::{Context, Strategy};

pub(super) struct Workload;
pub(super) struct NetworkPolicy;
pub(super) struct EndpointSlice;

fn rolling(spec: &mut Map<String, Value>, key: &str, details: &Value) {
    let strategy = spec.entry(key).or_insert_with(|| json!({}));
    if let Some(strategy) = strategy.as_object_mut() {
        default_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|t| t == "RollingUpdate") {
            let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
            if let (Some(rolling), Some(details)) = (rolling.as_object_mut(), details.as_object()) {
                for (key, value) in details {
                    default(rolling, key, value.clone());
                }
            }
        }
    }
}

fn complete(plural: &str, object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    match plural {
        "deployments" => {
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            rolling(
                spec,
                "strategy",
                &json!({"maxUnavailable": "25%", "maxSurge": "25%"}),
            );
        }
        "replicasets" => default(spec, "replicas", 1),
        "statefulsets" => {
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            default_text(spec, "podManagementPolicy", "OrderedReady");
            rolling(spec, "updateStrategy", &json!({"partition": 0}));
            default(
                spec,
                "persistentVolumeClaimRetentionPolicy",
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
            );
        }
        "daemonsets" => {
            default(spec, "revisionHistoryLimit", 10);
            rolling(
                spec,
                "updateStrategy",
                &json!({"maxUnavailable": 1, "maxSurge": 0}),
            );
        }
        _ => {}
    }
    if let Some(template) = spec.get_mut("template") {
        pod_defaults::complete_template(template);
    }
}

#[async_trait]
impl Strategy for Workload {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete(cx.kind.plural(), object);
        object["status"] = if cx.kind.plural() == "daemonsets" {
            json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
        } else if matches!(cx.kind.plural(), "replicasets") {
            json!({"replicas": 0})
        } else if cx.kind.plural() == "statefulsets" {
            json!({"replicas": 0, "availableReplicas": 0})
        } else {
            json!({})
        };
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource.is_empty() {
            complete(cx.kind.plural(), object);
        }
        Ok(())
    }
}

fn policy(object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    let mut types = vec!["Ingress"];
    if spec.contains_key("egress") {
        types.push("Egress");
    }
    default(spec, "policyTypes", json!(types));
    for side in ["ingress", "egress"] {
        for rule in spec
            .get_mut(side)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let ports = rule.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                default_text(port, "protocol", "TCP");
            }
        }
    }
}

#[async_trait]
impl Strategy for NetworkPolicy {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        policy(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        policy(object);
        Ok(())
    }
}

fn slice(object: &mut Value) {
    for endpoint in object
        .get_mut("endpoints")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default(endpoint, "conditions", json!({}));
    }
    for port in object
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default_text(port, "protocol", "TCP");
    }
}

#[async_trait]
impl Strategy for EndpointSlice {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        slice(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        slice(object);
        Ok(())
    }
}
