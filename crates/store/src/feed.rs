//! The feed: the recent commits in memory, and the watchers that read them.
//!
//! ```text
//! committer --publish--> history: [compacted+1 ..= revision] --pull--> Watch (one position each)
//!                   \--> mark and wake the watchers whose prefix matches
//! ```
//!
//! There is no queue per watcher. The history itself is the one bounded buffer, shared by all; a watch is a position in
//! it, so replay and live delivery are the same code and nothing can fall between them. A watcher that is slower than
//! the history's window finds its position compacted: it has lagged.
//!
//! Invariants:
//! - The history is complete and sorted: it has every event after `compacted`, in the order of their revisions. It need
//!   not be contiguous, since an engine may share its database with others who use up revisions, and one revision may
//!   have several events, when others write below our prefix with transactions of theirs.
//! - Events are published, and watchers marked, under one write lock; a reader sees both or neither.
//! - A watcher's mark is the first matching revision published since it last caught up, or zero. So a watcher of a
//!   quiet prefix does not lag however much happens elsewhere.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Notify;

use crate::error::{StoreError, WatchError};
use crate::model::{Entry, Event, Revision};
use crate::retention::Retention;

/// Keys and what they held at an earlier revision.
pub(crate) type Undo = BTreeMap<Arc<str>, Option<Entry>>;

/// See the module.
pub(crate) struct Feed {
    state: RwLock<State>,
}

struct State {
    history: VecDeque<Event>,
    weight: u64,
    compacted: Revision,
    revision: Revision,
    retention: Retention,
    watchers: Watchers,
    closed: bool,
}

/// The part of a watch that the feed knows.
pub(crate) struct Watcher {
    prefix: Box<str>,
    mark: AtomicU64,
    /// The history began anew since it was registered.
    lost: AtomicBool,
    pub(crate) asked: AtomicBool,
    pub(crate) wake: Notify,
}

/// What a watch found when it looked.
pub(crate) struct Pulled {
    /// The new position: everything up to here was looked at.
    pub(crate) position: Revision,
    /// There may be more at once, the chunk was full.
    pub(crate) behind: bool,
    /// The store was closed: nothing will follow.
    pub(crate) closed: bool,
}

impl Feed {
    /// A feed that begins with the history `(compacted, revision]`.
    pub(crate) fn new(retention: Retention, compacted: Revision) -> Self {
        Self {
            state: RwLock::new(State {
                history: VecDeque::new(),
                weight: 0,
                compacted,
                revision: compacted,
                retention,
                watchers: Watchers::default(),
                closed: false,
            }),
        }
    }

    /// Adds commits, forgets what is beyond the retention, and wakes the watchers. Returns the oldest revision left.
    ///
    /// `show` makes the commits visible to the engine's readers; it runs under the feed's lock, so that whoever holds
    /// that sees both or neither.
    ///
    /// # Assumptions
    /// The events continue the history, nothing is left out; there is one publisher.
    pub(crate) fn publish(&self, events: Vec<Event>, show: impl FnOnce(&[Event])) -> Revision {
        let mut state = self.write();
        show(&events);
        for event in events {
            debug_assert!(event.revision >= state.revision, "commits are ordered");
            state.watchers.mark(&event);
            state.push(event);
        }
        state.compacted
    }

    /// Adds a commit that was found when the store was opened.
    pub(crate) fn replay(&self, event: Event) {
        self.write().push(event);
    }

    /// Forgets everything up to `through`. Returns the oldest revision left.
    pub(crate) fn compact(&self, through: Revision) -> Revision {
        let mut state = self.write();
        while state
            .history
            .front()
            .is_some_and(|event| event.revision <= through)
        {
            state.forget_oldest();
        }
        state.compacted = state.compacted.max(through.min(state.revision));
        state.compacted
    }

    /// Begins anew with the state at `revision`, because what happened before it is not known: every watch has lagged,
    /// also one that was quiet, and also if the revision is an older one (a database that was restored).
    ///
    /// `show` makes the new state visible, as in [`Self::publish`].
    pub(crate) fn reset(&self, revision: Revision, show: impl FnOnce()) {
        let mut state = self.write();
        show();
        state.history.clear();
        state.weight = 0;
        state.compacted = revision;
        state.revision = revision;
        state.watchers.lose_all();
    }

    /// The oldest revision that can be listed at or watched after.
    pub(crate) fn oldest(&self) -> Revision {
        self.read().compacted
    }

    /// Ends every watch once it has delivered what was published.
    pub(crate) fn close(&self) {
        let mut state = self.write();
        state.closed = true;
        state.watchers.wake_all();
    }

    /// What differs between the current state and the state at `at`, below a prefix: a key maps to what it held at `at`.
    /// With it comes the current state itself, as `view` takes it while nothing can be published.
    pub(crate) fn undo<V>(
        &self,
        prefix: &str,
        at: Revision,
        view: impl FnOnce() -> V,
    ) -> Result<(V, Undo), StoreError> {
        let state = self.read();
        if at < state.compacted {
            return Err(StoreError::Compacted {
                oldest: state.compacted,
            });
        }
        let mut undo = Undo::new();
        for event in state.since(at.next()) {
            if event.key.starts_with(prefix) {
                undo.entry(Arc::clone(&event.key))
                    .or_insert_with(|| event.previous.clone());
            }
        }
        Ok((view(), undo))
    }

