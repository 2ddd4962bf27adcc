//! A store that is made from entries: how a backup becomes one again.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{identity, recovery, segment, snapshot};
use crate::memory::View;
use crate::model::{Entry, Revision};

/// A store that is not on the device yet. Its history begins, and has nothing, at its revision.
pub(crate) struct NewStore(View);

impl NewStore {
    pub(crate) fn new(revision: Revision) -> Self {
        Self(View {
            revision,
            ..View::default()
        })
    }

    pub(crate) fn set(&mut self, key: &Arc<str>, entry: Entry) {
        self.0.set(key, Some(entry));
    }

    /// Writes it into a directory that does not exist: a snapshot, an empty segment after it, an identity of its own.
    pub(crate) fn write(&self, directory: &Path, cancel: &AtomicBool) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(directory)?;
        snapshot::write(directory, &self.0, cancel, None)?;
        let first = self.0.revision.next();
        let mut file = recovery::create_file(&directory.join(segment::file_name(first)))?;
        recovery::begin(&mut file, directory, first)?;
        identity::create(directory)?;
        File::open(directory)?.sync_all()
    }
}

/// Where a store is prepared that is to be moved to `directory`: on the same device.
pub(crate) fn beside(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    directory.with_file_name(name)
}
