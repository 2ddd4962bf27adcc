//! Following a part of the store: the one loop of everything that acts on stored objects.
//!
//! ```text
//! list ─► objects by key ─► View::take_up ─► caught up to the list's revision
//!  ▲                             ▲
//!  │ fell behind, compacted,     │ what changed, together with what is there now
//!  │ store failed                │
//!  └──────────────────── watch after that revision
//! ```
//! A [`View`] says what it keeps of an object, and is shown all of that after each change: it makes its index of what
//! is there now, not of what has happened. What changed is told beside, for views to which a whole round is dear.
//! Changes that wait together are taken up together.
//!
//! # Invariants
//!
//! * After [`start`] the view has taken up everything that was committed before; [`CaughtUp`] says how far it is since,
//!   and never runs ahead of it.
//! * Whatever a watch missed is found by the list that follows it: changes, creations and deletions.
//! * An object that cannot be read stays as it was, and is tried again until it can be, without a further change.
//! * While the store fails, the view stays as it was.

mod caught_up;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use store::{Entry, Event, ListRequest, Revision, Store, StoreError, WatchError, WatchItem};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::registry::codec::LoadError;

pub(crate) use caught_up::CaughtUp;

/// Pause before the store is asked again that failed, and before what could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Most changes that are taken up together.
const BATCH: usize = 500;

/// What is made of a part of the store.
pub(crate) trait View: Send + 'static {
    /// What is kept of an object.
    type Known: Send + Sync + 'static;
    /// Begin of the keys that are followed.
    const PREFIX: &'static str;
    /// What is followed, for messages: `RBAC objects`.
    const WHAT: &'static str;
    /// Whether [`start`] fails when an object cannot be read. A view that refuses by what it knows needs all of it.
    const NEEDS_ALL: bool = true;

    /// What is to be kept of an entry; `None` if it does not concern the view.
    fn read(&self, entry: &Entry) -> Result<Option<Self::Known>, LoadError>;

    /// Takes up what is there now. `changed` are the keys that were written or deleted since the last call, at the
    /// first call all of them.
    fn take_up(
        &mut self,
        objects: &Objects<Self::Known>,
        changed: &BTreeSet<Arc<str>>,
    ) -> impl Future<Output = ()> + Send;
}

/// What is kept of the objects there are, by key.
pub(crate) struct Objects<K>(BTreeMap<Arc<str>, (Revision, K)>);

impl<K> Objects<K> {
    /// What is kept of one object.
    pub(crate) fn get(&self, key: &str) -> Option<&K> {
        self.0.get(key).map(|(_, known)| known)
    }

    /// What is kept of each object.
    pub(crate) fn values(&self) -> impl Iterator<Item = &K> {
        self.0.values().map(|(_, known)| known)
    }

    /// What is kept of the objects whose keys begin so.
    pub(crate) fn below(&self, prefix: &str) -> impl Iterator<Item = &K> {
        self.0
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, (_, known))| known)
    }
}

/// Takes up what is there, then follows until `stop` or until the store is closed.
///
/// # Errors
/// When the store cannot be listed, or when one object cannot be read that the view [needs](View::NEEDS_ALL).
pub(crate) async fn start<V: View>(
    view: V,
    store: Arc<dyn Store>,
    caught_up: Arc<CaughtUp>,
    stop: CancellationToken,
) -> Result<(), LoadError> {
    let mut follower = Follower {
        view,
        store,
        caught_up,
        objects: Objects(BTreeMap::new()),
        unread: BTreeSet::new(),
        at: Revision::ZERO,
    };
    let failed = follower.list().await?;
    if let Some(error) = failed.filter(|_| V::NEEDS_ALL) {
        return Err(error);
    }
    tokio::spawn(stop.run_until_cancelled_owned(async move { follower.run().await }));
    Ok(())
}

/// Why a watch is over.
enum Ended {
    /// The store is closed.
    Closed,
    /// What is there must be listed, at once or after a pause.
    Behind { pause: bool },
}

struct Follower<V: View> {
    view: V,
    store: Arc<dyn Store>,
    caught_up: Arc<CaughtUp>,
    objects: Objects<V::Known>,
    /// Objects that could not be read as they are now.
    unread: BTreeSet<Arc<str>>,
    /// The revision up to which everything is taken up.
    at: Revision,
}

