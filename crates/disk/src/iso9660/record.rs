//! The records of ISO 9660, as bytes.

/// A number in both byte orders (ECMA-119 7.3.3).
pub(super) fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// The same with 16 bits (7.2.3).
pub(super) fn both16(value: u16) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&value.to_le_bytes());
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// UCS-2, big-endian, as Joliet spells names. Names are ASCII here.
pub(super) fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// All files bear one date, so that equal content gives equal bytes: 2000-01-01 00:00 UTC.
const DATE: [u8; 7] = [100, 1, 1, 0, 0, 0, 0];
/// The same in the descriptors' notation (8.4.26.1).
pub(super) const LONG_DATE: &[u8; 17] = b"2000010100000000\0";

/// Directory record (9.1).
pub(super) struct Directory<'a> {
    pub name: &'a [u8],
    pub sector: u32,
    pub bytes: u32,
    pub is_directory: bool,
    pub system_use: &'a [u8],
}

impl Directory<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let padded = self.name.len() + (self.name.len() + 1) % 2;
        let length = 33 + padded + self.system_use.len();
        let length = length + length % 2;
        let mut out = Vec::with_capacity(length);
        // Names are at most 64 characters and system use areas short: a record fits 255 bytes.
        out.extend([u8::try_from(length).unwrap_or(u8::MAX), 0]);
        out.extend(both32(self.sector));
        out.extend(both32(self.bytes));
        out.extend(DATE);
        out.extend([if self.is_directory { 2 } else { 0 }, 0, 0]);
        out.extend(both16(1));
        out.push(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        out.extend(self.name);
        out.resize(33 + padded, 0);
        out.extend(self.system_use);
        out.resize(length, 0);
        out
    }
}

/// Rock Ridge: POSIX attributes (RRIP PX), times (TF).
pub(super) fn attributes(is_directory: bool) -> Vec<u8> {
    let (mode, links) = if is_directory {
        (0o040_555, 2)
    } else {
        (0o100_444, 1)
    };
    let mut out = b"PX\x24\x01".to_vec();
    for value in [mode, links, 0, 0] {
        out.extend(both32(value));
    }
    out.extend(b"TF\x1a\x01\x0e"); // modification, access, attribute change
    out.extend(DATE.repeat(3));
    out
}

/// Rock Ridge: the file's real name (NM).
pub(super) fn name(name: &str) -> Vec<u8> {
    let mut out = b"NM".to_vec();
    out.extend([u8::try_from(5 + name.len()).unwrap_or(u8::MAX), 1, 0]);
    out.extend(name.as_bytes());
    out
}

/// SUSP: the mark that system use fields follow (SP), in the root's own record.
pub(super) const SHARING: &[u8] = b"SP\x07\x01\xbe\xef\x00";

/// SUSP: more of them elsewhere (CE).
pub(super) fn continuation(sector: u32, bytes: u32) -> Vec<u8> {
    let mut out = b"CE\x1c\x01".to_vec();
    for value in [sector, 0, bytes] {
        out.extend(both32(value));
    }
    out
}

/// SUSP: which extension is in use (ER). The strings are the standard's.
pub(super) fn extension() -> Vec<u8> {
    let id = b"RRIP_1991A";
    let description =
        b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    let source = b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION.";
    let lengths = [id.len(), description.len(), source.len()];
    let mut out = b"ER".to_vec();
    let total = 8 + lengths.iter().sum::<usize>();
    out.extend([u8::try_from(total).unwrap_or(u8::MAX), 1]);
    out.extend(lengths.map(|length| u8::try_from(length).unwrap_or(u8::MAX)));
    out.push(1);
    out.extend(id);
    out.extend(description);
    out.extend(source);
    out
}
