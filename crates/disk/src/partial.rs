//! A file in the making: `NAME.partial` until it is complete and durable, then `NAME`.
//!
//! ```text
//! create ─► write ... ─► commit: fsync file, rename, fsync directory
//!              └─ drop: the partial file is removed
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::file::{FileError, Operation};

/// See the module's story.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl Partial {
    /// Creates `TARGET.partial`, replacing what a killed predecessor left.
    ///
    /// # Errors
    /// When the directory does not exist or refuses.
    pub fn create(target: &Path) -> Result<Self, FileError> {
        let path = partial_path(target);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            // Disks hold secrets (a cloud-init seed is one): nobody else of the host reads them.
            .mode(0o660)
            .open(&path)
            .map_err(|error| FileError::new(Operation::Create, &path, error))?;
        Ok(Self {
            file,
            path,
            target: target.to_path_buf(),
            committed: false,
        })
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its present path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file durable and gives it its final name, replacing an older file.
    ///
    /// # Errors
    /// When one of the steps fails; the partial file is removed then.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.file
            .sync_all()
            .map_err(|error| FileError::new(Operation::Sync, &self.path, error))?;
        fs::rename(&self.path, &self.target)
            .map_err(|error| FileError::new(Operation::Rename, &self.path, error))?;
        self.committed = true;
        let parent = match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| FileError::new(Operation::Sync, parent, error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.committed {
            // Best effort: the next attempt truncates it anyway.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn partial_path(target: &Path) -> PathBuf {
    let mut name = OsString::from(target);
    name.push(".partial");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_half_created_remains() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("disk.img");
        drop(Partial::create(&target).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        fs::write(
            dir.path().join("disk.img.partial"),
            b"left by a killed process",
        )
        .unwrap();
        Partial::create(&target).unwrap().commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn others_of_the_host_cannot_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("seed.iso");
        Partial::create(&target).unwrap().commit().unwrap();
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0);
    }
}
