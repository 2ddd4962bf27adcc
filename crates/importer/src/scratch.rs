//! A scratch file beside the disk, without a name that could be left behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::file::Operation;
use disk::{FileError, ReadAt};

use crate::remote::Abandoned;

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

/// A scratch file that stops being read when nobody waits any more.
pub(crate) struct ScratchImage {
    pub file: File,
    pub abandoned: Abandoned,
}

impl ReadAt for ScratchImage {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.abandoned.check()?;
        ReadAt::read_at(&mut self.file, offset, buffer)
    }
}
