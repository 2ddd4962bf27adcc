//! A scratch file beside the disk, without a name that could be left behind.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::FileError;
use disk::file::Operation;

/// A file that is unlinked as soon as it is open: whatever happens, its space comes back.
#[derive(Debug)]
pub(crate) struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    pub fn beside(target: &Path) -> Result<Self, FileError> {
        let mut name = target.as_os_str().to_owned();
        name.push(".scratch");
        let path = PathBuf::from(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .and_then(|file| std::fs::remove_file(&path).map(|()| file))
            .map_err(|error| FileError::new(Operation::Create, &path, error))?;
        Ok(Self { file, path })
    }

    pub fn append(&mut self, block: &Bytes) -> Result<(), FileError> {
        self.file
            .write_all(block)
            .map_err(|error| FileError::new(Operation::Write, &self.path, error))
    }

    pub fn into_file(self) -> File {
        self.file
    }
}
