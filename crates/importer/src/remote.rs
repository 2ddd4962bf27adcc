//! A remote file for code that blocks.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::ReadAt;
use tokio::runtime::Handle;
use transfer::Ranged;

/// Tells blocking threads that nobody waits for them any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    pub fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the import was abandoned")),
            false => Ok(()),
        }
    }

    /// Set when the guard is dropped.
    pub fn guard(&self) -> AbandonGuard {
        AbandonGuard(self.clone())
    }
}

pub(crate) struct AbandonGuard(Abandoned);

impl Drop for AbandonGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// [`Ranged`] on a blocking thread of the runtime that `handle` names.
#[derive(Debug)]
pub(crate) struct RemoteImage {
    pub ranged: Ranged,
    pub handle: Handle,
    pub abandoned: Abandoned,
}

impl ReadAt for RemoteImage {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.abandoned.check()?;
        self.handle
            .block_on(self.ranged.read_at(offset, buffer))
            .map_err(io::Error::other)
    }

    fn will_read(&mut self, range: Range<u64>) {
        self.ranged.will_read(range);
    }
}
