//! `pods/<name>/binding`: the scheduler's decision.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupKind;
use apimachinery::meta;
use apimachinery::status::{ApiError, Status};
use apimachinery::time::format_time;
use serde_json::{Value, json};

use super::fields::{child, list, text};
use crate::registry::{Call, update_with};
use crate::strategy::Operation;

/// Sets the node of a Pod, once.
pub(crate) async fn bind(call: &Call<'_>, mut binding: Value) -> Result<Value, ApiError> {
    let given = meta::name(&binding);
    if let Some(given) = given.filter(|given| *given != call.name) {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            call.name
        )));
    }
    crate::admission::subresource(call, Operation::Create, &mut binding, None).await?;
    let binding = &binding;
    let node = text(binding, "/target/name").to_owned();
    let target = FieldPath::new("target");
    let mut errors = Vec::new();
    if !matches!(text(binding, "/target/kind"), "" | "Node") {
        errors.push(FieldError::not_supported(
            &target.child("kind"),
            text(binding, "/target/kind"),
            &["Node", "<empty>"],
        ));
    }
    if node.is_empty() {
        errors.push(FieldError::required(&target.child("name"), ""));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(
            &GroupKind::new("", "Binding"),
            call.name,
            errors,
        ));
    }
    let uid = meta::uid(binding).map(str::to_owned);
    update_with(call, |pod| {
        let resource = call.kind.group_resource();
        if let Some(uid) = &uid
            && meta::uid(pod) != Some(uid)
        {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", meta::uid(pod).unwrap_or_default());
            return Err(ApiError::conflict(&resource, call.name, why));
        }
        if meta::is_deleting(pod) {
            return Err(ApiError::conflict(&resource, call.name, format!("pod {} is being deleted, cannot be assigned to a host", call.name)));
        }
        let bound = text(pod, "/spec/nodeName");
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node {bound:?}", call.name);
            return Err(ApiError::conflict(&apimachinery::gvk::GroupResource::new("", "pods/binding"), call.name, why));
        }
        if list(pod, "/spec/schedulingGates").next().is_some() {
            return Err(ApiError::conflict(&resource, call.name, format!("pod {} has non-empty .spec.schedulingGates", call.name)));
        }
        for (key, value) in meta::annotations(binding).into_iter().flatten() {
            meta::set_annotation(pod, key, value.as_str().unwrap_or_default());
        }
        if let Some(spec) = child(pod, "spec") {
            spec.insert("nodeName".to_owned(), json!(node));
        }
        if let Some(status) = child(pod, "status") {
            let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": format_time(call.now)});
            let conditions = status.entry("conditions").or_insert_with(|| json!([]));
            if let Some(conditions) = conditions.as_array_mut() {
                conditions.retain(|c| text(c, "/type") != "PodScheduled");
                conditions.push(scheduled);
            }
        }
        Ok(())
    })
    .await?;
    let mut status = Status::success(None);
    status.code = 201;
    serde_json::to_value(status).map_err(ApiError::internal)
}
