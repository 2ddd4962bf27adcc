//! Room on a file system, and whether it takes writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What is written to see whether writing works.
const SAMPLE: [u8; 4096] = [0x5a; 4096];

/// Facts of the file system that holds a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageFacts {
    /// Size, in bytes.
    pub total: u64,
    /// What may still be written, in bytes.
    pub available: u64,
    /// Files that may still be made; nothing where the file system does not count them.
    pub files: Option<u64>,
    /// How long a small write took to become durable, in milliseconds; or why it did not.
    pub durable_write_ms: Result<u64, String>,
}

/// Looks, and writes a small file durably, which is removed again.
///
/// # Errors
/// When the file system cannot be asked.
pub fn facts(directory: &Path) -> io::Result<StorageFacts> {
    let stat = rustix::fs::statvfs(directory)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(StorageFacts {
        total: bytes(stat.f_blocks),
        available: bytes(stat.f_bavail),
        files: (stat.f_files > 0).then_some(stat.f_favail),
        durable_write_ms: write(directory).map_err(|e| e.to_string()),
    })
}

fn write(directory: &Path) -> io::Result<u64> {
    let path = directory.join(format!(".write-probe-{}", std::process::id()));
    let started = Instant::now();
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&SAMPLE)?;
        file.sync_all()
    });
    let took = started.elapsed();
    let removed = fs::remove_file(&path);
    written.and(removed)?;
    Ok(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_takes_writes_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let facts = facts(dir.path()).unwrap();
        assert!(facts.total >= facts.available && facts.available > 0);
        assert!(facts.durable_write_ms.is_ok(), "{facts:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_that_does_not_says_why() {
        let found = facts(Path::new("/proc/self")).unwrap();
        assert!(found.durable_write_ms.is_err());
        assert!(facts(Path::new("/nonexistent")).is_err());
    }
}
