//! Space that is kept for freeing space: a file of nothing, as large as a snapshot of the state would be, and more.
//!
//! ```text
//! ordinary writes ── need the reserve to be whole ──► else refused as Full
//! deletions ─────── no space ─► the reserve is cut by what they need, and given to them
//! compaction ────── the reserve itself becomes the snapshot; what that replaces is deleted, the reserve made again
//! ```
//!
//! Without it a full device could never be freed through the store: a deletion is a record too, and space comes back
//! only when a snapshot of what is left has been written.
//!
//! Invariant: nothing is ever read from the file. It may be missing or short at any moment; then only deletions are
//! accepted until it is whole again, which every write tries. A file system that cannot allocate ahead has no reserve,
//! which is said once.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// The file's name in the store's directory.
pub(super) const NAME: &str = "reserve";

/// It grows in steps of this, so that it is not touched with every write.
const STEP: u64 = 1 << 20;

/// Less than this is not worth a try.
const PAGE: u64 = 4096;

/// At most this share of a device is kept for deletions.
const SHARE: u64 = 16;

/// A reserve that could not be made whole is not tried again for so long.
const AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Reserve {
    path: PathBuf,
    held: u64,
    /// What deletions have beside the snapshot.
    beside: u64,
    supported: bool,
    failed: Option<Instant>,
}

impl Reserve {
    /// Takes over what is there. `beside` is the part that does not grow with the state; on a small device it is less.
    pub(super) fn open(directory: &Path, beside: u64) -> Self {
        let path = directory.join(NAME);
        let share = statvfs(directory).map_or(u64::MAX, |device| {
            device.f_blocks.saturating_mul(device.f_frsize) / SHARE
        });
        Self {
            held: fs::metadata(&path).map_or(0, |found| found.len()),
            path,
            beside: beside.min(share),
            supported: beside > 0,
            failed: None,
        }
    }

    /// Makes it large enough for a state that takes `live` bytes in a snapshot. Says whether it is; if not, it is as
    /// large as the device allows.
    pub(super) fn hold(&mut self, live: u64) -> bool {
        let needed = live + self.beside;
        if !self.supported || self.held >= needed {
            return true;
        }
        let now = Instant::now();
        if self
            .failed
            .is_some_and(|failed| now.duration_since(failed) < AGAIN)
        {
            return false;
        }
        let mut wanted = needed.next_multiple_of(STEP);
        while wanted > self.held {
            match self.grow(wanted) {
                Ok(()) => self.held = wanted,
                // The last is the limit of a file's size (setrlimit(2)), which says nothing of space.
                Err(error @ (Errno::OPNOTSUPP | Errno::NOSYS | Errno::FBIG)) => {
                    tracing::warn!(path = %self.path.display(), %error,
                        "space cannot be allocated ahead: on a full device nothing can be deleted through the API");
                    self.supported = false;
                    return true;
                }
                // Half of what is lacking, down to a page.
                Err(_) => wanted = self.held + (wanted - self.held) / 2 / PAGE * PAGE,
            }
        }
        self.failed = (self.held < needed).then_some(now);
        self.failed.is_none()
    }

    fn grow(&self, wanted: u64) -> Result<(), Errno> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&self.path)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        // A failure may leave a part allocated, which the length does not show: it is given back.
        fallocate(&file, FallocateFlags::empty(), 0, wanted)
            .inspect_err(|_| drop(file.set_len(self.held)))
    }

    /// Gives so many bytes back to the device, if that leaves enough for a snapshot of `live` bytes.
    pub(super) fn release(&mut self, bytes: u64, live: u64) -> bool {
        let Some(left) = self.held.checked_sub(bytes).filter(|left| *left >= live) else {
            return false;
        };
        let cut = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .and_then(|file| file.set_len(left));
        match cut {
            Ok(()) => {
                self.held = left;
                true
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the reserve cannot be cut");
                false
            }
        }
    }

    /// Turns the reserve into a file of another name, to be written from its beginning.
    pub(super) fn take(&mut self) -> Taken {
        self.held = 0;
        Taken(self.path.clone())
    }
}

/// A reserve on its way to become a snapshot.
#[derive(Debug)]
pub(super) struct Taken(PathBuf);

impl Taken {
    /// Renames it and opens it; its blocks are there already. A plain new file if there is none.
    pub(super) fn open_as(&self, path: &Path) -> io::Result<File> {
        match fs::rename(&self.0, path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)
    }
}
