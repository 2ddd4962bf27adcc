//! Bounds on a transfer. Each is a field so that tests can be quick and operators can be patient.

use std::time::Duration;

/// See the fields; [`Limits::default`] is for image servers on the Internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// To the head of an answer.
    pub response_timeout: Duration,
    /// Longest time spent waiting for the next `stall_bytes`: bounds servers that drip.
    pub stall_timeout: Duration,
    /// See `stall_timeout`.
    pub stall_bytes: u64,
    /// Redirects followed for one request.
    pub redirects: usize,
    /// Attempts in a row without `progress_bytes` in between.
    pub attempts: u32,
    /// What counts as progress and grants new attempts.
    pub progress_bytes: u64,
    /// Pause after the first failed attempt; doubles with each.
    pub back_off: Duration,
    /// Longest pause.
    pub back_off_max: Duration,
    /// Memory a decompressor may use (an xz dictionary may ask for 4 GiB).
    pub decoder_memory: u64,
    /// Gap that a positioned reader reads through rather than sends a new request for.
    pub skip_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            stall_bytes: 64 << 10,
            redirects: 10,
            attempts: 6,
            progress_bytes: 1 << 20,
            back_off: Duration::from_millis(500),
            back_off_max: Duration::from_secs(8),
            decoder_memory: 256 << 20,
            skip_bytes: 1 << 20,
        }
    }
}

impl Limits {
    /// Pause before the attempt that follows `failures` failed ones.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.back_off
            .saturating_mul(1 << doublings)
            .min(self.back_off_max)
    }
}
