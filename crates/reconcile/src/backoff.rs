//! Exponential back-off per object, forgotten at the first success.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Delays that double per consecutive failure, from `first` up to `most`.
///
/// Purely arithmetic: it reads no clock, so a caller decides what "after" means.
#[derive(Debug)]
pub struct Backoff<K> {
    first: Duration,
    most: Duration,
    failures: HashMap<K, u32>,
}

impl<K: Eq + Hash> Backoff<K> {
    /// A back-off that starts with `first` and never exceeds `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: HashMap::new(),
        }
    }

    /// Notes a failure of `key` and says how long to wait before the next try.
    pub fn failed(&mut self, key: K) -> Duration {
        let n = self.failures.entry(key).or_insert(0);
        let factor = 2_u32.checked_pow((*n).min(30)).unwrap_or(u32::MAX);
        *n = n.saturating_add(1);
        self.first
            .checked_mul(factor)
            .unwrap_or(self.most)
            .min(self.most)
    }

    /// Forgets the failures of `key`.
    pub fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_bound_and_forgets_on_success() {
        let mut b = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> = (0..6).map(|_| b.failed("a").as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(b.failed("other").as_millis(), 100);
        b.succeeded(&"a");
        assert_eq!(b.failed("a").as_millis(), 100);
    }

    #[test]
    fn never_overflows() {
        let mut b = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        for _ in 0..100 {
            assert!(b.failed(()) <= Duration::from_secs(300));
        }
    }
}
