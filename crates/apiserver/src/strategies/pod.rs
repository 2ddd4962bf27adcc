//! Pods: defaults, the admission of service accounts, and what may change.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{child, default_text, text};
use super::{pod_defaults, pod_validate};
use crate::strategy::{Context, Strategy};

pub(super) struct Pod;

#[async_trait]
impl Strategy for Pod {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        pod_defaults::complete(object);
        if let Some(spec) = child(object, "spec") {
            let account = spec
                .get("serviceAccountName")
                .or_else(|| spec.get("serviceAccount"))
                .and_then(Value::as_str)
                .unwrap_or_default();
            let account = if account.is_empty() {
                "default"
            } else {
                account
            }
            .to_owned();
            default_text(spec, "serviceAccountName", &account);
            default_text(spec, "serviceAccount", &account);
        }
        priority(cx, object).await?;
        object["status"] = json!({"phase": "Pending", "qosClass": pod_defaults::qos_class(object)});
        Ok(())
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
                status.insert("qosClass".to_owned(), class.clone());
            }
            addresses(object);
            return Ok(());
        }
        pod_defaults::complete(object);
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        if cx.subresource == "status" {
            return Ok(Vec::new());
        }
        let mut errors = Vec::new();
        match old {
            Some(old) if cx.subresource != "binding" => {
                pod_validate::update(object, old, &mut errors);
            }
            Some(_) => {}
            None => pod_validate::pod(object, &FieldPath::new("spec"), &mut errors),
        }
        Ok(errors)
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
    if let Some(spec) = child(object, "spec") {
        spec.insert("priority".to_owned(), json!(value));
        if !chosen.is_empty() {
            spec.insert("priorityClassName".to_owned(), json!(chosen));
        }
        spec.entry("preemptionPolicy")
            .or_insert_with(|| preemption.unwrap_or_else(|| json!("PreemptLowerPriority")));
    }
    Ok(())
}
