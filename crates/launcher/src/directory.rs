//! The launcher's directory: its lock, its files, all by relative name (the launcher has made it its working
//! directory, because a socket's path is limited to 108 bytes).
//!
//! Files are replaced by rename, so a reader never sees half of one. They are not synced to disk: after a crash of
//! the host the machine is gone as well, and whoever reads them then finds a process identity of another boot.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use launcher_api::{LauncherState, QEMU_LOG, STATE_FILE, Start};
use rustix::fs::{FlockOperation, flock};
use serde::{Serialize, de::DeserializeOwned};

use crate::limits;

/// What the machine was started with, for the launcher that adopts it.
const MACHINE_FILE: &str = "machine.json";
const LOCK_FILE: &str = "launcher.lock";

/// Why the launcher cannot work in its directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("entering {}", .0.display())]
    Enter(PathBuf, #[source] io::Error),
    #[error("another launcher runs in this directory")]
    Taken,
    #[error("{action} {name}")]
    File {
        action: &'static str,
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{name} does not hold what a launcher writes")]
    Contents {
        name: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// The directory, ours for as long as this lives.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    /// Its lock; the kernel releases it with the process, however that ends.
    _lock: Arc<File>,
}

impl Directory {
    /// Makes `path` the working directory and takes its lock.
    pub(crate) fn enter(path: &Path) -> Result<Self, DirectoryError> {
        std::env::set_current_dir(path)
            .map_err(|source| DirectoryError::Enter(path.into(), source))?;
        let failed = |source| DirectoryError::File {
            action: "opening",
            name: LOCK_FILE,
            source,
        };
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(LOCK_FILE)
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                _lock: Arc::new(lock),
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectoryError::Taken),
            Err(error) => Err(failed(error.into())),
        }
    }

    pub(crate) fn state(&self) -> Result<Option<LauncherState>, DirectoryError> {
        read(STATE_FILE)
    }

    pub(crate) fn write_state(&self, state: &LauncherState) -> Result<(), DirectoryError> {
        replace(STATE_FILE, state)
    }

    pub(crate) fn start(&self) -> Result<Option<Start>, DirectoryError> {
        read(MACHINE_FILE)
    }

    pub(crate) fn write_start(&self, start: &Start) -> Result<(), DirectoryError> {
        replace(MACHINE_FILE, start)
    }

    /// The log that QEMU's outputs go to.
    pub(crate) fn qemu_log(&self) -> Result<File, DirectoryError> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(QEMU_LOG)
            .map_err(|source| DirectoryError::File {
                action: "opening",
                name: QEMU_LOG,
                source,
            })
    }

    /// The last lines QEMU wrote, made printable; empty when there are none.
    pub(crate) fn qemu_last_words(&self) -> String {
        let tail = || -> io::Result<Vec<u8>> {
            let mut log = File::open(QEMU_LOG)?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(
                length.saturating_sub(limits::QEMU_LOG_TAIL as u64),
            ))?;
            let mut bytes = Vec::new();
            log.take(limits::QEMU_LOG_TAIL as u64)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        printable(&tail().unwrap_or_default())
    }
}

/// An error with its causes, in one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>();
    let last = lines.len().saturating_sub(8);
    let shown = lines[last..].join("; ");
    shown.chars().filter(|c| !c.is_control()).collect()
}

fn read<T: DeserializeOwned>(name: &'static str) -> Result<Option<T>, DirectoryError> {
    let failed = |source| DirectoryError::File {
        action: "reading",
        name,
        source,
    };
    let file = match File::open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(launcher_api::limits::REQUEST_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| DirectoryError::Contents { name, source })
}

fn replace<T: Serialize>(name: &'static str, value: &T) -> Result<(), DirectoryError> {
    let failed = |source| DirectoryError::File {
        action: "writing",
        name,
        source,
    };
    let bytes =
        serde_json::to_vec(value).map_err(|source| DirectoryError::Contents { name, source })?;
    let new = format!(".{name}.new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    std::fs::rename(&new, name).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_printable() {
        assert_eq!(
            printable(b"one\n\n\x1b[1mtwo\x07\r\n\xff"),
            "one; [1mtwo; \u{fffd}"
        );
        assert_eq!(printable(b""), "");
        let many = "line\n".repeat(20);
        assert_eq!(printable(many.as_bytes()).matches("line").count(), 8);
    }
}
