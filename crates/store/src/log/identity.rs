//! The identity of a store: a UUID in a file of its own, made with the store and never changed.
//!
//! Others write it down with what they keep outside of the store, and so notice that a store is not the one that their
//! records speak of: emptied, restored from a backup, or put in the place of another.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use uuid::Uuid;

use crate::error::OpenError;

const NAME: &str = "identity";

/// Reads the identity, or gives one to a store that has none.
pub(super) fn read_or_create(directory: &Path) -> Result<String, OpenError> {
    let path = directory.join(NAME);
    match fs::read(&path) {
        Ok(text) => str::from_utf8(&text)
            .ok()
            .and_then(|text| Uuid::try_parse(text.trim_end()).ok())
            .map(|identity| identity.to_string())
            .ok_or_else(|| OpenError::Corrupt {
                path,
                offset: 0,
                what: "the store's identity is no UUID".to_owned(),
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(directory).map_err(OpenError::io("write", &path))
        }
        Err(error) => Err(OpenError::io("read", &path)(error)),
    }
}

/// Gives a new identity, durably.
pub(super) fn create(directory: &Path) -> io::Result<String> {
    let identity = Uuid::new_v4().to_string();
    let path = directory.join(NAME);
    let temporary = path.with_extension(super::snapshot::TEMPORARY);
    let mut file = File::create(&temporary)?;
    writeln!(file, "{identity}")?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(identity)
}
