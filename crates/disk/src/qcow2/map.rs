//! From the guest's addresses to positions in the image.

use std::ops::Range;

use super::{Header, Qcow2Error};
use crate::{ReadAt, limits};

const L1_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const L2_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// One stretch of the virtual disk that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mapping {
    /// Position in the image; first, because mappings are sorted by it.
    pub host: u64,
    /// Position in the virtual disk.
    pub guest: u64,
    /// Bytes of the virtual disk; of a compressed cluster: bytes in the image.
    pub length: u32,
    /// A whole cluster in compressed form.
    pub compressed: bool,
}

/// Walks L1 and L2 in the order of the virtual disk, a window at a time.
#[derive(Debug)]
pub(super) struct Map {
    header: Header,
    l1: Vec<u64>,
    next: usize,
}

impl Map {
    /// Reads the L1 table.
    pub fn read(header: Header, image: &mut dyn ReadAt) -> Result<Self, Qcow2Error> {
        // Entries beyond the virtual disk exist after `qemu-img resize`; they map nothing of it.
        let entries = header.virtual_size.div_ceil(header.bytes_per_l2());
        let bytes = usize::try_from(entries * 8).unwrap_or(usize::MAX);
        let l1 = table(image, header.l1_offset, bytes, "the L1 table")?;
        Ok(Self {
            header,
            l1,
            next: 0,
        })
    }

    /// The next mappings, sorted by position in the image; empty at the end of the disk.
    ///
    /// # Guarantees
    /// At most `limits::WINDOW_MAPPINGS` plus those of one L2 table.
    pub fn window(&mut self, image: &mut dyn ReadAt) -> Result<Vec<Mapping>, Qcow2Error> {
        let mut found: Vec<Mapping> = Vec::new();
        while found.len() < limits::WINDOW_MAPPINGS && self.next < self.l1.len() {
            let offset = self.l1[self.next] & L1_OFFSET;
            let base = self.next as u64 * self.header.bytes_per_l2();
            self.next += 1;
            if offset == 0 {
                continue;
            }
            self.aligned(offset, "an L2 table")?;
            let bytes = usize::try_from(self.header.cluster_size()).unwrap_or(usize::MAX);
            for (index, entry) in table(image, offset, bytes, "an L2 table")?
                .into_iter()
                .enumerate()
            {
                let guest = base + ((index as u64) << self.header.cluster_bits);
                if guest >= self.header.virtual_size {
                    break;
                }
                if let Some(mapping) = self.entry(entry, guest)? {
                    push(&mut found, mapping);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn entry(&self, entry: u64, guest: u64) -> Result<Option<Mapping>, Qcow2Error> {
        let cluster = self.header.cluster_size();
        if entry & COMPRESSED != 0 {
            // Bits below `x` are the position, those up to 61 the number of further sectors.
            let x = 62 - (self.header.cluster_bits - 8);
            let host = entry & ((1 << x) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> x;
            // At most 2^13 sectors of 512 bytes: it fits.
            let length = u32::try_from((sectors + 1) * 512 - (host & 511)).unwrap_or(u32::MAX);
            return Ok(Some(Mapping {
                host,
                guest,
                length,
                compressed: true,
            }));
        }
        let host = entry & L2_OFFSET;
        if host == 0 || (self.header.version == 3 && entry & ZERO != 0) {
            return Ok(None);
        }
        self.aligned(host, "a data cluster")?;
        let length = cluster.min(self.header.virtual_size - guest);
        Ok(Some(Mapping {
            host,
            guest,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            compressed: false,
        }))
    }

    fn aligned(&self, offset: u64, what: &str) -> Result<(), Qcow2Error> {
        if offset & (self.header.cluster_size() - 1) == 0 {
            return Ok(());
        }
        Err(Qcow2Error::Corrupt(format!(
            "{what} lies at byte {offset}, which is not a cluster's beginning"
        )))
    }
}

/// Appends, joining what is contiguous on both sides while it fits one read.
fn push(found: &mut Vec<Mapping>, mapping: Mapping) {
    if let Some(last) = found.last_mut()
        && !last.compressed
        && !mapping.compressed
        && last.host + u64::from(last.length) == mapping.host
        && last.guest + u64::from(last.length) == mapping.guest
        && (last.length + mapping.length) as usize <= limits::READ_BYTES
    {
        last.length += mapping.length;
        return;
    }
    found.push(mapping);
}

/// Reads a table of big-endian 64-bit entries. Its size was bounded by the caller.
fn table(
    image: &mut dyn ReadAt,
    offset: u64,
    bytes: usize,
    what: &'static str,
) -> Result<Vec<u64>, Qcow2Error> {
    let mut raw = vec![0u8; bytes];
    let got = image
        .read_at(offset, &mut raw)
        .map_err(|source| Qcow2Error::Read { offset, source })?;
    if got < bytes {
        return Err(Qcow2Error::Truncated { what, offset });
    }
    let entries = raw.as_chunks::<8>().0;
    Ok(entries
        .iter()
        .map(|entry| u64::from_be_bytes(*entry))
        .collect())
}

/// The part of the image that `mappings` (sorted) refer to.
pub(super) fn span(mappings: &[Mapping]) -> Range<u64> {
    let start = mappings.first().map_or(0, |mapping| mapping.host);
    let end = mappings
        .iter()
        .map(|m| m.host + u64::from(m.length))
        .max()
        .unwrap_or(start);
    start..end
}
