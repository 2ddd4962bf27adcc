//! Reading a backup: everything is verified, and nothing is believed before.
//!
//! The trailer comes first: magic of the end, then the SHA-256 of all before it. Only of a file that passes is the
//! contents decoded, which checks each record, their order and their number.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

use super::{
    BackupError, END, END_MAGIC, ENTRY, FILE, HEADER, IDENTITY, MAGIC, Summary, TRAILER,
    decode_header,
};
use crate::log::frame::{self, Fields};
use crate::model::{Entry, Revision};

const BUFFER: usize = 64 << 10;

/// A record of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An entry of the store.
    Entry(Entry),
    /// A file: its name and contents.
    File(String, Vec<u8>),
}

/// Verifies a backup as far as that can be done without restoring it, which is everything but the meaning of values.
///
/// # Errors
/// [`BackupError::Foreign`], [`BackupError::Damaged`], or an error of the file.
pub fn verify(path: &Path) -> Result<Summary, BackupError> {
    read(path, |_| Ok(()))
}

/// Verifies the file as a whole, then gives each record to `visit`. If this fails after records were given, they were
/// those of a file whose checksum is right and which nevertheless makes no sense; forget them.
///
/// # Errors
/// As [`verify`], and those of `visit`.
pub fn read(
    path: &Path,
    visit: impl FnMut(Item) -> Result<(), BackupError>,
) -> Result<Summary, BackupError> {
    let io = |doing: &str| BackupError::io(format!("{doing} {}", path.display()));
    let mut file = File::open(path).map_err(io("open"))?;
    let length = file.metadata().map_err(io("read the size of"))?.len();
    let contents = whole(&mut file, length).map_err(|fault| fault.of(path))?;
    file.seek(SeekFrom::Start(0)).map_err(io("seek in"))?;
    records(file.take(contents), visit).map_err(|fault| fault.of(path))
}

/// A failure of reading, before it has the name of its file.
enum Fault {
    Io(io::Error),
    Backup(BackupError),
}

