//! Workloads of `apps`: data here, with the defaults that clients compare against.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text, immutable};
use super::spot::Faults;
use super::{pod_defaults, workload_rules};
use crate::strategy::{Context, Strategy};

pub(super) struct Workload;

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
            let strategy = spec.entry("updateStrategy").or_insert_with(|| json!({}));
            if strategy
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
            {
                rolling(spec, "updateStrategy", &json!({"partition": 0}));
            } else if strategy.get("type").is_some_and(|t| t == "RollingUpdate")
                && let Some(rolling) = strategy
                    .get_mut("rollingUpdate")
                    .and_then(Value::as_object_mut)
            {
                default(rolling, "partition", 0);
            }
            let policy = spec
                .entry("persistentVolumeClaimRetentionPolicy")
                .or_insert_with(|| json!({}));
            if let Some(policy) = policy.as_object_mut() {
                default_text(policy, "whenDeleted", "Retain");
                default_text(policy, "whenScaled", "Retain");
            }
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
    for claim in spec
        .get_mut("volumeClaimTemplates")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default_text(claim, "apiVersion", "v1");
        default_text(claim, "kind", "PersistentVolumeClaim");
        default(claim, "status", json!({"phase": "Pending"}));
        if let Some(spec) = claim.get_mut("spec").and_then(Value::as_object_mut) {
            default_text(spec, "volumeMode", "Filesystem");
        }
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

    fn complete(&self, cx: &Context<'_>, object: &mut Value) {
        if cx.subresource.is_empty() {
            complete(cx.kind.plural(), object);
        }
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        let plural = cx.kind.plural();
        match (cx.subresource, old) {
            ("", _) => workload_rules::judge(plural, object, &mut faults),
            ("status", Some(old)) => workload_rules::status(plural, object, old, &mut faults),
            _ => {}
        }
        let mut errors = faults.0;
        if let Some(old) = old.filter(|_| cx.subresource.is_empty()) {
            unchanged(plural, object, old, &mut errors);
        }
        Ok(errors)
    }
}

/// What of a workload may not change.
fn unchanged(plural: &str, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if plural != "statefulsets" {
        immutable(object, old, &["/spec/selector"], errors);
        return;
    }
    const MUTABLE: [&str; 7] = [
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    ];
    let masked = |value: &Value| {
        let mut spec = value.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            map.retain(|key, _| !MUTABLE.contains(&key.as_str()));
        }
        spec
    };
    if masked(object) != masked(old) {
        errors.push(FieldError::forbidden(
            &FieldPath::new("spec"),
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ));
    }
}
