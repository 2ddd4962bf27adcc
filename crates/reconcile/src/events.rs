//! Events as `kubectl describe` shows them: repeated ones are counted, not multiplied.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use tracing::debug;

use crate::Note;

/// Longest message of an Event (kube-apiserver's limit).
const MESSAGE_LIMIT: usize = 1024;

/// Repetitions of an Event within this time are one: a controller that waits says so at every pass.
const REPEAT_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Whether an Event tells of the ordinary, or of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Something happened as it should.
    Normal,
    /// Somebody should have a look.
    Warning,
}

/// Writes Events in the name of one component.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    component: &'static str,
}

impl Recorder {
    /// A recorder for `component`, as Events name their source.
    #[must_use]
    pub fn new(client: Client, component: &'static str) -> Self {
        Self { client, component }
    }

    /// Records what a decision says of `object`; see [`Recorder::publish`].
    pub async fn tell<K>(&self, object: &K, note: &Note)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(object, note.kind, note.reason, &note.message)
            .await;
    }

    /// Records that `reason` happened to `object`.
    ///
    /// # Guarantees
    /// The same reason and message about the same object is one Event whose count grows, at most
    /// every few seconds. An Event
    /// that cannot be written is logged and dropped: it must never hold up the work it tells of.
    pub async fn publish<K>(&self, object: &K, kind: EventKind, reason: &str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
        let message: String = message.chars().take(MESSAGE_LIMIT).collect();
        let now = Time(Timestamp::now());
        let name = event_name(object, kind, reason, &message, self.component);
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let existing = api.get_opt(&name).await.ok().flatten();
        let written = if let Some(old) = existing {
            if is_fresh(old.last_timestamp.as_ref(), &now) {
                return;
            }
            let patch = serde_json::json!({
                "count": old.count.unwrap_or(1).saturating_add(1),
                "lastTimestamp": now,
            });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
        } else {
            let mut about: ObjectReference = object.object_ref(&());
            about.namespace = object.namespace();
            let event = Event {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: Some(namespace),
                    ..ObjectMeta::default()
                },
                involved_object: about,
                reason: Some(reason.to_owned()),
                message: Some(message),
                type_: Some(match kind {
                    EventKind::Normal => "Normal".to_owned(),
                    EventKind::Warning => "Warning".to_owned(),
                }),
                source: Some(EventSource {
                    component: Some(self.component.to_owned()),
                    host: None,
                }),
                first_timestamp: Some(now.clone()),
                last_timestamp: Some(now),
                count: Some(1),
                ..Event::default()
            };
            api.create(&PostParams::default(), &event).await
        };
        if let Err(error) = written {
            debug!(%error, reason, "event not written");
        }
    }
}

/// One name per (object, reason, message): the object's name and a hash, as upstream does with time.
fn event_name<K: Resource<DynamicType = ()>>(
    object: &K,
    kind: EventKind,
    reason: &str,
    message: &str,
    component: &str,
) -> String {
    let mut hash = DefaultHasher::new();
    (
        object.uid(),
        kind == EventKind::Warning,
        reason,
        message,
        component,
    )
        .hash(&mut hash);
    let base: String = object.name_any().chars().take(200).collect();
    format!("{base}.{:016x}", hash.finish())
}

fn is_fresh(last: Option<&Time>, now: &Time) -> bool {
    let age = last.map(|last| now.0.duration_since(last.0));
    age.is_some_and(|age| age >= SignedDuration::ZERO && age < REPEAT_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_in_short_order_are_one() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        assert!(is_fresh(Some(&at(100)), &at(100)));
        assert!(is_fresh(Some(&at(100)), &at(104)));
        assert!(!is_fresh(Some(&at(100)), &at(105)));
        // A clock that was set back does not silence Events for ever.
        assert!(!is_fresh(Some(&at(100)), &at(99)));
        assert!(!is_fresh(None, &at(100)));
    }
}
