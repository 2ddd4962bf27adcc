//! Frames: the unit of both kinds of file.
//!
//! ```text
//!  0  u32  length of the body        all numbers little-endian
//!  4  u32  CRC32C of the body
//!  8  u32  CRC32C of the 8 bytes before
//! 12  body
//! ```
//!
//! The header has a checksum of its own so that a damaged length is told from a frame that the end of the file cuts.

use crate::limits;

/// Bytes before the body.
pub(crate) const HEADER: usize = 12;

/// The largest body: a record of the largest key and value, with some room for its fixed fields.
pub(crate) const MAX_BODY: usize = limits::KEY_BYTES + limits::VALUE_BYTES + 64;

/// Why there is no valid frame at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// The file ends inside of the frame.
    Cut,
    /// The header's checksum does not match, or its length is impossible.
    Header,
    /// The body's checksum does not match; the frame has this many bytes.
    Body(usize),
}

impl Damage {
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Cut => "the file ends inside of a frame",
            Self::Header => "the checksum of a frame's header does not match",
            Self::Body(_) => "the checksum of a frame's body does not match",
        }
    }
}

/// Appends a frame whose body is written by `body`.
pub(crate) fn encode(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    body(out);
    let (header, body) = out[start..].split_at_mut(HEADER);
    // Bodies are bounded by MAX_BODY, which the committer's size checks guarantee.
    header[0..4].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    header[4..8].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let sum = crc32c::crc32c(&header[0..8]);
    header[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// What a valid header says: the body's length and checksum.
pub(crate) fn decode_header(header: &[u8; HEADER]) -> Result<(usize, u32), Damage> {
    let (mut length, mut sum, mut own) = ([0; 4], [0; 4], [0; 4]);
    length.copy_from_slice(&header[0..4]);
    sum.copy_from_slice(&header[4..8]);
    own.copy_from_slice(&header[8..12]);
    if crc32c::crc32c(&header[0..8]) != u32::from_le_bytes(own) {
        return Err(Damage::Header);
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_BODY {
        return Err(Damage::Header);
    }
    Ok((length, u32::from_le_bytes(sum)))
}

/// The body of the frame at the beginning of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Result<&[u8], Damage> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Damage::Cut);
    };
    let (length, sum) = decode_header(header)?;
    let body = rest.get(..length).ok_or(Damage::Cut)?;
    if crc32c::crc32c(body) != sum {
        return Err(Damage::Body(HEADER + length));
    }
    Ok(body)
}

/// Reads the fixed fields of a body, front to back.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&value, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(value)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*value))
    }

    /// A key with its length before it.
    pub(crate) fn key(&mut self) -> Option<&'a str> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.0 = rest;
        str::from_utf8(key).ok()
    }
}

/// Appends a key with its length before it.
pub(crate) fn put_key(out: &mut Vec<u8>, key: &str) {
    // Keys are bounded by limits::KEY_BYTES, far below.
    out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
}
