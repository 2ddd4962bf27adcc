//! A histogram of durations that many threads add to without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Bounds of kube-apiserver's request durations, in seconds.
pub(crate) const REQUESTS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
/// Bounds of kube-apiserver's waits in queues, in seconds.
pub(crate) const WAITS: &[f64] = &[
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
];
/// Bounds of kube-apiserver's storage operations, in seconds.
pub(crate) const STORAGE: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0,
    5.0, 10.0, 30.0,
];
/// Bounds of kube-apiserver's webhook calls, in seconds.
pub(crate) const WEBHOOKS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// See the module. The last bucket has no bound.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Histogram {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let index = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// Bounds with the counts at or below them, and the sum in seconds. The last bound is infinite, its count that of
    /// all.
    pub(crate) fn read(&self) -> (Vec<(f64, u64)>, f64) {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let mut below = 0;
        let counts = bounds
            .zip(&self.buckets)
            .map(|(bound, count)| {
                below += count.load(Relaxed);
                (bound, below)
            })
            .collect();
        (
            counts,
            Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64(),
        )
    }

    /// How many were observed.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_inclusive() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for millis in [50, 100, 101, 5_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (buckets, sum) = histogram.read();
        assert_eq!(buckets, [(0.1, 2), (1.0, 3), (f64::INFINITY, 4)]);
        assert!((sum - 5.251).abs() < 1e-9);
        assert_eq!(histogram.count(), 4);
    }
}
