//! The store as this server sees it: every operation is timed, and the last outcome of a commit remembered.
//!
//! ```text
//! registry ─► ObservedStore ─► the engine
//!                  └─► etcd_request_duration_seconds, etcd_requests_total, the health check `etcd`
//! ```
//! The names are kube-apiserver's, whatever the engine is: dashboards and probes ask for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use store::{
    Committed, Entry, ListRequest, Listing, Op, Precondition, Revision, Store, StoreError, Watch,
    Write,
};

use crate::limits;
use crate::metrics::histogram::{Histogram, STORAGE};
use crate::metrics::text::Page;

const OPERATIONS: [&str; 5] = ["get", "list", "create", "update", "delete"];

/// Why the store takes no writes.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The store's words.
    pub reason: String,
    /// It has no space: reads and deletions go on, and a restart would change nothing.
    pub is_full: bool,
}

#[derive(Debug)]
struct Operation {
    took: Histogram,
    errors: AtomicU64,
}

impl Default for Operation {
    fn default() -> Self {
        Operation {
            took: Histogram::new(STORAGE),
            errors: AtomicU64::new(0),
        }
    }
}

/// What is known of a store's work.
#[derive(Debug, Default)]
pub(crate) struct StoreStats {
    operations: [Operation; OPERATIONS.len()],
    /// Whether commits fail for a reason that is not the writer's, and why.
    failing: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// Objects by `group/resource`, as of the last count.
    counts: ArcSwap<HashMap<String, u64>>,
}

impl StoreStats {
    fn done(&self, operation: usize, began: Instant, failed: bool) {
        if let Some(at) = self.operations.get(operation) {
            at.took.observe(began.elapsed());
            if failed {
                at.errors.fetch_add(1, Relaxed);
            }
        }
    }

    /// Remembers whether the store takes writes.
    fn committed(&self, failure: Option<&StoreError>) {
        match failure {
            Some(e) => {
                let failure = Failure {
                    reason: e.to_string(),
                    is_full: matches!(e, StoreError::Full),
                };
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                self.failing.store(true, Relaxed);
            }
            None if self.failing.load(Relaxed) => self.failing.store(false, Relaxed),
            None => {}
        }
    }

    /// Why the last commit failed, unless one has succeeded since.
    pub(crate) fn failure(&self) -> Option<Failure> {
        if !self.failing.load(Relaxed) {
            return None;
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// About how many objects a resource has.
    pub(crate) fn count(&self, group: &str, resource: &str) -> u64 {
        let counts = self.counts.load();
        counts
            .get(&format!("{group}/{resource}"))
            .copied()
            .unwrap_or(0)
    }

    /// Takes new counts, by `group/resource`.
    pub(crate) fn set_counts(&self, counts: HashMap<String, u64>) {
        self.counts.store(Arc::new(counts));
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let duration = "etcd_request_duration_seconds";
        page.family(
            duration,
            "histogram",
            "Time of operations of the store, in seconds.",
        );
        for (name, operation) in OPERATIONS.iter().zip(&self.operations) {
            page.histogram(duration, &[("operation", name)], &operation.took);
        }
        let errors = "etcd_request_errors_total";
        page.family(
            errors,
            "counter",
            "Operations of the store that failed; conflicts are none.",
        );
        for (name, operation) in OPERATIONS.iter().zip(&self.operations) {
            page.sample(
                errors,
                &[("operation", name)],
                operation.errors.load(Relaxed),
            );
        }
        let objects = "apiserver_storage_objects";
        page.family(
            objects,
            "gauge",
            "Stored objects by resource, counted now and then.",
        );
        let counts = self.counts.load_full();
        let mut sorted: Vec<_> = counts.iter().take(limits::MAX_SERIES).collect();
        sorted.sort();
        for (key, count) in sorted {
            let (group, resource) = key.split_once('/').unwrap_or(("", key));
            let name = if group.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}.{group}")
            };
            page.sample(objects, &[("resource", &name)], count);
        }
    }
}

/// See the module.
pub(crate) struct ObservedStore {
    store: Arc<dyn Store>,
    pub stats: Arc<StoreStats>,
}

impl ObservedStore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        ObservedStore {
            store,
            stats: Arc::default(),
        }
    }
}

/// Whether an error is the store's, not its user's.
fn is_failure(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Conflict { .. }
            | StoreError::Compacted { .. }
            | StoreError::Future { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Oversized { .. }
    )
}

#[async_trait]
impl Store for ObservedStore {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        let began = Instant::now();
        let result = self.store.get(key).await;
        self.stats
            .done(0, began, result.as_ref().is_err_and(is_failure));
        result
    }

    async fn get_since(
        &self,
        key: &str,
        known: Revision,
    ) -> Result<(Option<Entry>, Revision), StoreError> {
        let began = Instant::now();
        let result = self.store.get_since(key, known).await;
        self.stats
            .done(0, began, result.as_ref().is_err_and(is_failure));
        result
    }

    async fn list_since(&self, prefix: &str, known: Revision) -> Result<Listing, StoreError> {
        let began = Instant::now();
        let result = self.store.list_since(prefix, known).await;
        self.stats
            .done(1, began, result.as_ref().is_err_and(is_failure));
        result
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        let began = Instant::now();
        let result = self.store.list(request).await;
        self.stats
            .done(1, began, result.as_ref().is_err_and(is_failure));
        result
    }

    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        let operation = match (&write.op, write.precondition) {
            (Op::Delete, _) => 4,
            (_, Precondition::Absent) => 2,
            _ => 3,
        };
        let began = Instant::now();
        let result = self.store.commit(write).await;
        let failure = result.as_ref().err().filter(|e| is_failure(e));
        self.stats.done(operation, began, failure.is_some());
        // A conflict says nothing about the device: nothing was written.
        if failure.is_some() || result.is_ok() {
            self.stats.committed(failure);
        }
        result
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.store.compact(through).await
    }
}

/// How long a store may take to show that it is alive.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);

/// Whether the store answers: reads, and a write that cannot happen, which shows that what commits is alive.
///
/// # Errors
/// What is wrong, for the log.
pub(crate) async fn alive(store: &dyn Store) -> Result<(), String> {
    let asked = async {
        store.get("/").await.map_err(|e| e.to_string())?;
        // There is no such key, and nothing makes one: a delete of it is a conflict.
        let impossible = Write {
            key: "/health".into(),
            precondition: Precondition::Any,
            op: Op::Delete,
            space: store::Space::Ordinary,
        };
        match store.commit(impossible).await {
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(e.to_string()),
            Ok(_) => Err("a write that cannot happen has happened".to_owned()),
        }
    };
    tokio::time::timeout(ALIVE_WITHIN, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer in {} s", ALIVE_WITHIN.as_secs())))
}
