//! What is counted about a FlowSchema's requests, without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::metrics::histogram::{Histogram, WAITS};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its queue had no room.
    QueueFull,
    /// Its level does not queue, and no seat was free.
    ConcurrencyLimit,
    /// No seat became free in time.
    TimeOut,
}

impl Refusal {
    /// All, in the order of the counters.
    pub(crate) const ALL: [Refusal; 3] = [
        Refusal::QueueFull,
        Refusal::ConcurrencyLimit,
        Refusal::TimeOut,
    ];

    /// The label of Kubernetes.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Refusal::QueueFull => "queue-full",
            Refusal::ConcurrencyLimit => "concurrency-limit",
            Refusal::TimeOut => "time-out",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SchemaStats {
    pub dispatched: AtomicU64,
    refused: [AtomicU64; 3],
    /// Time in queues of requests that started.
    pub waited: Histogram,
}

impl Default for SchemaStats {
    fn default() -> Self {
        SchemaStats {
            dispatched: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; 3],
            waited: Histogram::new(WAITS),
        }
    }
}

impl SchemaStats {
    pub(crate) fn start(&self, waited: Duration) {
        self.dispatched.fetch_add(1, Relaxed);
        self.waited.observe(waited);
    }

    pub(crate) fn refuse(&self, why: Refusal) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn refused(&self, why: Refusal) -> u64 {
        self.refused
            .get(why as usize)
            .map_or(0, |count| count.load(Relaxed))
    }
}
