//! Update: read, propose, complete, judge, compare and swap; again when somebody else was faster.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::Value;
use store::{Precondition, Revision};

use super::change::{Change, Proposal};
use super::create::create_proposed;
use super::pipeline::{self, CommitError};
use super::{Call, checks, claims, codec, metadata, store_error, versions};
use crate::admission;
use crate::conversion::with_versions;
use crate::decode::Decoded;
use crate::limits;
use crate::strategies;
use crate::strategy::Operation;

/// What became of an update.
pub(crate) struct Outcome {
    pub object: Value,
    pub created: bool,
}

/// Replaces the object by a request body (PUT).
pub(crate) async fn replace(call: &Call<'_>, mut decoded: Decoded) -> Result<Outcome, ApiError> {
    // What is no object of the kind is refused whether or not there is something to replace.
    checks::type_of(call, &mut decoded.value)?;
    checks::place(call, &mut decoded.value)?;
    update(
        call,
        &Replace(
            decoded,
            call.kind.behaviour.create_on_update && call.subresource.is_empty(),
        ),
    )
    .await
}

/// Changes the object by a function of its present state.
pub(crate) async fn update_with(
    call: &Call<'_>,
    change: impl Fn(&mut Value) -> Result<(), ApiError> + Sync,
) -> Result<Value, ApiError> {
    update(call, &With(change))
        .await
        .map(|outcome| outcome.object)
}

struct Replace(Decoded, bool);

impl Change for Replace {
    fn propose(
        &self,
        _old: Option<&Value>,
        _versions: Option<&dyn smd::Versions>,
    ) -> Result<Proposal, ApiError> {
        Ok(Proposal {
            object: self.0.value.clone(),
            duplicates: self.0.duplicates.clone(),
            applied: false,
            whole: true,
        })
    }

    fn creates(&self) -> bool {
        self.1
    }
}

struct With<F>(F);

impl<F: Fn(&mut Value) -> Result<(), ApiError> + Sync> Change for With<F> {
    fn propose(
        &self,
        old: Option<&Value>,
        _versions: Option<&dyn smd::Versions>,
    ) -> Result<Proposal, ApiError> {
        let mut object = old.cloned().unwrap_or_default();
        (self.0)(&mut object)?;
        Ok(Proposal {
            object,
            duplicates: Vec::new(),
            applied: false,
            whole: false,
        })
    }

    fn creates(&self) -> bool {
        false
    }
}

/// See the module.
pub(super) async fn update(call: &Call<'_>, change: &dyn Change) -> Result<Outcome, ApiError> {
    let resource = call.kind.group_resource();
    let key = call.kind.key(call.namespace, call.name);
    for again in 0..limits::UPDATE_ATTEMPTS {
        let entry = if again == 0 {
            call.reader.entry(&key).await?
        } else {
            // Somebody else has changed it since this request came.
            let (entry, _) = call.registry.store.get(&key).await.map_err(store_error)?;
            entry
        };
        let Some(entry) = entry else {
            if !change.creates() {
                return Err(ApiError::not_found(&resource, call.name));
            }
            let proposal = change.propose(None, None)?;
            if proposal.whole && meta::uid(&proposal.object).is_some() && proposal.applied {
                return Err(ApiError::conflict(
                    &resource,
                    call.name,
                    "uid mismatch: the provided object specified a uid, and no existing object was found",
                ));
            }
            match create_proposed(call, proposal).await {
                Err(e) if e.is_already_exists() => continue,
                other => {
                    return other.map(|object| Outcome {
                        object,
                        created: true,
                    });
                }
            }
        };
        let sealing = &call.registry.sealing;
        let stale = sealing.is_stale(&entry.key, &entry.value)
            || versions::is_stale(call.registry, call.kind, &entry);
        let entry = versions::entry(call.registry, call.kind, entry).await?;
        let old = codec::decode(sealing, call.kind, &entry)?;
        let propose = |versions: Option<&dyn smd::Versions>| change.propose(Some(&old), versions);
        let proposal = with_versions(call.registry, call.kind, propose).await??;
        let read = Read {
            object: old,
            at: entry.modified,
            stale,
        };
        match attempt(call, proposal, read).await? {
            Some(object) => {
                return Ok(Outcome {
                    object,
                    created: false,
                });
            }
            None => {
                tracing::debug!(resource = %resource, name = call.name, "an update lost a race and is tried again");
            }
        }
    }
    Err(ApiError::modified(&resource, call.name))
}

/// What an update begins with.
struct Read {
    object: Value,
    at: Revision,
    /// Whether a write would store even the same object in another form.
    stale: bool,
}

