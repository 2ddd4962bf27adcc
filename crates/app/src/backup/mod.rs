//! `ferrovirt backup`, `restore` and `check-store`: the store in a file, and back.
//!
//! ```text
//! backup FILE              ─► API server ─ GET backup ─► temporary file ─► fsync, verified ─► FILE
//! backup FILE --data-dir   ─► the store itself, locked ──┘
//! restore FILE --data-dir  ─► verified ─► keys, then the store, in one step
//! ```
//!
//! Invariants: FILE is a whole backup or as it was before; nothing that exists is overwritten unless `--force` says so,
//! and a store never. Everything is verified before anything is changed.

mod endpoint;
mod file;
mod verbs;

pub(crate) use endpoint::registration;
pub(crate) use verbs::{BackupOptions, CheckOptions, RestoreOptions, backup, check, restore};

use std::io;
use std::path::Path;

/// What the API server calls it.
const GROUP: &str = "engine.ferrovirt.io";
const VERSION: &str = "v1";
const RESOURCE: &str = "backup";

/// Keys and certificates, by name; not what is being written.
fn keys(pki: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut keys = Vec::new();
    for item in std::fs::read_dir(pki)? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        let wanted = [".key", ".crt", ".pub", ".pem"];
        if item.file_type()?.is_file() && wanted.iter().any(|end| name.ends_with(end)) {
            keys.push((name, std::fs::read(item.path())?));
        }
    }
    keys.sort();
    Ok(keys)
}
