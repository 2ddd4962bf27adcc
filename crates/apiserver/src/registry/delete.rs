//! Delete and deletecollection.
//!
//! ```text
//! preconditions ─► finalizers by propagation policy ─► nothing holds it? ── yes ─► removed
//!                                                            │ no
//!                             deletionTimestamp set, kept until its finalizers (and grace period) are gone
//! ```
//! Background is the default: dependents are the garbage collector's. `Foreground` and `Orphan` add the finalizer
//! that makes the garbage collector act first.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::{ApiError, Status, StatusDetails};
use jiff::SignedDuration;
use serde_json::Value;
use store::{Entry, ListRequest, Precondition};

use super::delete_options::{DeleteOptions, Propagation};
use super::list::{Listed, list};
use super::pipeline::{self, CommitError};
use super::{Call, codec, store_error, versions};
use crate::crd;
use crate::kinds::Kind;
use crate::limits;
use crate::request::Query;
use crate::strategy::Operation;

/// Deletes the object of the call. Gives what the client is shown: the object while it stays, else a `Status`
/// (or, for some kinds, the object as it was).
pub(crate) async fn delete(call: &Call<'_>, options: &DeleteOptions) -> Result<Value, ApiError> {
    remove(call, options, true).await
}

/// As [`delete`], when policies and webhooks were asked in another form.
pub(crate) async fn delete_admitted(
    call: &Call<'_>,
    options: &DeleteOptions,
) -> Result<Value, ApiError> {
    remove(call, options, false).await
}

async fn remove(call: &Call<'_>, options: &DeleteOptions, asks: bool) -> Result<Value, ApiError> {
    let resource = call.kind.group_resource();
    let key = call.kind.key(call.namespace, call.name);
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let (entry, _) = call.registry.store.get(&key).await.map_err(store_error)?;
        let Some(entry) = entry else {
            return Err(ApiError::not_found(&resource, call.name));
        };
        let entry = versions::entry(call.registry, call.kind, entry).await?;
        let object = codec::decode(&call.registry.sealing, call.kind, &entry)?;
        preconditions(call, options, &object)?;
        let cx = call.context(Operation::Delete, call.name);
        for strategy in call.registry.strategies(call.kind) {
            strategy.validate_delete(&cx, &object).await?;
        }
        if asks {
            crate::policies::admit(call, Operation::Delete, None, Some(&object)).await?;
            crate::admission::validate_delete(call, &object).await?;
        }
        match attempt(call, options, object, &entry).await {
            Ok(answer) => return Ok(answer),
            Err(CommitError::Failed(e)) => return Err(e),
            Err(CommitError::Lost) => {}
        }
    }
    Err(ApiError::modified(&resource, call.name))
}

fn preconditions(call: &Call<'_>, options: &DeleteOptions, object: &Value) -> Result<(), ApiError> {
    // Upstream names the kind here, not the resource.
    let named = GroupResource::new(call.kind.group.clone(), call.kind.kind.clone());
    if let Some(uid) = &options.uid
        && meta::uid(object) != Some(uid)
    {
        let have = meta::uid(object).unwrap_or_default();
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({have}). The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(&named, call.name, why));
    }
    if let Some(version) = &options.resource_version
        && meta::resource_version(object) != Some(version)
    {
        let have = meta::resource_version(object).unwrap_or_default();
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({have}). The object might have been modified"
        );
        return Err(ApiError::conflict(&named, call.name, why));
    }
    Ok(())
}

async fn attempt(
    call: &Call<'_>,
    options: &DeleteOptions,
    mut object: Value,
    entry: &Entry,
) -> Result<Value, CommitError> {
    let mut before = object.clone();
    finalizers_for(&mut object, options.propagation);
    let grace = grace_period(call.kind, options, &object);
    mark(call, &mut object, grace);
    if call.kind.is(crd::GROUP, crd::PLURAL) && !meta::is_deleting(&before) {
        let mut finalizers: Vec<String> = meta::finalizers(&object)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !finalizers.iter().any(|f| f == crd::CLEANUP) {
            finalizers.push(crd::CLEANUP.to_owned());
        }
        meta::set_finalizers(&mut object, finalizers);
    }
    let namespace = call.kind.is("", "namespaces");
    if namespace && let Some(map) = object.as_object_mut() {
        let status = map
            .entry("status")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        status["phase"] = Value::String("Terminating".to_owned());
    }
    let gone = super::update::is_finished(call, &object);
    let dry_run = options.dry_run || call.options.dry_run;
    if gone {
        if !dry_run {
            let at = Precondition::At(entry.modified);
            let committed = pipeline::commit(call, call.name, at, None).await?;
            crate::admission::removed(call).await;
            // What is shown of it carries the revision of its end.
            for shown in [&mut object, &mut before] {
                meta::set_resource_version(shown, Some(&committed.revision.0.to_string()));
            }
        }
        // A Pod is shown as it ends, others as they were.
        return Ok(removed(
            call.kind,
            if call.kind.behaviour.graceful {
                &object
            } else {
                &before
            },
        ));
    }
    if object != before && !dry_run {
        pipeline::commit(
            call,
            call.name,
            Precondition::At(entry.modified),
            Some(&mut object),
        )
        .await?;
    }
    Ok(object)
}

