//! Admission: what may be written beyond what a kind's schema and rules say, in kube-apiserver's order.
//!
//! ```text
//! mutate:   ServiceAccount → LimitRanger → (priority, default classes: the strategies) → mutating webhooks
//!           ─► schema, rules, policies ─►
//! validate: PodSecurity → LimitRanger → validating webhooks → ResourceQuota, last, since it counts
//! ```
//! NamespaceLifecycle is the registry's first check of a create.
//!
//! # Invariants
//!
//! * Whoever asks for something that admission changes is judged on what came out.
//! * A quota's guard is held until the object is committed, so two creations cannot share one free place.
//! * Webhooks never see the objects that configure them: nobody can lock themselves out.

mod limit_range;
mod pod_security;
pub(crate) mod quota;
mod service_account;
mod webhook;

use apimachinery::status::ApiError;
use serde_json::Value;

use crate::registry::Call;
use crate::strategy::Operation;

pub(crate) use webhook::{ClientError, ConfigurationStrategy, Endpoint, Webhooks, client_config};

/// Whether the call writes the object itself: `scale`, `binding` and the like are other objects upstream. To resize a
/// Pod is to ask for as much as it takes to create one.
fn is_plain(call: &Call<'_>) -> bool {
    matches!(call.subresource, "" | "status" | "resize")
}

/// Completes the object. True when webhooks changed it.
pub(crate) async fn mutate(
    call: &Call<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<bool, ApiError> {
    if !is_plain(call) {
        return Ok(false);
    }
    if old.is_none() && call.kind.is("", "pods") {
        service_account::admit(call, object).await?;
        limit_range::complete(call, object).await?;
    }
    webhook::mutate(call, object, old).await
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
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    webhook::validate(call, operation, Some(object), old).await?;
    quota::admit(call, object, old).await
}

/// Judges the body of a subresource that is an object of its own: a binding, an eviction, a scale.
///
/// Webhooks may refuse it; a patch of one is an error, since such bodies are not kept.
pub(crate) async fn subresource(
    call: &Call<'_>,
    operation: Operation,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    webhook::judge_body(call, operation, object, old).await?;
    crate::policies::admit(call, operation, Some(object), old).await
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