impl Fault {
    fn of(self, path: &Path) -> BackupError {
        match self {
            Self::Io(source) => BackupError::io(format!("read {}", path.display()))(source),
            Self::Backup(error) => error,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BackupError> for Fault {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

fn damaged(offset: u64, what: impl Into<String>) -> Fault {
    Fault::Backup(BackupError::Damaged {
        offset,
        what: what.into(),
    })
}

/// Checks beginning, end and sum; gives the length without the trailer.
fn whole(file: &mut File, length: u64) -> Result<u64, Fault> {
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == MAGIC => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
        _ => return Err(BackupError::Foreign.into()),
    }
    let Some(contents) = length
        .checked_sub(TRAILER as u64)
        .filter(|contents| *contents >= HEADER as u64)
    else {
        return Err(damaged(length, "it ends too early"));
    };
    let mut hash = Sha256::new();
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; BUFFER];
    let mut covered = file.take(contents + END_MAGIC.len() as u64);
    loop {
        match covered.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let file = covered.into_inner();
    file.seek(SeekFrom::Start(contents))?;
    let mut trailer = [0; TRAILER];
    file.read_exact(&mut trailer)?;
    let (end, sum) = trailer.split_at(END_MAGIC.len());
    if end != END_MAGIC {
        return Err(damaged(
            length,
            "the mark of its end is missing: it was cut, or something was appended",
        ));
    }
    if sum != hash.finalize().as_slice() {
        // Where, says the first record that does not match; the sum alone is damaged if there is none.
        file.seek(SeekFrom::Start(0))?;
        records(file.take(contents), |_| Ok(()))?;
        return Err(damaged(contents, "its SHA-256 does not match"));
    }
    Ok(contents)
}

/// Counts what was read, to say where damage is.
struct Counting<R> {
    input: R,
    read: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.read += n as u64;
        Ok(n)
    }
}

struct Records<R> {
    frames: GzDecoder<BufReader<Counting<R>>>,
    body: Vec<u8>,
}

impl<R: Read> Records<R> {
    /// The place in the file, as near as the compression tells.
    fn offset(&self) -> u64 {
        let input = self.frames.get_ref();
        input.get_ref().read - input.buffer().len() as u64
    }

    fn damaged(&self, what: impl Into<String>) -> Fault {
        damaged(self.offset(), what)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        // The file was read before: what fails now is the compressed data.
        self.frames
            .read_exact(buffer)
            .map_err(|error| self.damaged(format!("the compressed data: {error}")))
    }

    fn next(&mut self) -> Result<&[u8], Fault> {
        let mut header = [0; frame::HEADER];
        self.fill(&mut header)?;
        let (length, sum) =
            frame::decode_header(&header).map_err(|damage| self.damaged(damage.what()))?;
        let mut body = std::mem::take(&mut self.body);
        body.resize(length, 0);
        self.fill(&mut body)?;
        self.body = body;
        if crc32c::crc32c(&self.body) != sum {
            return Err(self.damaged(frame::Damage::Body(0).what()));
        }
        Ok(&self.body)
    }
}

enum Record {
    Item(Item),
    End(u64, u64),
}

fn parse(body: &[u8]) -> Option<Record> {
    let mut fields = Fields(body);
    match fields.u8()? {
        ENTRY => {
            let created = Revision(fields.u64()?);
            let modified = Revision(fields.u64()?);
            let key = Arc::from(fields.key()?);
            let value = Bytes::copy_from_slice(fields.0);
            Some(Record::Item(Item::Entry(Entry {
                key,
                value,
                created,
                modified,
            })))
        }
        FILE => {
            let name = fields.key()?.to_owned();
            Some(Record::Item(Item::File(name, fields.0.to_vec())))
        }
        END => {
            let end = Record::End(fields.u64()?, fields.u64()?);
            fields.0.is_empty().then_some(end)
        }
        _ => None,
    }
}

fn records(
    file: Take<impl Read>,
    mut visit: impl FnMut(Item) -> Result<(), BackupError>,
) -> Result<Summary, Fault> {
    let mut input = BufReader::with_capacity(
        BUFFER,
        Counting {
            input: file,
            read: 0,
        },
    );
    let mut header = [0; HEADER];
    input.read_exact(&mut header)?;
    let summary = decode_header(&header)?;
    if uuid::Uuid::try_parse(&summary.identity).is_err() || summary.identity.len() != IDENTITY {
        return Err(damaged(40, "the store's identity is no UUID"));
    }
    let mut records = Records {
        frames: GzDecoder::new(input),
        body: Vec::new(),
    };
    let (mut entries, mut files) = (0u64, 0u64);
    let mut last: Option<Arc<str>> = None;
    loop {
        let record = parse(records.next()?);
        match record {
            Some(Record::Item(Item::Entry(entry))) => {
                let in_order = last.as_ref().is_none_or(|last| *last < entry.key) && files == 0;
                let dated = entry.created <= entry.modified && entry.modified <= summary.revision;
                if !in_order || !dated || entry.created == Revision::ZERO {
                    return Err(records.damaged(format!("record {entries} is out of order")));
                }
                last = Some(Arc::clone(&entry.key));
                entries += 1;
                visit(Item::Entry(entry))?;
            }
            Some(Record::Item(Item::File(name, data))) => {
                if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                    return Err(records.damaged(format!("{name:?} is no name of a file")));
                }
                files += 1;
                visit(Item::File(name, data))?;
            }
            Some(Record::End(e, f)) if (e, f) == (entries, files) => break,
            Some(Record::End(..)) => {
                return Err(records.damaged("the number of records is not that at the end"));
            }
            None => {
                return Err(records.damaged("a record is malformed although its checksum matches"));
            }
        }
    }
    if (entries, files) != (summary.entries, summary.files) {
        return Err(records.damaged("the number of records is not that of the header"));
    }
    // The checksum of the compression itself, and nothing behind it.
    let more = records.frames.read(&mut [0; 1]);
    let more = more.map_err(|error| records.damaged(format!("the compressed data: {error}")))?;
    let rest = io::copy(records.frames.get_mut(), &mut io::sink())?;
    if more > 0 || rest > 0 {
        return Err(records.damaged("something follows the last record"));
    }
    Ok(summary)
}
