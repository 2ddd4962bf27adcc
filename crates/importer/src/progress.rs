//! How far an import is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde::Serialize;

/// What an import is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Phase {
    /// Waiting for the server's answer.
    Connecting,
    /// Reading the image onto the disk.
    Importing,
    /// Reading the image into a scratch file: the server offers no range requests, or the image
    /// is compressed as a whole.
    Scratch,
    /// From the scratch file onto the disk.
    Converting,
    /// Making the disk durable.
    Syncing,
    /// Done.
    Complete,
}

const PHASES: [Phase; 6] = [
    Phase::Connecting,
    Phase::Importing,
    Phase::Scratch,
    Phase::Converting,
    Phase::Syncing,
    Phase::Complete,
];

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Bytes read from the source.
    pub read: u64,
    /// Bytes of the source, if known.
    pub total: Option<u64>,
    /// 0 to 100, with two decimals; never falls.
    pub percent: Option<f64>,
    /// What is being done.
    pub phase: Phase,
}

/// Where the parts of an import note what they did. Cheap to clone and to update.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    received: Arc<AtomicU64>,
    /// 0 while unknown.
    total: AtomicU64,
    phase: AtomicU8,
    /// Per mille of the conversion of a scratch file.
    converted: AtomicU64,
}

/// Share of the download in an import through a scratch file.
const SCRATCH_SHARE: f64 = 80.0;

impl Meter {
    pub fn new(received: Arc<AtomicU64>) -> Self {
        let (total, phase, converted) = (AtomicU64::new(0), AtomicU8::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner {
            received,
            total,
            phase,
            converted,
        }))
    }

    pub fn total(&self, total: Option<u64>) {
        self.0.total.store(total.unwrap_or(0), Ordering::Relaxed);
    }

    pub fn phase(&self, phase: Phase) {
        let index = PHASES.iter().position(|known| *known == phase).unwrap_or(0);
        self.0
            .phase
            .store(u8::try_from(index).unwrap_or(0), Ordering::Relaxed);
    }

    pub fn converted(&self, done: u64, of: u64) {
        let share = u128::from(done) * 1000 / u128::from(of.max(1));
        self.0.converted.store(
            u64::try_from(share).unwrap_or(1000).min(1000),
            Ordering::Relaxed,
        );
    }

    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    pub fn read(&self) -> Progress {
        let read = self.received();
        let total = Some(self.0.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
        let index = usize::from(self.0.phase.load(Ordering::Relaxed));
        let phase = PHASES.get(index).copied().unwrap_or(Phase::Connecting);
        #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
        let fraction = total.map(|total| (read.min(total) as f64) / (total as f64));
        #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
        let percent = match phase {
            Phase::Connecting => None,
            Phase::Importing => fraction.map(|part| part * 100.0),
            Phase::Scratch => fraction.map(|part| part * SCRATCH_SHARE),
            Phase::Converting => {
                let part = self.0.converted.load(Ordering::Relaxed) as f64 / 1000.0;
                Some(SCRATCH_SHARE + part * (100.0 - SCRATCH_SHARE))
            }
            Phase::Syncing | Phase::Complete => Some(100.0),
        };
        let percent = percent.map(|percent| (percent * 100.0).round() / 100.0);
        Progress {
            read,
            total,
            percent,
            phase,
        }
    }
}