    /// Adds a watcher whose position is `after`.
    pub(crate) fn register(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<Arc<Watcher>, StoreError> {
        let mut state = self.write();
        if after < state.compacted {
            return Err(StoreError::Compacted {
                oldest: state.compacted,
            });
        }
        if state.closed {
            return Err(StoreError::Closed);
        }
        let watcher = Arc::new(Watcher {
            prefix: prefix.into(),
            mark: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            wake: Notify::new(),
        });
        state.watchers.add(Arc::clone(&watcher));
        Ok(watcher)
    }

    /// Removes a watcher.
    pub(crate) fn deregister(&self, watcher: &Arc<Watcher>) {
        self.write().watchers.remove(watcher);
    }

    /// Moves matching events after `position` into `into`, about `limit`. `behind` says that the last pull (or the
    /// registration) did not reach the end of the history, so that the mark says nothing yet.
    pub(crate) fn pull(
        &self,
        watcher: &Watcher,
        position: Revision,
        behind: bool,
        limit: usize,
        into: &mut VecDeque<Event>,
    ) -> Result<Pulled, WatchError> {
        let state = self.read();
        let mark = Revision(watcher.mark.load(Ordering::Relaxed));
        let from = match (behind, mark) {
            (true, _) => position.next(),
            (false, Revision::ZERO) => state.revision.max(position).next(),
            (false, mark) => mark.max(position.next()),
        };
        if from <= state.compacted || watcher.lost.load(Ordering::Relaxed) {
            return Err(WatchError::Lagged {
                position,
                oldest: state.compacted,
            });
        }
        let mut reached = from.previous();
        for event in state.since(from) {
            // A position is between revisions, so all events of one are taken together.
            if into.len() >= limit && event.revision != reached {
                return Ok(Pulled {
                    position: reached,
                    behind: true,
                    closed: state.closed,
                });
            }
            reached = event.revision;
            if event.key.starts_with(&*watcher.prefix) {
                into.push_back(event.clone());
            }
        }
        // The publisher is locked out, so the mark can be cleared without losing a later one.
        watcher.mark.store(0, Ordering::Relaxed);
        Ok(Pulled {
            position: state.revision.max(position),
            behind: false,
            closed: state.closed,
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, event: Event) {
        self.revision = event.revision;
        self.weight += event.weight();
        self.history.push_back(event);
        while self
            .retention
            .exceeded(self.history.len() as u64, self.weight)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.history.pop_front() {
            self.weight -= event.weight();
            self.compacted = event.revision;
        }
    }

    /// The events from a revision on, which must not be compacted.
    fn since(&self, from: Revision) -> impl Iterator<Item = &Event> {
        let skip = self.history.partition_point(|event| event.revision < from);
        self.history.range(skip..)
    }
}

/// The watchers by prefix, so that a commit costs one look-up per distinct length of prefix and not one comparison per
/// watcher.
#[derive(Default)]
struct Watchers {
    by_length: BTreeMap<usize, Group>,
}

/// The watchers whose prefixes have one length, by prefix.
type Group = HashMap<Box<[u8]>, Vec<Arc<Watcher>>>;

impl Watchers {
    fn add(&mut self, watcher: Arc<Watcher>) {
        let prefix = watcher.prefix.as_bytes();
        self.by_length
            .entry(prefix.len())
            .or_default()
            .entry(prefix.into())
            .or_default()
            .push(watcher);
    }

    fn remove(&mut self, watcher: &Arc<Watcher>) {
        let prefix = watcher.prefix.as_bytes();
        let Some(group) = self.by_length.get_mut(&prefix.len()) else {
            return;
        };
        if let Some(members) = group.get_mut(prefix) {
            members.retain(|member| !Arc::ptr_eq(member, watcher));
            if members.is_empty() {
                group.remove(prefix);
            }
        }
        if group.is_empty() {
            self.by_length.remove(&prefix.len());
        }
    }

    fn mark(&self, event: &Event) {
        let key = event.key.as_bytes();
        for (&length, group) in self.by_length.range(..=key.len()) {
            for watcher in group.get(&key[..length]).into_iter().flatten() {
                if watcher.mark.load(Ordering::Relaxed) == 0 {
                    watcher.mark.store(event.revision.0, Ordering::Relaxed);
                    watcher.wake.notify_one();
                }
            }
        }
    }

    fn lose_all(&self) {
        for watcher in self.by_length.values().flat_map(HashMap::values).flatten() {
            watcher.lost.store(true, Ordering::Relaxed);
            watcher.wake.notify_one();
        }
    }

    fn wake_all(&self) {
        for watcher in self.by_length.values().flat_map(HashMap::values).flatten() {
            watcher.wake.notify_one();
        }
    }
}
