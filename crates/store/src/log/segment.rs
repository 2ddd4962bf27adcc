//! Segments: the files of the log. A segment is a header and the records of consecutive revisions.
//!
//! ```text
//! <first revision, 16 hex digits>.log
//!  0  8 bytes  magic and version
//!  8  u64      first revision
//! 16  u32      CRC32C of the 16 bytes before
//! 20  frames   kind u8 | batch u64 | revision u64 | key | value
//! ```
//!
//! `batch` is the offset in this file at which the record's batch began. A batch is written only after the batch before
//! it was synced, so a valid record whose batch begins after a damaged place proves that the damaged place had been
//! synced: acknowledged data was lost, and opening is refused. Without such a proof, damage at the end of the last
//! segment is either *torn*, the trace of a write that a crash interrupted and nobody was told of, or *rot*. A torn
//! write leaves a file that ends too early or a sector that was never written, which reads as zeros (etcd's WAL tells
//! them apart by the same rule); everything else is rot.

use std::path::Path;

use bytes::Bytes;

use super::frame::{self, Damage, Fields};
use crate::model::{Event, Revision};

const MAGIC: [u8; 8] = *b"FVLOG\0\0\x01";

/// Bytes before the first frame.
pub(super) const HEADER: usize = 20;

/// What a device writes atomically at least.
const SECTOR: usize = 512;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// The file name of a segment.
pub(super) fn file_name(first: Revision) -> String {
    format!("{:016x}.log", first.0)
}

/// The first revision of a segment, from its file name.
pub(super) fn parse_name(path: &Path) -> Option<Revision> {
    super::parse_revision(path, "log")
}

/// The header of a segment.
pub(super) fn header(first: Revision) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&first.0.to_le_bytes());
    let sum = crc32c::crc32c(&header[0..16]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Appends the record of an event; `batch` is the offset at which its batch begins.
pub(super) fn encode(out: &mut Vec<u8>, event: &Event, batch: u64) {
    frame::encode(out, |body| {
        body.push(if event.value.is_some() { PUT } else { DELETE });
        body.extend_from_slice(&batch.to_le_bytes());
        body.extend_from_slice(&event.revision.0.to_le_bytes());
        frame::put_key(body, &event.key);
        body.extend_from_slice(event.value.as_deref().unwrap_or_default());
    });
}

/// A record as it was read.
pub(super) struct Record<'a> {
    pub(super) batch: u64,
    pub(super) revision: Revision,
    pub(super) key: &'a str,
    pub(super) value: Option<Bytes>,
}

fn parse(body: &[u8]) -> Option<Record<'_>> {
    let mut fields = Fields(body);
    let kind = fields.u8()?;
    let batch = fields.u64()?;
    let revision = Revision(fields.u64()?);
    let key = fields.key()?;
    let value = match kind {
        PUT => Some(Bytes::copy_from_slice(fields.0)),
        DELETE if fields.0.is_empty() => None,
        _ => return None,
    };
    Some(Record {
        batch,
        revision,
        key,
        value,
    })
}

/// A place where acknowledged data is damaged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rot {
    pub(super) offset: usize,
    pub(super) what: String,
}

/// How reading a segment ended well.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// The offset after the last whole record; whatever follows is a torn write.
    pub(super) end: usize,
    /// The revision of the last record; the one before the segment's first if it has none.
    pub(super) last: Revision,
}

/// Reads a segment and gives each record to `visit`.
///
/// # Guarantees
/// Every record that was acknowledged is visited, in order of revision, or [`Rot`] is returned. `is_last` allows a torn
/// end; a segment that another one follows was closed after a sync and must be whole.
pub(super) fn read(
    bytes: &[u8],
    first: Revision,
    is_last: bool,
    mut visit: impl FnMut(Record<'_>),
) -> Result<Read, Rot> {
    if bytes.get(..HEADER) != Some(header(first).as_slice()) {
        // The header is synced before the first record is written, so without records it may be torn.
        if is_last && bytes.len() <= HEADER {
            return Ok(Read {
                end: 0,
                last: first.previous(),
            });
        }
        return Err(Rot {
            offset: 0,
            what: "the segment's header is not valid".to_owned(),
        });
    }
    let mut offset = HEADER;
    let mut last = first.previous();
    while offset < bytes.len() {
        let body = match frame::decode(&bytes[offset..]) {
            Ok(body) => body,
            Err(damage) if is_last && is_torn(bytes, offset, damage) => break,
            Err(damage) => {
                return Err(Rot {
                    offset,
                    what: damage.what().to_owned(),
                });
            }
        };
        let record = parse(body).filter(|record| record.batch <= offset as u64);
        let Some(record) = record else {
            return Err(Rot {
                offset,
                what: "a record is malformed although its checksum matches".to_owned(),
            });
        };
        if record.revision != last.next() {
            let what = format!("revision {} follows revision {last}", record.revision);
            return Err(Rot { offset, what });
        }
        last = record.revision;
        offset += frame::HEADER + body.len();
        visit(record);
    }
    Ok(Read { end: offset, last })
}

/// A valid record at an offset, whatever is before it.
pub(super) struct At {
    pub(super) revision: Revision,
    /// Of the frame's body.
    pub(super) length: usize,
}

/// The record at an offset, if there is a valid one.
pub(super) fn record_at(bytes: &[u8], offset: usize) -> Option<At> {
    let body = frame::decode(bytes.get(offset..)?).ok()?;
    parse(body)
        .filter(|record| record.batch <= offset as u64)
        .map(|record| At {
            revision: record.revision,
            length: body.len(),
        })
}

/// Whether damage at the end of the last segment can be the trace of an interrupted write; see the module.
fn is_torn(bytes: &[u8], offset: usize, damage: Damage) -> bool {
    let interrupted = match damage {
        Damage::Cut => true,
        Damage::Header => has_unwritten_sector(bytes, offset, offset + frame::HEADER),
        Damage::Body(length) => has_unwritten_sector(bytes, offset, offset + length),
    };
    interrupted && !later_batch_exists(bytes, offset)
}

/// Whether a sector that `start..end` touches is all zeros from `start` on.
fn has_unwritten_sector(bytes: &[u8], start: usize, end: usize) -> bool {
    (start / SECTOR..end.div_ceil(SECTOR)).any(|sector| {
        let from = start.max(sector * SECTOR);
        let to = bytes.len().min((sector + 1) * SECTOR);
        from < to && bytes[from..to].iter().all(|&byte| byte == 0)
    })
}

/// Whether a valid record after `offset` belongs to a batch that began after `offset`.
fn later_batch_exists(bytes: &[u8], offset: usize) -> bool {
    (offset + 1..bytes.len()).any(|at| {
        frame::decode(&bytes[at..])
            .ok()
            .and_then(parse)
            .is_some_and(|record| (offset as u64) < record.batch && record.batch <= at as u64)
    })
}
