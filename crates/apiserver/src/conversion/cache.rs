//! Converted objects of one CRD, by what they were made of: each version of an object is converted once, however
//! many read or watch it.
//!
//! ```text
//! claim ─┬─ Ready: it was converted before
//!        ├─ Ours: convert it, and tell with Flight::done; whoever claims it meanwhile waits
//!        └─ Pending: somebody is converting it; wait, for the result or for its failure
//! ```
//! # Invariants
//!
//! * What is kept is bounded by [`limits::CONVERTED_BYTES`]: when the young half is full it becomes the old one, and
//!   what of the old one was not asked for meanwhile goes.
//! * The cache goes with its CRD: another schema or another webhook begins with an empty one.
//! * A failure is told to all who wait and is not kept. Who was to convert and gave up leaves the object to the next.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apimachinery::status::ApiError;
use bytes::Bytes;
use tokio::sync::watch;

use crate::limits;

/// A stored object at one revision, and the version that is wanted of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub object: String,
    pub revision: u64,
    pub api_version: String,
}

type Outcome = Result<Bytes, ApiError>;
/// Tells the outcome; closed without one when the converter gave up.
pub(crate) type Pending = watch::Receiver<Option<Outcome>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Cache(Mutex<State>);

#[derive(Default)]
struct State {
    young: HashMap<Key, Bytes>,
    old: HashMap<Key, Bytes>,
    /// Bytes of the young half.
    bytes: usize,
    pending: HashMap<Key, Pending>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let kept = state.young.len() + state.old.len();
        f.debug_struct("Cache").field("kept", &kept).finish()
    }
}

/// What is known of a conversion.
pub(crate) enum Claim {
    Ready(Bytes),
    Ours(Flight),
    Pending(Pending),
}

/// The duty to convert an object.
pub(crate) struct Flight {
    cache: Arc<Cache>,
    key: Key,
    tell: watch::Sender<Option<Outcome>>,
}

impl Flight {
    /// Tells what became of it.
    pub(crate) fn done(self, outcome: Outcome) {
        if let Ok(bytes) = &outcome {
            self.cache.lock().keep(self.key.clone(), bytes.clone());
        }
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.cache.lock().pending.remove(&self.key);
    }
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was converted before.
    pub(crate) fn get(&self, key: &Key) -> Option<Bytes> {
        self.lock().get(key)
    }

    /// Finds out who converts an object.
    pub(crate) fn claim(self: &Arc<Self>, key: Key) -> Claim {
        let mut state = self.lock();
        if let Some(bytes) = state.get(&key) {
            return Claim::Ready(bytes);
        }
        if let Some(pending) = state.pending.get(&key) {
            return Claim::Pending(pending.clone());
        }
        let (tell, pending) = watch::channel(None);
        state.pending.insert(key.clone(), pending);
        Claim::Ours(Flight {
            cache: Arc::clone(self),
            key,
            tell,
        })
    }
}

impl State {
    fn get(&mut self, key: &Key) -> Option<Bytes> {
        if let Some(bytes) = self.young.get(key) {
            return Some(bytes.clone());
        }
        let (key, bytes) = self.old.remove_entry(key)?;
        self.keep(key, bytes.clone());
        Some(bytes)
    }

    fn keep(&mut self, key: Key, bytes: Bytes) {
        let size = key.object.len() + key.api_version.len() + bytes.len() + 64;
        if self.bytes + size > limits::CONVERTED_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += size;
        self.young.insert(key, bytes);
    }
}

/// The outcome that somebody else tells; `None` when nobody does.
pub(crate) async fn outcome(mut pending: Pending) -> Option<Outcome> {
    let told = pending.wait_for(Option::is_some).await.ok()?;
    told.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(object: &str) -> Key {
        Key {
            object: object.to_owned(),
            revision: 1,
            api_version: "v2".to_owned(),
        }
    }

    fn ours(cache: &Arc<Cache>, object: &str) -> Flight {
        match cache.claim(key(object)) {
            Claim::Ours(flight) => flight,
            _ => panic!("somebody else converts {object}"),
        }
    }

    fn pending(cache: &Arc<Cache>, object: &str) -> Pending {
        match cache.claim(key(object)) {
            Claim::Pending(pending) => pending,
            _ => panic!("nobody converts {object}"),
        }
    }

    #[tokio::test]
    async fn one_converts_and_the_others_wait() {
        let cache = Arc::new(Cache::default());
        let flight = ours(&cache, "a");
        let waiting = pending(&cache, "a");
        flight.done(Ok(Bytes::from_static(b"x")));
        assert_eq!(outcome(waiting).await, Some(Ok(Bytes::from_static(b"x"))));
        assert_eq!(cache.get(&key("a")), Some(Bytes::from_static(b"x")));
        let other = Key {
            revision: 2,
            ..key("a")
        };
        assert_eq!(cache.get(&other), None);
    }

    #[tokio::test]
    async fn failures_are_told_and_forgotten_and_the_next_takes_over() {
        let cache = Arc::new(Cache::default());
        let flight = ours(&cache, "a");
        let waiting = pending(&cache, "a");
        flight.done(Err(ApiError::internal("no")));
        assert!(outcome(waiting).await.unwrap().is_err());
        let flight = ours(&cache, "a");
        let waiting = pending(&cache, "a");
        drop(flight);
        assert_eq!(outcome(waiting).await, None);
        ours(&cache, "a");
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_asked_for_stays() {
        let cache = Arc::new(Cache::default());
        let large = Bytes::from(vec![0; limits::CONVERTED_BYTES / 8]);
        ours(&cache, "wanted").done(Ok(large.clone()));
        for index in 0..50 {
            ours(&cache, &index.to_string()).done(Ok(large.clone()));
            assert!(cache.get(&key("wanted")).is_some());
        }
        let state = cache.lock();
        let kept: usize = state
            .young
            .values()
            .chain(state.old.values())
            .map(Bytes::len)
            .sum();
        assert!(kept <= limits::CONVERTED_BYTES, "{kept}");
        assert!(!state.young.contains_key(&key("0")) && !state.old.contains_key(&key("0")));
        assert!(state.pending.is_empty());
    }
}
