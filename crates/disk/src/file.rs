//! Raw disks as files: create, grow, clone. All sparse.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::Partial;

/// What was being done to a file when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creating it.
    Create,
    /// Reading it.
    Read,
    /// Writing it.
    Write,
    /// Changing its size.
    Resize,
    /// Making it durable.
    Sync,
    /// Giving it its final name.
    Rename,
    /// Cloning it.
    Clone,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Resize => "resize",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Clone => "clone",
        })
    }
}

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The volume is full, or its quota is used up.
    #[error("no space left to {operation} {}: free space on the volume or use a larger one", path.display())]
    NoSpace {
        /// What was being done.
        operation: Operation,
        /// To which file.
        path: PathBuf,
    },
    /// A disk is asked to become smaller, which would cut off the guest's data.
    #[error("{} has {current} bytes and cannot be shrunk to {wanted}", path.display())]
    WouldShrink {
        /// The file.
        path: PathBuf,
        /// Its size.
        current: u64,
        /// The size asked for.
        wanted: u64,
    },
    /// Anything else.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: Operation,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// Sorts an error of the operating system.
    pub fn new(operation: Operation, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_path_buf();
        let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
        if source
            .raw_os_error()
            .is_some_and(|code| full.contains(&code))
        {
            return Self::NoSpace { operation, path };
        }
        Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// Creates an empty sparse disk of `size` bytes, durably. An existing file of that name is an error.
///
/// # Errors
/// When the file exists or the volume refuses.
pub fn create_raw(path: &Path, size: u64) -> Result<(), FileError> {
    if path.exists() {
        let exists = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(FileError::new(Operation::Create, path, exists));
    }
    let partial = Partial::create(path)?;
    partial
        .file()
        .set_len(size)
        .map_err(|error| FileError::new(Operation::Resize, path, error))?;
    partial.commit()
}

/// Grows a raw disk to `size` bytes, durably; a disk that has that size already is left alone.
///
/// # Errors
/// [`FileError::WouldShrink`] when the disk is larger, else the operating system's.
pub fn grow(path: &Path, size: u64) -> Result<(), FileError> {
    let failed = |error| FileError::new(Operation::Resize, path, error);
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    let current = file.metadata().map_err(failed)?.len();
    if current > size {
        return Err(FileError::WouldShrink {
            path: path.to_path_buf(),
            current,
            wanted: size,
        });
    }
    if current < size {
        file.set_len(size).map_err(failed)?;
        file.sync_all()
            .map_err(|error| FileError::new(Operation::Sync, path, error))?;
    }
    Ok(())
}

/// How a clone was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneMethod {
    /// The file system shares the blocks until one side writes (XFS, btrfs).
    Reflink,
    /// Data was copied, holes were kept.
    SparseCopy,
}

/// Clones a raw disk: by reflink where the file system can, else by a sparse copy.
///
/// # Guarantees
/// `target` appears complete and durable or not at all; an existing one is replaced.
///
/// # Errors
/// When reading, writing or making durable fails.
pub fn clone_file(source: &Path, target: &Path) -> Result<CloneMethod, FileError> {
    let from =
        File::open(source).map_err(|error| FileError::new(Operation::Read, source, error))?;
    let partial = Partial::create(target)?;
    let method = match ioctl_ficlone(partial.file(), &from) {
        Ok(()) => CloneMethod::Reflink,
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
            sparse_copy(&from, partial.file())
                .map_err(|error| FileError::new(Operation::Clone, target, error))?;
            CloneMethod::SparseCopy
        }
        Err(error) => return Err(FileError::new(Operation::Clone, target, error)),
    };
    partial.commit()?;
    Ok(method)
}

/// Copies the data extents of `from` into the empty file `to`, leaving holes as holes.
fn sparse_copy(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break, // nothing but a hole up to the end
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        copy_extent(from, to, start, end)?;
        at = end;
    }
    Ok(())
}

fn copy_extent(from: impl AsFd, to: impl AsFd, start: u64, end: u64) -> io::Result<()> {
    let (mut input, mut output) = (start, start);
    while input < end {
        let want = usize::try_from(end - input)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match copy_file_range(&from, Some(&mut input), &to, Some(&mut output), want) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                return copy_by_hand(from, to, input, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// For file systems between which the kernel does not copy by itself.
fn copy_by_hand(from: impl AsFd, to: impl AsFd, start: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0u8; 1 << 20];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let got = rustix::io::pread(&from, &mut buffer[..want], at)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < got {
            done += rustix::io::pwrite(&to, &buffer[done..got], at + done as u64)?;
        }
        at += got as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn blank_disks_are_sparse_and_never_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        create_raw(&path, 10 << 30).unwrap();
        let meta = path.metadata().unwrap();
        assert_eq!(meta.len(), 10 << 30);
        assert!(meta.blocks() < 64, "{} blocks allocated", meta.blocks());
        assert!(matches!(
            create_raw(&path, 1),
            Err(FileError::Io {
                operation: Operation::Create,
                ..
            })
        ));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn disks_grow_and_refuse_to_shrink() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        create_raw(&path, 1 << 20).unwrap();
        grow(&path, 1 << 20).unwrap();
        grow(&path, 3 << 20).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 3 << 20);
        let error = grow(&path, 2 << 20).unwrap_err();
        assert!(
            error.to_string().contains("cannot be shrunk to 2097152"),
            "{error}"
        );
    }

    #[test]
    fn clones_keep_content_and_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("a"), dir.path().join("b"));
        let file = File::create(&source).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7u8; 5000], 1 << 20).unwrap();
        file.write_all_at(&[9u8; 100], (64 << 20) - 100).unwrap();
        file.sync_all().unwrap();
        clone_file(&source, &target).unwrap();
        assert_eq!(
            crate::digest::sha256_file(&source).unwrap(),
            crate::digest::sha256_file(&target).unwrap()
        );
        assert!(target.metadata().unwrap().blocks() * 512 < 4 << 20);
    }

    #[test]
    fn a_full_volume_is_said_plainly() {
        // /dev/full refuses every write with ENOSPC.
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = full.write_at(b"x", 0).unwrap_err();
        let error = FileError::new(Operation::Write, Path::new("disk.img"), error);
        assert_eq!(
            error.to_string(),
            "no space left to write disk.img: free space on the volume or use a larger one"
        );
    }
}
