//! Snapshots: the state at one revision, so that older segments can be deleted.
//!
//! ```text
//! <revision, 16 hex digits>.snapshot
//!  0  8 bytes  magic and version
//!  8  u64      revision
//! 16  u32      CRC32C of the 16 bytes before
//! 20  frames   ENTRY u8 | created u64 | modified u64 | key | value      sorted by key
//!     frame    END u8 | number of entries u64
//! ```
//!
//! A snapshot appears whole or not at all: it is written under a temporary name, synced, renamed, and the directory is
//! synced. It is taken at the oldest revision of the history, not at the newest, so that the history survives a restart.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::frame::{self, Fields};
use super::reserve::Taken;
use crate::error::OpenError;
use crate::memory::View;
use crate::model::{Entry, Revision};

const MAGIC: [u8; 8] = *b"FVSNAP\0\x01";
const HEADER: usize = 20;
const ENTRY: u8 = 1;
const END: u8 = 2;

/// How unfinished files are called; they are removed when the store is opened.
pub(super) const TEMPORARY: &str = "tmp";

/// The revision of a snapshot, from its file name.
pub(super) fn parse_name(path: &Path) -> Option<Revision> {
    super::parse_revision(path, "snapshot")
}

/// What an entry takes in a snapshot, in bytes.
pub(crate) fn entry_size(key: &str, value: &[u8]) -> u64 {
    // Kind, two revisions, and the key's length.
    (frame::HEADER + 1 + 16 + 2 + key.len() + value.len()) as u64
}

/// Writes the snapshot of a view and returns its path and size; into the space of a reserve, if one is given.
///
/// # Guarantees
/// When it returns `Ok`, the snapshot is durable under its name; otherwise there is none, and at most a temporary file.
pub(super) fn write(
    directory: &Path,
    view: &View,
    cancel: &AtomicBool,
    space: Option<&Taken>,
) -> io::Result<(PathBuf, u64)> {
    let path = directory.join(format!("{:016x}.snapshot", view.revision.0));
    let temporary = path.with_extension(TEMPORARY);
    let file = match space {
        Some(taken) => taken.open_as(&temporary),
        None => File::create(&temporary),
    };
    let written = file.and_then(|file| write_temporary(file, view, cancel));
    let size = written.inspect_err(|_| {
        // Removing is a courtesy (space may be what lacked); opening the store removes it as well.
        let _ = fs::remove_file(&temporary);
    })?;
    fs::rename(&temporary, &path)?;
    File::open(directory)?.sync_all()?;
    Ok((path, size))
}

fn write_temporary(file: File, view: &View, cancel: &AtomicBool) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(256 << 10, file);
    let mut header = [0; HEADER];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&view.revision.0.to_le_bytes());
    let sum = crc32c::crc32c(&header[0..16]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    out.write_all(&header)?;
    let mut size = HEADER as u64;
    let mut count = 0u64;
    let mut buffer = Vec::new();
    for entry in view.iter() {
        if cancel.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                ErrorKind::Interrupted,
                "the store is being closed",
            ));
        }
        buffer.clear();
        frame::encode(&mut buffer, |body| {
            body.push(ENTRY);
            body.extend_from_slice(&entry.created.0.to_le_bytes());
            body.extend_from_slice(&entry.modified.0.to_le_bytes());
            frame::put_key(body, &entry.key);
            body.extend_from_slice(&entry.value);
        });
        out.write_all(&buffer)?;
        size += buffer.len() as u64;
        count += 1;
    }
    buffer.clear();
    frame::encode(&mut buffer, |body| {
        body.push(END);
        body.extend_from_slice(&count.to_le_bytes());
    });
    out.write_all(&buffer)?;
    size += buffer.len() as u64;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    // What is left of a reserve.
    file.set_len(size)?;
    file.sync_all()?;
    Ok(size)
}

/// Reads a snapshot; any damage is an error, because what it replaced is gone.
pub(super) fn read(path: &Path, revision: Revision) -> Result<(View, u64), OpenError> {
    let io = |doing| OpenError::io(doing, path);
    let mut input = BufReader::with_capacity(256 << 10, File::open(path).map_err(io("open"))?);
    let corrupt = |offset: u64, what: &str| OpenError::Corrupt {
        path: path.to_owned(),
        offset,
        what: what.to_owned(),
    };
    let mut header = [0; HEADER];
    fill(&mut input, &mut header)
        .map_err(io("read"))?
        .ok_or_else(|| corrupt(0, "the snapshot ends too early"))?;
    let valid = header[0..8] == MAGIC
        && header[8..16] == revision.0.to_le_bytes()
        && header[16..20] == crc32c::crc32c(&header[0..16]).to_le_bytes();
    if !valid {
        return Err(corrupt(0, "the snapshot's header is not valid"));
    }
    let mut view = View {
        revision,
        ..View::default()
    };
    let mut offset = HEADER as u64;
    let mut count = 0u64;
    let mut body = Vec::new();
    loop {
        let mut header = [0; frame::HEADER];
        fill(&mut input, &mut header)
            .map_err(io("read"))?
            .ok_or_else(|| corrupt(offset, "the snapshot ends too early"))?;
        let (length, sum) =
            frame::decode_header(&header).map_err(|damage| corrupt(offset, damage.what()))?;
        body.resize(length, 0);
        fill(&mut input, &mut body)
            .map_err(io("read"))?
            .ok_or_else(|| corrupt(offset, "the snapshot ends too early"))?;
        if crc32c::crc32c(&body) != sum {
            return Err(corrupt(offset, frame::Damage::Body(0).what()));
        }
        match parse(&body) {
            Some(Parsed::Entry(entry)) => {
                view.set(&Arc::clone(&entry.key), Some(entry));
                count += 1;
            }
            Some(Parsed::End(expected)) if expected == count => break,
            _ => {
                return Err(corrupt(
                    offset,
                    "a frame is malformed although its checksum matches",
                ));
            }
        }
        offset += (frame::HEADER + length) as u64;
    }
    offset += (frame::HEADER + body.len()) as u64;
    if fill(&mut input, &mut [0]).map_err(io("read"))?.is_some() {
        return Err(corrupt(offset, "something follows the end of the snapshot"));
    }
    Ok((view, offset))
}

enum Parsed {
    Entry(Entry),
    End(u64),
}

fn parse(body: &[u8]) -> Option<Parsed> {
    let mut fields = Fields(body);
    match fields.u8()? {
        ENTRY => {
            let created = Revision(fields.u64()?);
            let modified = Revision(fields.u64()?);
            let key = Arc::from(fields.key()?);
            Some(Parsed::Entry(Entry {
                key,
                value: Bytes::copy_from_slice(fields.0),
                created,
                modified,
            }))
        }
        END => fields.u64().map(Parsed::End),
        _ => None,
    }
}

/// Fills the buffer; `None` if the input ends before.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<()>> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
