//! Backups: the whole state of a store at one revision, in one file that can prove itself.
//!
//! ```text
//!  0  8 bytes   magic and version                                       numbers little-endian
//!  8  u64       revision
//! 16  u64       number of entries
//! 24  u64       number of files (keys of the platform), in or beside the store
//! 32  u64       when it was taken, seconds since 1970
//! 40  36 bytes  identity of the store, a UUID as text
//! 76  u32       CRC32C of the 76 bytes before
//! 80  gzip      frames as in the store's own files, each with a CRC32C:
//!                 ENTRY u8 | created u64 | modified u64 | key | value     sorted by key
//!                 FILE u8 | name | contents                               sorted by name
//!                 END u8 | entries u64 | files u64
//! -40 8 bytes   magic of the end
//! -32 32 bytes  SHA-256 of everything before it
//! ```
//!
//! The frames find damage and say where; the SHA-256 says that the file is the one that was written, and the magic of
//! the end that none of it is missing. Entries are the store's bytes as they are: what is encrypted at rest is encrypted
//! here, all else is not, so a backup is as secret as the store.
//!
//! Restoring verifies the whole file first, writes a new store beside the place where it belongs, and moves it there in
//! one step. The new store begins [`REVISIONS_SKIPPED`] after the backup's revision, and its history there: whatever
//! happened between the backup and its loss had smaller revisions, so every watch and every page of a list from that time
//! is answered with "compacted", and no revision is ever given twice. It has an identity of its own, by which others
//! notice that their records speak of another past.

mod read;
mod restore;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub use read::{Item, read, verify};
pub use restore::restore;
pub use write::write;

use crate::model::{Entry, Revision};

/// How far a restored store's revisions are from the backup's: more than three years of 10,000 writes a second.
pub const REVISIONS_SKIPPED: u64 = 1 << 40;

const MAGIC: [u8; 8] = *b"FVBAK\0\0\x01";
const END_MAGIC: [u8; 8] = *b"FVBAKEND";
const HEADER: usize = 80;
const TRAILER: usize = 40;
const IDENTITY: usize = 36;

const ENTRY: u8 = 1;
const FILE: u8 = 2;
const END: u8 = 3;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The revision whose state it is.
    pub revision: Revision,
    /// How many entries.
    pub entries: u64,
    /// How many files.
    pub files: u64,
    /// When it was taken, to the second.
    pub taken: SystemTime,
    /// The identity of the store it was taken of: a UUID.
    pub identity: String,
}

/// What is to be backed up: a listing of everything at one revision, and some files.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The revision of the entries.
    pub revision: Revision,
    /// All entries, sorted by key, as [`crate::Store::list`] gives them.
    pub entries: Vec<Entry>,
    /// Name (without directories) and contents of files that belong with them, sorted by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// The identity of the store: a UUID.
    pub identity: String,
    /// When it is taken.
    pub taken: SystemTime,
}

/// Why a backup was refused, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is no backup, or not of a version that this program reads.
    #[error(
        "it is no backup of a Ferrovirt store, or of a newer version: its first bytes are not `FVBAK` and 1"
    )]
    Foreign,
    /// The file is not as it was written.
    #[error("it is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where in the file, as near as can be told.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// There is a store where this one is to be restored.
    #[error("{} holds a store or something else: move it away first, nothing is overwritten", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// What is to be backed up cannot be.
    #[error("{0}")]
    Unfit(String),
    /// A file could not be read or written.
    #[error("cannot {doing}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl BackupError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

fn encode_header(summary: &Summary) -> Result<[u8; HEADER], BackupError> {
    let identity: [u8; IDENTITY] = summary.identity.as_bytes().try_into().map_err(|_| {
        BackupError::Unfit(format!("the identity {:?} is no UUID", summary.identity))
    })?;
    let taken = summary
        .taken
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut header = [0; HEADER];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&summary.revision.0.to_le_bytes());
    header[16..24].copy_from_slice(&summary.entries.to_le_bytes());
    header[24..32].copy_from_slice(&summary.files.to_le_bytes());
    header[32..40].copy_from_slice(&taken.to_le_bytes());
    header[40..76].copy_from_slice(&identity);
    let sum = crc32c::crc32c(&header[0..76]);
    header[76..80].copy_from_slice(&sum.to_le_bytes());
    Ok(header)
}

fn decode_header(header: &[u8; HEADER]) -> Result<Summary, BackupError> {
    if header[0..8] != MAGIC {
        return Err(BackupError::Foreign);
    }
    let damaged = |what: &str| BackupError::Damaged {
        offset: 0,
        what: what.to_owned(),
    };
    if header[76..80] != crc32c::crc32c(&header[0..76]).to_le_bytes() {
        return Err(damaged("the checksum of its header does not match"));
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let taken = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(number(32)));
    let identity = str::from_utf8(&header[40..76]).ok();
    match (taken, identity) {
        (Some(taken), Some(identity)) if number(8) < u64::MAX - REVISIONS_SKIPPED => Ok(Summary {
            revision: Revision(number(8)),
            entries: number(16),
            files: number(24),
            taken,
            identity: identity.to_owned(),
        }),
        _ => Err(damaged("its header makes no sense")),
    }
}