fn finalizers_for(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else {
        return;
    };
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .into_iter()
        .filter(|f| !matches!(*f, "orphan" | "foregroundDeletion"))
        .map(str::to_owned)
        .collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push("foregroundDeletion".to_owned()),
        Propagation::Orphan => finalizers.push("orphan".to_owned()),
    }
    meta::set_finalizers(object, finalizers);
}

/// Seconds that the object may take to end: only Pods that run somewhere take any.
fn grace_period(kind: &Kind, options: &DeleteOptions, object: &Value) -> i64 {
    if !kind.behaviour.graceful {
        return 0;
    }
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed")
    {
        return 0;
    }
    let asked = options
        .grace_period
        .or_else(|| {
            object
                .pointer("/spec/terminationGracePeriodSeconds")
                .and_then(Value::as_i64)
        })
        .unwrap_or(30);
    // A negative period means "soon", not "never" and not "at once".
    if asked < 0 { 1 } else { asked }
}

/// Sets or shortens the deletion; a second deletion never prolongs the first.
fn mark(call: &Call<'_>, object: &mut Value, grace: i64) {
    match meta::deletion_timestamp(object) {
        None => {
            let end = call
                .now
                .checked_add(SignedDuration::from_secs(grace))
                .unwrap_or(call.now);
            meta::set_deletion_timestamp(object, Some(end));
            meta::set_deletion_grace_period(object, Some(grace));
            if let Some(generation) = meta::generation(object).filter(|g| *g > 0) {
                meta::set_generation(object, Some(generation + 1));
            }
        }
        Some(end) => {
            let planned = meta::deletion_grace_period(object).unwrap_or(0);
            if grace < planned {
                let earlier = end
                    .checked_sub(SignedDuration::from_secs(planned - grace))
                    .unwrap_or(call.now);
                meta::set_deletion_timestamp(object, Some(earlier));
                meta::set_deletion_grace_period(object, Some(grace));
            }
        }
    }
}

/// Kinds whose deletion answers with the object.
const SHOWN: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
];

fn removed(kind: &Kind, object: &Value) -> Value {
    if SHOWN.contains(&(kind.group.as_str(), kind.plural.as_str())) {
        return object.clone();
    }
    let details = StatusDetails {
        name: meta::name(object).unwrap_or_default().to_owned(),
        group: kind.group.clone(),
        kind: kind.plural.clone(),
        uid: meta::uid(object).unwrap_or_default().to_owned(),
        ..StatusDetails::default()
    };
    serde_json::to_value(Status::success(Some(details))).unwrap_or_default()
}

/// Deletes what the selectors match, and shows it.
pub(crate) async fn delete_collection(
    call: &Call<'_>,
    query: &Query,
    options: &DeleteOptions,
) -> Result<Listed, ApiError> {
    let listed = list(call.registry, call.kind, call.namespace, query).await?;
    for object in &listed.items {
        let namespace = meta::namespace(object).unwrap_or_default();
        let one = call.at(namespace, meta::name(object).unwrap_or_default());
        match Box::pin(delete(&one, options)).await {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    Ok(listed)
}

/// Deletes every object that is stored in the kind's version, in the background, and says how many of all versions
/// are left; for the end of a CRD.
pub(crate) async fn purge(call: &Call<'_>) -> Result<usize, ApiError> {
    let listing = call
        .registry
        .store
        .list(ListRequest::prefix(call.kind.prefix.clone()))
        .await
        .map_err(store_error)?;
    for entry in &listing.entries {
        if versions::is_stale(call.registry, call.kind, entry) {
            continue;
        }
        let object = codec::decode(&call.registry.sealing, call.kind, entry)?;
        let one = call.at(
            meta::namespace(&object).unwrap_or_default(),
            meta::name(&object).unwrap_or_default(),
        );
        let options = DeleteOptions {
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        match delete(&one, &options).await {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    let listing = call
        .registry
        .store
        .list(ListRequest::prefix(call.kind.prefix.clone()))
        .await
        .map_err(store_error)?;
    Ok(listing.entries.len())
}
