//! Workloads of `apps`: data here, with the defaults that clients compare against.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::selector::{LabelSelector, label_selector_errors};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text, immutable, text};
use super::spot::{Faults, Spot};
use super::{pod_defaults, pod_validate};
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

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        if !cx.subresource.is_empty() {
            return Ok(Vec::new());
        }
        let mut errors = Vec::new();
        judge(cx.kind.plural(), object, &mut errors);
        if let Some(old) = old {
            unchanged(cx.kind.plural(), object, old, &mut errors);
        }
        Ok(errors)
    }
}

fn judge(plural: &str, object: &Value, errors: &mut Vec<FieldError>) {
    let spec = FieldPath::new("spec");
    for field in [
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        not_negative(object, field, &spec, errors);
    }
    let path = spec.child("selector");
    let template = spec.child("template");
    let selector = object.pointer("/spec/selector").unwrap_or(&Value::Null);
    if selector.is_null() {
        errors.push(FieldError::required(&path, ""));
    } else {
        errors.extend(label_selector_errors(selector, &path));
        let parts = ["matchLabels", "matchExpressions"];
        if parts.iter().all(|p| selector.get(p).is_none()) {
            let detail = "empty selector is invalid for deployment";
            errors.push(FieldError::invalid(
                &path,
                selector.clone(),
                detail.replace("deployment", plural.trim_end_matches('s')),
            ));
        }
        let labels = object.pointer("/spec/template/metadata/labels");
        let empty = Map::new();
        let matches = LabelSelector::from_json(selector)
            .is_ok_and(|s| s.matches(labels.and_then(Value::as_object).unwrap_or(&empty)));
        if !matches {
            errors.push(FieldError::invalid(
                &template.child("metadata").child("labels"),
                labels.cloned().unwrap_or_default(),
                "`selector` does not match template `labels`",
            ));
        }
    }
    strategy(plural, object, &spec, errors);
    let given = Spot::of(object, "spec").child("template");
    let mut faults = Faults::default();
    pod_validate::template(&given, &mut faults);
    let pod = given.child("spec");
    if pod.text("restartPolicy") != "Always" {
        let at = pod.at("restartPolicy");
        faults.not_supported(&at, pod.text("restartPolicy"), &["Always"]);
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = format!(
            "activeDeadlineSeconds in {} is not Supported",
            kind_of(plural)
        );
        faults.forbidden(&pod.at("activeDeadlineSeconds"), detail);
    }
    errors.extend(faults.0);
}

fn kind_of(plural: &str) -> &'static str {
    match plural {
        "daemonsets" => "DaemonSet",
        "statefulsets" => "StatefulSet",
        _ => "ReplicaSet",
    }
}

fn not_negative(object: &Value, field: &str, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    if let Some(given) = object
        .pointer(&format!("/spec/{field}"))
        .and_then(Value::as_i64)
        .filter(|n| *n < 0)
    {
        errors.push(FieldError::invalid(
            &spec.child(field),
            given,
            "must be greater than or equal to 0",
        ));
    }
}

fn strategy(plural: &str, object: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    let (field, known): (&str, &[&str]) = match plural {
        "deployments" => ("strategy", &["Recreate", "RollingUpdate"]),
        "statefulsets" | "daemonsets" => ("updateStrategy", &["OnDelete", "RollingUpdate"]),
        _ => return,
    };
    let at = spec.child(field);
    let given = text(object, &format!("/spec/{field}/type"));
    if !known.contains(&given) {
        let path = if plural == "deployments" {
            at.clone()
        } else {
            at.child("type")
        };
        errors.push(FieldError::not_supported(&path, given, known));
    } else if given == "Recreate"
        && object
            .pointer("/spec/strategy/rollingUpdate")
            .is_some_and(|r| !r.is_null())
    {
        errors.push(FieldError::forbidden(
            &at.child("rollingUpdate"),
            "may not be specified when strategy `type` is 'Recreate'",
        ));
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
