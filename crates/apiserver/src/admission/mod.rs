//! Admission: what may be written beyond what a kind's schema and rules say, in kube-apiserver's order.
//!
//! ```text
//! mutate:   ServiceAccount → LimitRanger → (priority, default classes: the strategies)
//!           → MutatingAdmissionPolicies → mutating webhooks; when one changed the object, once more
//!           ─► schema, rules, ValidatingAdmissionPolicies ─►
//! validate: PodSecurity → LimitRanger → validating webhooks → ResourceQuota, last, since it counts
//! ```
//! NamespaceLifecycle is the registry's first check of a create. Bodies of subresources that are objects of their
//! own (bindings, evictions, scales) go through policies and webhooks, and may be changed by them.
//!
//! # Invariants
//!
//! * Whoever asks for something that admission changes is judged on what came out.
//! * A quota's guard is held until the object is committed, so two creations cannot share one free place.
//! * Webhooks never see the objects that configure them: nobody can lock themselves out.

mod form;
mod limit_range;
mod pod_security;
pub(crate) mod quota;
mod reinvocation;
mod service_account;
mod webhook;

use apimachinery::status::ApiError;
use serde_json::Value;

use crate::registry::Call;
use crate::strategy::Operation;

pub(crate) use form::Form;
pub(crate) use reinvocation::Reinvocation;
pub(crate) use webhook::{ClientError, ConfigurationStrategy, Endpoint, Webhooks, client_config};

/// Whether the call writes the object itself: `scale`, `binding` and the like are other objects upstream. To resize a
/// Pod is to ask for as much as it takes to create one.
fn is_plain(call: &Call<'_>) -> bool {
    matches!(call.subresource, "" | "status" | "resize")
}

fn operation(old: Option<&Value>) -> Operation {
    if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    }
}

/// Completes the object. True when policies or webhooks changed it.
pub(crate) async fn mutate(
    call: &Call<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<bool, ApiError> {
    if !is_plain(call) {
        return Ok(false);
    }
    change(call, operation(old), object, old).await
}

/// What may change an object, in two passes at most.
async fn change(
    call: &Call<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<bool, ApiError> {
    let is_new_pod =
        operation == Operation::Create && call.subresource.is_empty() && call.kind.is("", "pods");
    let mut policies = Reinvocation::default();
    let mut webhooks = Reinvocation::default();
    let mut changed = false;
    for again in [false, true] {
        if is_new_pod {
            service_account::admit(call, object).await?;
            limit_range::complete(call, object).await?;
        }
        policies.begin(again, object);
        let by_policies =
            crate::policies::mutate(call, operation, object, old, &mut policies).await?;
        policies.end(object);
        webhooks.begin(again, object);
        let by_webhooks = webhook::mutate(call, operation, object, old, &mut webhooks).await?;
        webhooks.end(object);
        if !(by_policies || by_webhooks) {
            break;
        }
        changed = true;
    }
    Ok(changed)
}

/// Judges the completed object. What comes back is held until the object is committed.
pub(crate) async fn validate<'a>(
    call: &'a Call<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<quota::Guard<'a>, ApiError> {
    if !is_plain(call) {
        return Ok(None);
    }
    if matches!(call.subresource, "" | "resize") {
        pod_security::admit(call, object, old).await?;
        limit_range::validate(call, object, old).await?;
    }
    webhook::validate(call, operation(old), Some(object), old).await?;
    quota::admit(call, object, old).await
}

/// Completes and judges the body of a subresource that is an object of its own: a binding, an eviction, a scale.
pub(crate) async fn subresource(
    call: &Call<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = Value::Object(serde_json::Map::new());
    }
    change(call, operation, object, old).await?;
    crate::policies::admit(call, operation, Some(object), old).await?;
    webhook::validate(call, operation, Some(object), old).await
}

/// May refuse a deletion.
pub(crate) async fn validate_delete(call: &Call<'_>, object: &Value) -> Result<(), ApiError> {
    webhook::validate(call, Operation::Delete, None, Some(object)).await
}

/// What follows a creation.
pub(crate) async fn created(call: &Call<'_>, object: &Value) {
    quota::changed(call, object).await;
}

/// What follows an update.
pub(crate) async fn updated(call: &Call<'_>, object: &Value) {
    if call.subresource == "resize" {
        // It may have become smaller.
        quota::released(call).await;
    }
    quota::changed(call, object).await;
}

/// What follows a removal.
pub(crate) async fn removed(call: &Call<'_>) {
    quota::released(call).await;
}
