//! Pods: defaults, the admission of service accounts, and what may change.

use apimachinery::field::FieldError;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{child, default, default_text, text};
use super::{pod_defaults, pod_level, pod_resize, pod_update, pod_validate};
use crate::strategy::{Context, Strategy};

pub(super) struct Pod;

#[async_trait]
impl Strategy for Pod {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        pod_defaults::complete(object);
        if let Some(spec) = child(object, "spec") {
            for key in ["serviceAccountName", "serviceAccount"] {
                default_text(spec, key, "default");
            }
        }
        priority(cx, object).await?;
        object["status"] = json!({"phase": "Pending"});
        Ok(())
    }

    fn derive(&self, object: &mut Value) {
        let class = pod_level::qos_class(object);
        if let Some(status) = child(object, "status") {
            status.insert("qosClass".to_owned(), json!(class));
        }
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource == "status" {
            if let (Some(status), Some(class)) =
                (child(object, "status"), old.pointer("/status/qosClass"))
            {
                default(status, "qosClass", class.clone());
            }
            addresses(object);
            return Ok(());
        }
        if cx.subresource == "resize" {
            pod_resize::keep_resources_only(object, old);
            return Ok(());
        }
        pod_defaults::complete(object);
        Ok(())
    }

    fn complete(&self, cx: &Context<'_>, object: &mut Value) {
        if cx.subresource.is_empty() {
            pod_defaults::complete(object);
        }
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(match (old, cx.subresource) {
            (None, _) => pod_validate::pod(object),
            (Some(old), "") => pod_update::update(object, old),
            (Some(old), "status") => pod_update::status(object, old),
            (Some(old), "resize") => {
                let mut errors = pod_validate::pod(object);
                pod_resize::validate(object, old, &mut errors);
                errors
            }
            (Some(_), _) => Vec::new(),
        })
    }
}

/// `podIP` is the first of `podIPs`; where they differ, the single one counts.
fn addresses(object: &mut Value) {
    let single = text(object, "/status/podIP").to_owned();
    let first = text(object, "/status/podIPs/0/ip").to_owned();
    let Some(status) = child(object, "status") else {
        return;
    };
    if single.is_empty() && !first.is_empty() {
        status.insert("podIP".to_owned(), json!(first));
    } else if !single.is_empty() && single != first {
        status.insert("podIPs".to_owned(), json!([{"ip": single}]));
    }
}

/// `priorityClassName` becomes a number.
async fn priority(cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
    let name = text(object, "/spec/priorityClassName").to_owned();
    let (value, preemption, chosen) = match name.as_str() {
        "system-node-critical" => (2_000_001_000, None, name.clone()),
        "system-cluster-critical" => (2_000_000_000, None, name.clone()),
        "" => match cx
            .reader
            .list("scheduling.k8s.io", "priorityclasses", "")
            .await?
            .into_iter()
            .find(|c| c.get("globalDefault") == Some(&Value::Bool(true)))
        {
            Some(class) => (
                class.get("value").and_then(Value::as_i64).unwrap_or(0),
                class.get("preemptionPolicy").cloned(),
                apimachinery::meta::name(&class)
                    .unwrap_or_default()
                    .to_owned(),
            ),
            None => (0, None, String::new()),
        },
        other => {
            let Some(class) = cx
                .reader
                .get("scheduling.k8s.io", "priorityclasses", "", other)
                .await?
            else {
                let why = format!("no PriorityClass with name {other} was found");
                return Err(ApiError::forbidden(&cx.kind.group_resource(), cx.name, why));
            };
            (
                class.get("value").and_then(Value::as_i64).unwrap_or(0),
                class.get("preemptionPolicy").cloned(),
                name.clone(),
            )
        }
    };
    let preemption = preemption.unwrap_or_else(|| json!("PreemptLowerPriority"));
    for (field, computed, what) in [
        ("priority", json!(value), "the integer value of priority"),
        (
            "preemptionPolicy",
            preemption.clone(),
            "the string value of PreemptionPolicy",
        ),
    ] {
        let given = object.pointer(&format!("/spec/{field}"));
        if let Some(given) = given.filter(|given| **given != computed) {
            let why = format!(
                "{what} ({}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
                shown(given),
                shown(&computed)
            );
            return Err(ApiError::forbidden(&cx.kind.group_resource(), cx.name, why));
        }
    }
    if let Some(spec) = child(object, "spec") {
        spec.insert("priority".to_owned(), json!(value));
        if !chosen.is_empty() {
            spec.insert("priorityClassName".to_owned(), json!(chosen));
        }
        spec.insert("preemptionPolicy".to_owned(), preemption);
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
