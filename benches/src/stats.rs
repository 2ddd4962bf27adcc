//! Medians and percentiles. Pure.

use serde::Serialize;

/// What is said of a list of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many there were.
    pub(crate) n: usize,
    /// The least.
    pub(crate) min: f64,
    /// The median.
    pub(crate) p50: f64,
    /// The 95th percentile.
    pub(crate) p95: f64,
    /// The 99th percentile.
    pub(crate) p99: f64,
    /// The greatest.
    pub(crate) max: f64,
}

/// Summarizes; `None` of nothing, or when a value is not a number.
pub(crate) fn summary(values: &[f64]) -> Option<Summary> {
    if values.is_empty() || values.iter().any(|v| v.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Summary {
        n: sorted.len(),
        min: sorted[0],
        p50: median(&sorted),
        p95: nearest_rank(&sorted, 95),
        p99: nearest_rank(&sorted, 99),
        max: sorted[sorted.len() - 1],
    })
}

/// The mean of the two in the middle, if there are two.
fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// The least value that at least `percent` of all do not exceed: always one that was measured.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

/// Whether the last `window` values differ by at most `share` of the greatest of them.
pub(crate) fn settled(values: &[f64], window: usize, share: f64) -> bool {
    let Some(last) = values.len().checked_sub(window).map(|from| &values[from..]) else {
        return false;
    };
    let max = last.iter().copied().fold(f64::MIN, f64::max);
    let min = last.iter().copied().fold(f64::MAX, f64::min);
    !last.is_empty() && max - min <= max.abs() * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(summary(&[]), None);
        assert_eq!(summary(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn one_value_is_everything() {
        let s = summary(&[7.0]).expect("one value");
        assert_eq!((s.n, s.min, s.p50, s.p95, s.max), (1, 7.0, 7.0, 7.0, 7.0));
    }

    #[test]
    fn medians_of_even_and_odd_counts() {
        assert_eq!(summary(&[3.0, 1.0, 2.0]).map(|s| s.p50), Some(2.0));
        assert_eq!(summary(&[4.0, 1.0, 3.0, 2.0]).map(|s| s.p50), Some(2.5));
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let s = summary(&values).expect("twenty values");
        assert_eq!(
            (s.n, s.min, s.p50, s.p95, s.max),
            (20, 1.0, 10.5, 19.0, 20.0)
        );
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(summary(&values).map(|s| (s.p95, s.p99)), Some((95.0, 99.0)));
        assert_eq!(
            summary(&[1.0, 2.0, 3.0, 4.0, 5.0]).map(|s| s.p95),
            Some(5.0)
        );
    }

    #[test]
    fn settled_looks_at_the_last_values_alone() {
        assert!(!settled(&[100.0, 100.0], 3, 0.01));
        assert!(settled(&[10.0, 100.0, 100.0, 99.5], 3, 0.01));
        assert!(!settled(&[100.0, 100.0, 90.0], 3, 0.01));
    }
}
