//! The current state in memory: a persistent ordered map, so that lists and snapshots work on a consistent copy that
//! costs nothing to take, outside of any lock.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use imbl::OrdMap;

use crate::feed::Undo;
use crate::model::{Entry, Event, ListRequest, Listing, Revision};

/// An entry without its key, which is the map's.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) value: Bytes,
    pub(crate) created: Revision,
    pub(crate) modified: Revision,
}

/// The state at one revision.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) map: OrdMap<Arc<str>, Stored>,
    pub(crate) revision: Revision,
    /// What a snapshot of it takes.
    pub(crate) bytes: u64,
}

/// The state that readers see.
#[derive(Default)]
pub(crate) struct Memory(RwLock<View>);

impl Memory {
    pub(crate) fn new(view: View) -> Self {
        Self(RwLock::new(view))
    }

    /// The newest state.
    pub(crate) fn view(&self) -> View {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .revision
    }

    /// What a snapshot of the state takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).bytes
    }

    pub(crate) fn get(&self, key: &str) -> (Option<Entry>, Revision) {
        let view = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (view.get(key), view.revision)
    }

    /// Shows another state.
    pub(crate) fn replace(&self, view: View) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    pub(crate) fn apply(&self, events: &[Event]) {
        let mut view = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            view.apply(event);
        }
    }
}

impl View {
    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.map
            .get_key_value(key)
            .map(|(key, stored)| entry(key, stored))
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        self.revision = event.revision;
        self.set(&event.key, event.entry());
    }

    pub(crate) fn set(&mut self, key: &Arc<str>, entry: Option<Entry>) {
        let size = |value: &Bytes| crate::log::entry_size(key, value);
        let added = entry.as_ref().map_or(0, |entry| size(&entry.value));
        let before = match entry {
            Some(Entry {
                key,
                value,
                created,
                modified,
            }) => self.map.insert(
                key,
                Stored {
                    value,
                    created,
                    modified,
                },
            ),
            None => self.map.remove(key),
        };
        let removed = before.map_or(0, |before| size(&before.value));
        self.bytes = self.bytes + added - removed;
    }

    /// All entries, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.map.iter().map(|(key, stored)| entry(key, stored))
    }

    /// The entries of a request as of revision `at`; `undo` says what differs from this view.
    pub(crate) fn list(&self, request: &ListRequest, at: Revision, undo: &Undo) -> Listing {
        let prefix = request.prefix.as_str();
        let from = match request.after.as_deref() {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let present = self
            .map
            .range::<_, str>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| !undo.contains_key(&***key))
            .map(|(key, stored)| Found::Current(key, stored));
        let past = undo
            .range::<str, _>((from, Bound::Unbounded))
            .filter_map(|(_, entry)| entry.as_ref().map(Found::Past));
        let mut found = Merge {
            left: present.peekable(),
            right: past.peekable(),
        };
        let limit = request.limit.unwrap_or(usize::MAX);
        let entries = found.by_ref().take(limit).map(Found::entry).collect();
        Listing {
            entries,
            revision: at,
            remaining: found.count() as u64,
        }
    }
}

fn entry(key: &Arc<str>, stored: &Stored) -> Entry {
    Entry {
        key: Arc::clone(key),
        value: stored.value.clone(),
        created: stored.created,
        modified: stored.modified,
    }
}

/// An entry of a list, not cloned yet: most of what a page counts is not on the page.
enum Found<'a> {
    Current(&'a Arc<str>, &'a Stored),
    Past(&'a Entry),
}

impl Found<'_> {
    fn key(&self) -> &str {
        match self {
            Self::Current(key, _) => key,
            Self::Past(entry) => &entry.key,
        }
    }

    fn entry(self) -> Entry {
        match self {
            Self::Current(key, stored) => entry(key, stored),
            Self::Past(entry) => entry.clone(),
        }
    }
}

/// Two sorted iterators without common keys, as one.
struct Merge<L: Iterator, R: Iterator> {
    left: std::iter::Peekable<L>,
    right: std::iter::Peekable<R>,
}

impl<'a, L: Iterator<Item = Found<'a>>, R: Iterator<Item = Found<'a>>> Iterator for Merge<L, R> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        match (self.left.peek(), self.right.peek()) {
            (Some(left), Some(right)) if right.key() < left.key() => self.right.next(),
            (None, _) => self.right.next(),
            _ => self.left.next(),
        }
    }
}