/// One attempt; `None` when it lost a race and may be tried again.
async fn attempt(
    call: &Call<'_>,
    proposal: Proposal,
    read: Read,
) -> Result<Option<Value>, ApiError> {
    let Read {
        object: old,
        at,
        stale,
    } = read;
    let resource = call.kind.group_resource();
    let mut object = proposal.object;
    let patched = !proposal.whole && !proposal.applied;
    if let Err(error) = checks::type_of(call, &mut object) {
        // Of what a patch made, the patch is at fault.
        return Err(if patched && error.code() == 400 {
            pipeline::undecodable(call, &object, &error.0.message, true)
        } else {
            error
        });
    }
    metadata::tidy(&mut object);
    checks::place(call, &mut object)?;
    let demanded = preconditions(call, &object, &old, proposal.whole)?;
    let mut errors = pipeline::conform(
        call,
        &mut object,
        Some(&old),
        &proposal.duplicates,
        !proposal.whole,
    )?;
    separate_status(call, &mut object, &old);
    metadata::on_update(call.kind, &mut object, &old);
    // Whoever chooses an address holds this until the choice is committed.
    let _guard = if call.kind.is("", "services") {
        Some(call.registry.address_lock.lock().await)
    } else {
        None
    };
    meta::set_resource_version(&mut object, meta::resource_version(&old));
    let cx = call.context(Operation::Update, call.name);
    let shared = call.kind.is("", "services") && call.registry.shared;
    let proposed = (shared && call.subresource.is_empty()).then(|| object.clone());
    let mut attempts = 0;
    let _claim = loop {
        for strategy in call.registry.strategies(call.kind) {
            strategy.prepare_update(&cx, &mut object, &old).await?;
        }
        let Some(proposed) = &proposed else {
            break None;
        };
        let choice = strategies::claim_addresses(call, call.name, at.0, &object, Some(&old));
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
    let mutated = admission::mutate(call, &mut object, Some(&old)).await?;
    metadata::set_generation(call.kind, &mut object, &old);
    if !proposal.applied {
        pipeline::manage(call, &mut object, Some(&old)).await?;
    } else if mutated {
        pipeline::manage(call, &mut object, applied.as_ref()).await?;
    }
    errors.retain(|_| call.subresource.is_empty());
    pipeline::judge(call, &object, Some(&old), errors).await?;
    let quota = admission::validate(call, &object, Some(&old)).await?;
    if metadata::is_noop(&object, &old) && !stale {
        return Ok(Some(old));
    }
    if call.options.dry_run {
        return versions::shown(call, object).await.map(Some);
    }
    let gone = is_finished(call, &object);
    let committed = if gone {
        pipeline::commit(call, call.name, Precondition::At(at), None).await
    } else {
        pipeline::commit(call, call.name, Precondition::At(at), Some(&mut object)).await
    };
    drop(quota);
    match committed {
        Ok(_) => {
            if gone {
                admission::removed(call).await;
            } else {
                admission::updated(call, &object).await;
            }
            Ok(Some(object))
        }
        Err(CommitError::Failed(e)) => Err(e),
        Err(CommitError::Lost) if demanded => Err(ApiError::modified(&resource, call.name)),
        Err(CommitError::Lost) => Ok(None),
    }
}

/// Checks the resourceVersion and uid that the client demands. True when a lost race must not be retried.
fn preconditions(
    call: &Call<'_>,
    object: &Value,
    old: &Value,
    whole: bool,
) -> Result<bool, ApiError> {
    let resource = call.kind.group_resource();
    if let Some(uid) = meta::uid(object)
        && meta::uid(old) != Some(uid)
    {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(old).unwrap_or_default()
        );
        return Err(ApiError::conflict(&resource, call.name, why));
    }
    match meta::resource_version(object) {
        Some(version) if Some(version) != meta::resource_version(old) => {
            Err(ApiError::modified(&resource, call.name))
        }
        Some(_) => Ok(whole),
        None if whole && (call.kind.is_crd() || !call.kind.behaviour.unconditional_update) => {
            let path = FieldPath::new("metadata").child("resourceVersion");
            let error = FieldError::invalid(&path, 0, "must be specified for an update");
            // Upstream names the resource here, not the kind.
            let named = apimachinery::gvk::GroupKind::new(
                call.kind.group.clone(),
                call.kind.plural.clone(),
            );
            Err(ApiError::invalid(&named, call.name, vec![error]))
        }
        None => Ok(false),
    }
}

/// The main endpoint does not change the status; `/status` changes nothing else.
fn separate_status(call: &Call<'_>, object: &mut Value, old: &Value) {
    if !call.kind.behaviour.status {
        return;
    }
    let (Some(new), Some(before)) = (object.as_object_mut(), old.as_object()) else {
        return;
    };
    if call.subresource == "status" {
        let status = new.remove("status");
        let mut meta = new.remove("metadata");
        let mut kept = before.clone();
        if call.kind.is_crd()
            || call
                .kind
                .is("apiextensions.k8s.io", "customresourcedefinitions")
        {
            // Only managedFields follow the status; labels and the rest stay.
            let fields = meta
                .as_mut()
                .and_then(|m| m.get_mut("managedFields"))
                .map(Value::take);
            if let (Some(Value::Object(old_meta)), Some(fields)) =
                (kept.get_mut("metadata"), fields)
            {
                old_meta.insert("managedFields".to_owned(), fields);
            }
        } else if let Some(meta) = meta {
            kept.insert("metadata".to_owned(), meta);
        }
        match status {
            Some(status) => kept.insert("status".to_owned(), status),
            None => kept.remove("status"),
        };
        *new = kept;
    } else if matches!(call.subresource, "" | "finalize") {
        match before.get("status") {
            Some(status) => new.insert("status".to_owned(), status.clone()),
            None => new.remove("status"),
        };
    }
}

/// Whether nothing holds a deleted object any more.
pub(super) fn is_finished(call: &Call<'_>, object: &Value) -> bool {
    meta::is_deleting(object)
        && meta::finalizers(object).is_empty()
        && meta::deletion_grace_period(object).unwrap_or(0) == 0
        && !(call.kind.is("", "namespaces")
            && object
                .pointer("/spec/finalizers")
                .and_then(Value::as_array)
                .is_some_and(|f| !f.is_empty()))
}