impl<V: View> Follower<V> {
    async fn run(&mut self) {
        loop {
            match self.watch().await {
                Ended::Closed => return,
                Ended::Behind { pause: true } => tokio::time::sleep(AGAIN).await,
                Ended::Behind { pause: false } => {}
            }
            loop {
                match self.list().await {
                    Ok(_) => break,
                    Err(StoreError::Closed) => return,
                    Err(e) => {
                        tracing::error!(error = %e, "listing {}; they stay as they were", V::WHAT);
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    }

    /// Takes up what is there now, whatever was known. Gives the error of an object that cannot be read.
    async fn list(&mut self) -> Result<Option<LoadError>, StoreError> {
        let listing = self.store.list(ListRequest::prefix(V::PREFIX)).await?;
        let mut changed = BTreeSet::new();
        let mut failed = None;
        let mut gone: BTreeSet<Arc<str>> = self.objects.0.keys().cloned().collect();
        for entry in &listing.entries {
            gone.remove(&entry.key);
            let known = self.objects.0.get(&entry.key);
            if known.is_none_or(|(modified, _)| *modified != entry.modified)
                && let Err(e) = self.note(entry, &mut changed)
            {
                tracing::error!(error = %e, "one of {} cannot be read and stays as it was", V::WHAT);
                failed = Some(e);
            }
        }
        let there = |key: &Arc<str>| {
            let found = listing.entries.binary_search_by(|e| e.key.cmp(key));
            found.is_ok()
        };
        self.unread.retain(there);
        for key in gone {
            self.objects.0.remove(&key);
            changed.insert(key);
        }
        self.advance(&changed, listing.revision).await;
        Ok(failed)
    }

    /// Keeps what an entry says now.
    fn note(&mut self, entry: &Entry, changed: &mut BTreeSet<Arc<str>>) -> Result<(), LoadError> {
        let key = Arc::clone(&entry.key);
        match self.view.read(entry) {
            Ok(known) => {
                self.unread.remove(&key);
                let is_known = known.is_some();
                let before = match known {
                    Some(known) => {
                        let of_now = (entry.modified, known);
                        self.objects.0.insert(Arc::clone(&key), of_now)
                    }
                    None => self.objects.0.remove(&key),
                };
                if is_known || before.is_some() {
                    changed.insert(key);
                }
                Ok(())
            }
            Err(e) => {
                self.unread.insert(key);
                Err(e)
            }
        }
    }

    fn note_event(&mut self, event: &Event, changed: &mut BTreeSet<Arc<str>>) {
        if let Some(entry) = event.entry() {
            if let Err(e) = self.note(&entry, changed) {
                tracing::error!(error = %e, "one of {} cannot be read and stays as it was", V::WHAT);
            }
            return;
        }
        self.unread.remove(&event.key);
        if self.objects.0.remove(&event.key).is_some() {
            changed.insert(Arc::clone(&event.key));
        }
    }

    /// Shows the view what is there at `revision`.
    async fn advance(&mut self, changed: &BTreeSet<Arc<str>>, revision: Revision) {
        // The first call is made for nothing, too: a view may make something of there being nothing.
        if !changed.is_empty() || self.at == Revision::ZERO {
            self.view.take_up(&self.objects, changed).await;
        }
        self.at = revision;
        self.caught_up.advance(revision);
    }

    /// Takes up changes until the watch ends, or it is time to try again what could not be read.
    async fn watch(&mut self) -> Ended {
        let mut events = match self.store.watch(V::PREFIX, self.at).await {
            Ok(events) => events,
            Err(StoreError::Closed) => return Ended::Closed,
            Err(e) => {
                tracing::warn!(error = %e, "watching {}; they are listed again", V::WHAT);
                return Ended::Behind { pause: true };
            }
        };
        let again = Instant::now() + AGAIN;
        let mut fruitless = true;
        loop {
            let first = tokio::select! {
                item = events.next() => item,
                () = tokio::time::sleep_until(again), if !self.unread.is_empty() => {
                    return Ended::Behind { pause: false };
                }
            };
            let mut changed = BTreeSet::new();
            let mut at = self.at;
            let mut item = first.map(Some);
            let ended = loop {
                match item {
                    Ok(Some(WatchItem::Event(event))) => {
                        at = event.revision;
                        self.note_event(&event, &mut changed);
                    }
                    Ok(Some(WatchItem::Progress(revision))) => at = revision,
                    Ok(None) => break None,
                    Err(WatchError::Closed) => break Some(Ended::Closed),
                    // A watch that gave nothing is no reason to list at full speed.
                    Err(WatchError::Lagged { .. }) => {
                        break Some(Ended::Behind { pause: fruitless });
                    }
                }
                fruitless = false;
                if changed.len() >= BATCH {
                    break None;
                }
                item = events.poll_now();
            };
            self.advance(&changed, at).await;
            if let Some(ended) = ended {
                return ended;
            }
        }
    }
}
