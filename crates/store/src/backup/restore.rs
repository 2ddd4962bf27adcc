//! Restoring: verify everything, write a store beside its place, move it there.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::read::{Item, read, verify};
use super::{BackupError, REVISIONS_SKIPPED, Summary};
use crate::log::{self, NewStore};
use crate::model::Revision;

/// Restores a backup as a store of the `log` engine in `directory`, which must not exist or be empty. Its files are given
/// to `file`, by name and contents, before the store appears.
///
/// # Guarantees
/// The store is there whole, durably, or not at all. The file was verified before anything was written.
///
/// # Errors
/// As [`verify`]; [`BackupError::Occupied`]; errors of the device, and of `file`.
pub fn restore(
    path: &Path,
    directory: &Path,
    mut file: impl FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<Summary, BackupError> {
    if !is_vacant(directory).map_err(doing("look at", directory))? {
        return Err(BackupError::Occupied {
            path: directory.to_owned(),
        });
    }
    let checked = verify(path)?;
    let mut new = NewStore::new(Revision(checked.revision.0 + REVISIONS_SKIPPED));
    let summary = read(path, |item| match item {
        Item::Entry(entry) => {
            let key = Arc::clone(&entry.key);
            new.set(&key, entry);
            Ok(())
        }
        Item::File(name, data) => {
            file(&name, &data).map_err(BackupError::io(format!("restore the file {name}")))
        }
    })?;
    let beside = log::beside(directory);
    match fs::remove_dir_all(&beside) {
        // What an interrupted restore has left.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(doing("remove", &beside)(error));
        }
        _ => {}
    }
    new.write(&beside, &AtomicBool::new(false))
        .map_err(doing("write the store in", &beside))?;
    fs::rename(&beside, directory).map_err(doing("move the store to", directory))?;
    let parent = directory
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(doing("sync", parent))?;
    Ok(summary)
}

fn doing(what: &str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    BackupError::io(format!("{what} {}", path.display()))
}

fn is_vacant(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut items) => Ok(items.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}
