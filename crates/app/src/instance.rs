//! Which server this is among those over one store: told by its data directory, so that it is the same after a restart.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The instance of a data directory. As long as it is held, no other process has it.
#[derive(Debug)]
pub(crate) struct Instance {
    id: String,
    _lock: File,
}

impl Instance {
    /// Reads the file, or makes it.
    ///
    /// # Errors
    /// When another process has it, or it cannot be read or written.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let doing = || format!("reading {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .with_context(doing)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => anyhow::bail!(
                "{} is in use by another process: is another platform running in this data directory?",
                path.display()
            ),
            other => other.with_context(doing)?,
        }
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(doing)?;
        // Half of one is of a start that was cut: nobody knows it.
        let id = match uuid::Uuid::try_parse(text.trim()) {
            Ok(id) => id,
            Err(_) => {
                let id = uuid::Uuid::new_v4();
                let doing = || format!("writing {}", path.display());
                file.set_len(0).with_context(doing)?;
                file.rewind().with_context(doing)?;
                writeln!(file, "{id}").with_context(doing)?;
                file.sync_all().with_context(doing)?;
                id
            }
        };
        Ok(Self {
            id: id.to_string(),
            _lock: file,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_again_and_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance");
        let first = Instance::take(&path).unwrap();
        let error = Instance::take(&path).unwrap_err().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        let id = first.id().to_owned();
        drop(first);
        assert_eq!(Instance::take(&path).unwrap().id(), id);
    }

    #[test]
    fn half_of_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance");
        let id = Instance::take(&path).unwrap().id().to_owned();
        std::fs::write(&path, &id[..20]).unwrap();
        let other = Instance::take(&path).unwrap().id().to_owned();
        assert_ne!(other, id);
        assert_eq!(Instance::take(&path).unwrap().id(), other);
    }
}
