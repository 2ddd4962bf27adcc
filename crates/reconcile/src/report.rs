//! What a decision says of its own object: the status, and an Event that tells of it.

use kube::api::Api;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};

use crate::objects::{Object, get_opt, remove_finalizer, write_status};
use crate::{EventKind, ReconcileError, Recorder, controls, create_if_absent};

/// An Event that a decision asks for, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of the ordinary, or of trouble.
    pub kind: EventKind,
    /// One word in CamelCase, for programs.
    pub reason: &'static str,
    /// A sentence, for people.
    pub message: String,
}

impl Note {
    /// Tells of the ordinary.
    #[must_use]
    pub fn normal(reason: &'static str, message: String) -> Self {
        Note {
            kind: EventKind::Normal,
            reason,
            message,
        }
    }
}

/// Writes the status that was decided, if it is another one, and then the Event.
///
/// A status is written before anything that follows from it is done: what is repeated after a crash finds it.
///
/// # Errors
/// When the status cannot be written, [a conflict](ReconcileError::is_conflict) included; the Event is not written
/// then.
pub async fn report<K>(
    api: &Api<K>,
    recorder: &Recorder,
    object: &K,
    status: Option<K::Status>,
    note: Option<&Note>,
) -> Result<(), ReconcileError>
where
    K: Object + HasStatus,
    K::Status: PartialEq,
{
    let mut new = object.clone();
    *new.status_mut() = status;
    write_status(api, &new, object.status(), new.status()).await?;
    if let Some(note) = note {
        recorder.tell(object, note).await;
    }
    Ok(())
}

/// Creates `object`, which `owner` controls, or finds the one that it has created before. Whether it was created now
/// is not known: an Event that says so is one Event, however often it is written.
///
/// # Errors
/// When it cannot be created, or one of that name is not the owner's.
pub async fn create_owned<O, K>(api: &Api<K>, owner: &O, object: &K) -> Result<K, ReconcileError>
where
    O: Resource<DynamicType = ()>,
    K: Object,
{
    let made = create_if_absent(api, object).await?;
    if controls(owner, &made) {
        return Ok(made);
    }
    let (kind, name) = (K::kind(&()), object.name_any());
    Err(ReconcileError::other(
        format!("creating {kind} {name}"),
        format!(
            "a {kind} of that name exists and does not belong to {} {}: delete it, or rename this one",
            O::kind(&()),
            owner.name_any()
        ),
    ))
}

/// Takes the finalizer from the object as it is now: a status that was written has changed its version.
///
/// # Errors
/// When it cannot be read or written. An object that is gone is none.
pub async fn release<K: Object>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<(), ReconcileError> {
    match get_opt(api, &object.name_any()).await? {
        Some(now) if now.uid() == object.uid() => remove_finalizer(api, &now, finalizer).await,
        _ => Ok(()),
    }
}
