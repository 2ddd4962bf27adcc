//! What every engine must do, as tests: the text of [`crate::Store`] in executable form.
//!
//! An engine runs all of them with one line, [`crate::conformance_tests!`], in a module of its own tests:
//!
//! ```ignore
//! store::conformance_tests!(|directory, retention| {
//!     MyStore::open(directory, retention).map(|store| Arc::new(store) as Arc<dyn Store>)
//! });
//! ```
//!
//! A case gets a [`Fixture`]: an empty directory and the means to open (and open again) a store in it. An engine whose
//! database several may have open at once says `shared` before the closure, and is tested for that instead of for
//! refusing it.
//!
//! A new store is not at revision zero in every engine: cases count from the revision that it begins with.

#![allow(clippy::unwrap_used, reason = "a case fails by panicking, as tests do")]

mod history;
mod reopen;
mod shared;
mod state;
mod watching;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Entry, Event, ListRequest, Listing, OpenError, Retention, Revision, Store, StoreError, Watch,
    WatchItem, Write,
};

pub use history::*;
pub use reopen::*;
pub use shared::*;
pub use state::*;
pub use watching::*;

/// No case takes longer than this, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an engine is opened in a directory. It may own what the engine needs: a server.
pub trait Open: Fn(&Path, Retention) -> Result<Arc<dyn Store>, OpenError> + Send + Sync {}

impl<F> Open for F where F: Fn(&Path, Retention) -> Result<Arc<dyn Store>, OpenError> + Send + Sync {}

/// What a case works with.
pub struct Fixture {
    // Before the directory, which a server may use to its end.
    open: Box<dyn Open>,
    directory: tempfile::TempDir,
}

impl Fixture {
    /// A fixture with an empty directory.
    pub fn new(open: impl Open + 'static) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            open: Box::new(open),
        }
    }

    fn open(&self) -> Arc<dyn Store> {
        self.open_with(Retention::default())
    }

    fn open_with(&self, retention: Retention) -> Arc<dyn Store> {
        self.try_open(retention).unwrap()
    }

    fn try_open(&self, retention: Retention) -> Result<Arc<dyn Store>, OpenError> {
        (self.open)(self.directory.path(), retention)
    }
}

/// Runs a case within the bound of time.
pub async fn run<F: Future<Output = ()>>(
    open: impl Open + 'static,
    case: impl FnOnce(Fixture) -> F,
) {
    tokio::time::timeout(PATIENCE, case(Fixture::new(open)))
        .await
        .expect("the case ends in time");
}

/// Declares one test per case, in the module where it is invoked.
#[macro_export]
macro_rules! conformance_tests {
    (shared $open:expr) => {
        $crate::conformance_tests! { every $open }
        $crate::conformance_tests! { $open;
            handles_see_each_others_writes
            handles_count_together
            watches_see_the_writes_of_all_handles
        }
    };
    ($open:expr) => {
        $crate::conformance_tests! { every $open }
        $crate::conformance_tests! { $open;
            a_store_opens_once
        }
    };
    (every $open:expr) => {
        $crate::conformance_tests! { $open;
            a_new_store_is_empty
            revisions_grow_by_one
            reads_since_a_revision_are_no_older
            preconditions_decide
            a_recreated_key_is_new
            failed_writes_use_no_revision
            lists_are_sorted_and_bounded_by_the_prefix
            pages_partition_a_list
            sizes_are_limited
            values_are_any_bytes
            concurrent_increments_all_count
            lists_show_the_past
            pages_of_one_revision_agree_while_writers_write
            compaction_forgets_exactly_the_past
            compaction_is_clamped_to_the_present
            retention_bounds_the_revisions
            retention_bounds_the_bytes
            the_future_is_refused
            a_watch_replays_and_goes_live
            a_watch_sees_its_prefix_only
            a_watch_tells_what_was_before
            a_watch_has_no_gap_under_concurrent_writers
            list_and_watch_rebuild_the_state
            a_slow_watch_lags
            a_quiet_watch_does_not_lag
            progress_comes_when_asked
            a_watch_can_be_cancelled_at_any_item
            a_closed_store_ends_its_watches
            everything_survives_reopening
            watches_resume_across_reopening
            compacted_state_survives_reopening
        }
    };
    ($open:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::run($open, $crate::conformance::$case).await;
            }
        )*
    };
}

/// The revision of a store that nothing was written to yet; the commits of a case count from there.
async fn base(store: &dyn Store) -> u64 {
    store.revision().await.unwrap().0
}

async fn create(store: &dyn Store, key: &str, value: &str) -> Revision {
    store
        .commit(Write::create(key, value.to_owned()))
        .await
        .unwrap()
        .revision
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    store
        .commit(Write::put(key, value.to_owned()))
        .await
        .unwrap()
        .revision
}

async fn delete(store: &dyn Store, key: &str) -> Revision {
    let modified = store.get(key).await.unwrap().0.unwrap().modified;
    store
        .commit(Write::delete(key, modified))
        .await
        .unwrap()
        .revision
}

async fn list(store: &dyn Store, prefix: &str) -> Listing {
    store.list(ListRequest::prefix(prefix)).await.unwrap()
}

async fn list_at(store: &dyn Store, prefix: &str, at: Revision) -> Result<Listing, StoreError> {
    store
        .list(ListRequest {
            at: Some(at),
            ..ListRequest::prefix(prefix)
        })
        .await
}

/// The next event, whatever progress comes before it.
async fn next_event(watch: &mut Watch) -> Event {
    loop {
        if let WatchItem::Event(event) = watch.next().await.unwrap() {
            return event;
        }
    }
}

/// The events up to the progress that says there are no more.
async fn events_until_progress(watch: &mut Watch) -> (Vec<Event>, Revision) {
    let mut events = Vec::new();
    loop {
        match watch.next().await.unwrap() {
            WatchItem::Event(event) => events.push(event),
            WatchItem::Progress(revision) => return (events, revision),
        }
    }
}

/// `key=value` of each entry.
fn pairs(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)))
        .collect()
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}
