//! Create.

use apimachinery::meta;
use apimachinery::status::{ApiError, StatusCause};
use serde_json::Value;
use store::Precondition;

use super::change::Proposal;
use super::pipeline::{self, CommitError};
use super::{Call, checks, claims, metadata, store_error, versions};
use crate::admission;
use crate::decode::Decoded;
use crate::limits;
use crate::strategies;
use crate::strategy::Operation;

/// Creates the object of a request body.
pub(crate) async fn create(call: &Call<'_>, decoded: Decoded) -> Result<Value, ApiError> {
    let proposal = Proposal {
        object: decoded.value,
        duplicates: decoded.duplicates,
        applied: false,
        whole: true,
    };
    create_proposed(call, proposal).await
}

/// Creates an object that a request body, or an apply, proposes.
pub(super) async fn create_proposed(
    call: &Call<'_>,
    proposal: Proposal,
) -> Result<Value, ApiError> {
    let mut object = proposal.object;
    checks::type_of(call, &mut object)?;
    metadata::tidy(&mut object);
    checks::place(call, &mut object)?;
    if meta::resource_version(&object).is_some_and(|v| v != "0") {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let errors = pipeline::conform(call, &mut object, None, &proposal.duplicates, false)?;
    if call.kind.crd.as_ref().is_some_and(|crd| crd.terminating) {
        let mut error = ApiError::method_not_supported(&call.kind.group_resource(), "create");
        error.0.message =
            "create not allowed while custom resource definition is terminating".to_owned();
        return Err(error);
    }
    namespace_admits(call, &object).await?;
    metadata::on_create(call.kind, &mut object, call.now);
    if call.kind.behaviour.status
        && !call.kind.is("", "nodes")
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    let generated = meta::name(&object).is_none() && meta::generate_name(&object).is_some();
    metadata::generate(&mut object);
    // Whoever chooses an address holds this until the choice is committed.
    let _guard = if call.kind.is("", "services") {
        Some(call.registry.address_lock.lock().await)
    } else {
        None
    };
    let name = meta::name(&object).unwrap_or_default().to_owned();
    let cx = call.context(Operation::Create, &name);
    let proposed = (call.kind.is("", "services") && call.registry.shared).then(|| object.clone());
    let mut attempts = 0;
    let _claim = loop {
        for strategy in call.registry.strategies(call.kind) {
            strategy.prepare_create(&cx, &mut object).await?;
        }
        let Some(proposed) = &proposed else {
            break None;
        };
        let choice = strategies::claim_addresses(call, &name, 0, &object, None);
        if let strategies::Choice::Ours(held) = choice.await? {
            break held;
        }
        // Another replica was quicker: choose again, or be told that it is taken.
        attempts += 1;
        if attempts == limits::GENERATE_ATTEMPTS {
            return Err(claims::contended());
        }
        object.clone_from(proposed);
    };
    pipeline::fill(call, &mut object);
    let applied = proposal.applied.then(|| object.clone());
    let mutated = admission::mutate(call, &mut object, None).await?;
    for strategy in call.registry.strategies(call.kind) {
        strategy.derive(&mut object);
    }
    if !proposal.applied {
        pipeline::manage(call, &mut object, None).await?;
    } else if mutated {
        pipeline::manage(call, &mut object, applied.as_ref()).await?;
    }
    pipeline::judge(call, &object, None, errors).await?;
    let _quota = admission::validate(call, &object, None).await?;
    if call.options.dry_run {
        let (entry, _) = call
            .registry
            .store
            .get(&call.kind.key(call.namespace, &name))
            .await
            .map_err(store_error)?;
        return match entry {
            Some(_) => Err(ApiError::already_exists(&call.kind.group_resource(), &name)),
            None => versions::shown(call, object).await,
        };
    }
    for _ in 0..limits::GENERATE_ATTEMPTS {
        let name = meta::name(&object).unwrap_or_default().to_owned();
        match pipeline::commit(call, &name, Precondition::Absent, Some(&mut object)).await {
            Ok(_) => {
                drop(_quota);
                admission::created(call, &object).await;
                return Ok(object);
            }
            Err(CommitError::Failed(e)) => return Err(e),
            Err(CommitError::Lost) if generated => {
                if let Some(meta) = meta::metadata_mut(&mut object) {
                    meta.remove("name");
                }
                metadata::generate(&mut object);
            }
            Err(CommitError::Lost) => {
                return Err(ApiError::already_exists(&call.kind.group_resource(), &name));
            }
        }
    }
    let base = meta::generate_name(&object).unwrap_or_default();
    Err(ApiError::generate_name_conflict(
        &call.kind.group_resource(),
        base,
        1,
    ))
}

/// Nothing is created in a namespace that does not exist or is going away.
async fn namespace_admits(call: &Call<'_>, object: &Value) -> Result<(), ApiError> {
    if !call.kind.namespaced {
        return Ok(());
    }
    let Some(namespace) = call
        .reader
        .get("", "namespaces", "", call.namespace)
        .await?
    else {
        return Err(ApiError::not_found(
            &apimachinery::gvk::GroupResource::new("", "namespaces"),
            call.namespace,
        ));
    };
    let terminating = meta::is_deleting(&namespace)
        || namespace
            .pointer("/status/phase")
            .is_some_and(|p| p == "Terminating");
    if !terminating {
        return Ok(());
    }
    let name = meta::name(object)
        .or_else(|| meta::generate_name(object))
        .unwrap_or_default();
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        call.namespace
    );
    Err(
        ApiError::forbidden(&call.kind.group_resource(), name, why).with_cause(StatusCause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {} is being terminated", call.namespace),
            field: "metadata.namespace".to_owned(),
        }),
    )
}
