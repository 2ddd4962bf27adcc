//! `pods/<name>/eviction`: deletion that respects PodDisruptionBudgets.

use apimachinery::meta;
use apimachinery::selector::LabelSelector;
use apimachinery::status::{ApiError, Status, StatusCause};
use apimachinery::time::format_time;
use serde_json::{Map, Value, json};

use super::fields::{child, list, text};
use crate::registry::{Call, DeleteOptions, WriteOptions, delete_admitted, update_with};
use crate::request::Query;
use crate::strategy::Operation;

/// Evicts a Pod, or says 429 with the cause `DisruptionBudget`.
pub(crate) async fn evict(call: &Call<'_>, mut eviction: Value) -> Result<Value, ApiError> {
    if let Some(given) = meta::name(&eviction)
        && given != call.name
    {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object: BadRequest",
        ));
    }
    crate::admission::subresource(call, Operation::Create, &mut eviction, None).await?;
    let mut options = DeleteOptions::parse(
        &Query::default(),
        eviction.get("deleteOptions").filter(|o| o.is_object()),
    )?;
    options.dry_run |= call.options.dry_run;
    let Some(pod) = call
        .reader
        .get("", "pods", call.namespace, call.name)
        .await?
    else {
        return Err(ApiError::not_found(&call.kind.group_resource(), call.name));
    };
    let harmless = matches!(
        text(&pod, "/status/phase"),
        "Succeeded" | "Failed" | "Pending"
    ) || meta::is_deleting(&pod);
    if !harmless {
        spend_budget(call, &pod, options.dry_run).await?;
    }
    let mut one = call.at(call.namespace, call.name);
    one.subresource = "";
    // It was admitted as an eviction; as upstream, nobody is asked about the deletion.
    delete_admitted(&one, &options).await?;
    let mut status = Status::success(None);
    status.code = 201;
    serde_json::to_value(status).map_err(ApiError::internal)
}

async fn spend_budget(call: &Call<'_>, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
    let empty = Map::new();
    let labels = meta::labels(pod).unwrap_or(&empty);
    let budgets = call
        .reader
        .list("policy", "poddisruptionbudgets", call.namespace)
        .await?;
    let matching: Vec<&Value> = budgets
        .iter()
        .filter(|budget| {
            budget
                .pointer("/spec/selector")
                .and_then(|s| LabelSelector::from_json(s).ok())
                .is_some_and(|s| s.matches(labels))
        })
        .collect();
    let budget = match matching.as_slice() {
        [] => return Ok(()),
        [budget] => *budget,
        _ => {
            return Err(ApiError::internal(
                "this pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let ready = list(pod, "/status/conditions")
        .any(|c| text(c, "/type") == "Ready" && text(c, "/status") == "True");
    if !ready && text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow" {
        return Ok(());
    }
    let Some(kind) = call.reader.kind("policy", "poddisruptionbudgets") else {
        return Ok(());
    };
    let name = meta::name(budget).unwrap_or_default();
    let options = WriteOptions {
        dry_run,
        ..call.options.clone()
    };
    let user = call.user;
    let write = Call::new(
        call.registry,
        &kind,
        (call.namespace, name),
        "status",
        user,
        options,
    );
    update_with(&write, |budget| {
        let current = budget
            .pointer("/status/observedGeneration")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if current < meta::generation(budget).unwrap_or(0) {
            return Err(refused(format!(
                "The disruption budget {name} is still being processed by the server."
            )));
        }
        let number = |field: &str| {
            budget
                .pointer(&format!("/status/{field}"))
                .and_then(Value::as_i64)
                .unwrap_or(0)
        };
        let allowed = number("disruptionsAllowed");
        if allowed <= 0 {
            return Err(refused(format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            )));
        }
        if let Some(status) = child(budget, "status") {
            status.insert("disruptionsAllowed".to_owned(), json!(allowed - 1));
            let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
            if let Some(disrupted) = disrupted.as_object_mut() {
                disrupted.insert(call.name.to_owned(), json!(format_time(call.now)));
            }
        }
        Ok(())
    })
    .await
    .map(|_| ())
}

fn refused(message: String) -> ApiError {
    ApiError::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        0,
    )
    .with_cause(StatusCause {
        reason: "DisruptionBudget".to_owned(),
        message,
        field: String::new(),
    })
}
