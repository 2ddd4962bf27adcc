//! Writing a backup: one pass, to a file or a connection.

use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::{BackupError, Contents, END, END_MAGIC, ENTRY, FILE, Summary, encode_header};
use crate::limits;
use crate::log::frame;

/// Sums up what passes through.
struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a backup. It is not durable, nor verified, when this returns: that is the caller's part.
///
/// # Errors
/// [`BackupError::Unfit`] for files beyond the limits of a value, and errors of `out`.
pub fn write(out: impl Write, contents: &Contents) -> Result<Summary, BackupError> {
    let too_large = contents
        .files
        .iter()
        .find(|(name, data)| name.len() > limits::KEY_BYTES || data.len() > limits::VALUE_BYTES);
    if let Some((name, _)) = too_large {
        return Err(BackupError::Unfit(format!("the file {name} is too large")));
    }
    let summary = Summary {
        revision: contents.revision,
        entries: contents.entries.len() as u64,
        files: contents.files.len() as u64,
        taken: contents.taken,
        identity: contents.identity.clone(),
    };
    let header = encode_header(&summary)?;
    write_all(out, &header, contents).map_err(BackupError::io("write the backup"))?;
    Ok(summary)
}

fn write_all(out: impl Write, header: &[u8], contents: &Contents) -> io::Result<()> {
    let mut out = Hashing {
        out: BufWriter::with_capacity(64 << 10, out),
        hash: Sha256::new(),
    };
    out.write_all(header)?;
    // The fastest level: objects are JSON, which shrinks to a fifth with any.
    let mut frames = GzEncoder::new(out, Compression::fast());
    let mut buffer = Vec::new();
    for entry in &contents.entries {
        buffer.clear();
        frame::encode(&mut buffer, |body| {
            body.push(ENTRY);
            body.extend_from_slice(&entry.created.0.to_le_bytes());
            body.extend_from_slice(&entry.modified.0.to_le_bytes());
            frame::put_key(body, &entry.key);
            body.extend_from_slice(&entry.value);
        });
        frames.write_all(&buffer)?;
    }
    for (name, data) in &contents.files {
        buffer.clear();
        frame::encode(&mut buffer, |body| {
            body.push(FILE);
            frame::put_key(body, name);
            body.extend_from_slice(data);
        });
        frames.write_all(&buffer)?;
    }
    buffer.clear();
    frame::encode(&mut buffer, |body| {
        body.push(END);
        body.extend_from_slice(&(contents.entries.len() as u64).to_le_bytes());
        body.extend_from_slice(&(contents.files.len() as u64).to_le_bytes());
    });
    frames.write_all(&buffer)?;
    let mut out = frames.finish()?;
    out.write_all(&END_MAGIC)?;
    let sum = out.hash.clone().finalize();
    out.write_all(&sum)?;
    out.flush()
}
