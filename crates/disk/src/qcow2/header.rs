//! The header: parsed without trust, bounded before use.

use super::Qcow2Error;
use crate::limits;

/// Incompatible features (version 3).
mod feature {
    pub const DIRTY: u64 = 1 << 0; // refcounts may be wrong; they are not read
    pub const CORRUPT: u64 = 1 << 1;
    pub const EXTERNAL_DATA: u64 = 1 << 2;
    pub const COMPRESSION_TYPE: u64 = 1 << 3;
    pub const EXTENDED_L2: u64 = 1 << 4;
    pub const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;
}

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate.
    Zlib,
    /// Zstandard.
    Zstd,
}

/// What of the header is needed to read the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Size of the virtual disk in bytes.
    pub virtual_size: u64,
    /// log2 of the cluster size.
    pub cluster_bits: u32,
    /// Entries of the active L1 table.
    pub l1_entries: u32,
    /// Its position.
    pub l1_offset: u64,
    /// Of compressed clusters.
    pub compression: Compression,
}

impl Header {
    /// Bytes of the beginning that [`Header::parse`] wants; an image may be shorter.
    pub const BYTES: usize = 112;

    /// Parses and judges the beginning of an image.
    ///
    /// # Errors
    /// When the image is not qcow2, needs what is refused, or exceeds a limit.
    pub fn parse(head: &[u8]) -> Result<Self, Qcow2Error> {
        let short = || Qcow2Error::Truncated {
            what: "the header",
            offset: head.len() as u64,
        };
        let u32_at = |at: usize| {
            let bytes = head.get(at..at + 4).ok_or_else(short)?;
            bytes
                .try_into()
                .map(u32::from_be_bytes)
                .map_err(|_| short())
        };
        let u64_at = |at: usize| {
            let bytes = head.get(at..at + 8).ok_or_else(short)?;
            bytes
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| short())
        };
        if u32_at(0)? != 0x5146_49fb {
            return Err(Qcow2Error::Corrupt("its signature is missing".to_owned()));
        }
        let version = u32_at(4)?;
        if !(2..=3).contains(&version) {
            return Err(Qcow2Error::Refused("has a version other than 2 and 3"));
        }
        if u64_at(8)? != 0 || u32_at(16)? != 0 {
            return Err(Qcow2Error::Refused(
                "has a backing file, which would name a file of this host: flatten it with `qemu-img convert`",
            ));
        }
        let cluster_bits = u32_at(20)?;
        if !limits::CLUSTER_BITS.contains(&cluster_bits) {
            return Err(Qcow2Error::Corrupt(format!(
                "cluster_bits is {cluster_bits}, allowed are 9 to 21"
            )));
        }
        let virtual_size = u64_at(24)?;
        within("a virtual size", virtual_size, limits::VIRTUAL_SIZE)?;
        if u32_at(32)? != 0 {
            return Err(Qcow2Error::Refused(
                "is encrypted: decrypt it with `qemu-img convert` first",
            ));
        }
        let l1_entries = u32_at(36)?;
        let l1_offset = u64_at(40)?;
        within("an L1 table", u64::from(l1_entries) * 8, limits::L1_BYTES)?;
        let refcount_bytes = u64::from(u32_at(56)?) << cluster_bits;
        within(
            "a refcount table",
            refcount_bytes,
            limits::REFCOUNT_TABLE_BYTES,
        )?;
        within(
            "a snapshot count",
            u64::from(u32_at(60)?),
            u64::from(limits::SNAPSHOTS),
        )?;

        let mut compression = Compression::Zlib;
        if version == 3 {
            let features = u64_at(72)?;
            let header_length = u32_at(100)?;
            if header_length < 104 || u64::from(header_length) > 1 << cluster_bits {
                return Err(Qcow2Error::Corrupt(format!(
                    "header_length is {header_length}"
                )));
            }
            refuse(features)?;
            if features & feature::COMPRESSION_TYPE != 0 && header_length > 104 {
                compression = match head.get(104) {
                    Some(0) => Compression::Zlib,
                    Some(1) => Compression::Zstd,
                    Some(_) => return Err(Qcow2Error::Refused("uses an unknown compression type")),
                    None => return Err(short()),
                };
            }
        }
        let header = Self {
            version,
            virtual_size,
            cluster_bits,
            l1_entries,
            l1_offset,
            compression,
        };
        let needed = virtual_size.div_ceil(header.bytes_per_l2());
        if u64::from(l1_entries) < needed {
            return Err(Qcow2Error::Corrupt(format!(
                "its L1 table has {l1_entries} entries, {needed} are needed for {virtual_size} bytes"
            )));
        }
        if l1_entries > 0 && (l1_offset == 0 || l1_offset & (header.cluster_size() - 1) != 0) {
            return Err(Qcow2Error::Corrupt(format!(
                "its L1 table lies at byte {l1_offset}"
            )));
        }
        Ok(header)
    }

    /// Bytes of a cluster.
    #[must_use]
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of the virtual disk that one L2 table describes.
    #[must_use]
    pub fn bytes_per_l2(&self) -> u64 {
        1 << (2 * self.cluster_bits - 3)
    }
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Qcow2Error> {
    if value <= limit {
        Ok(())
    } else {
        Err(Qcow2Error::TooLarge { what, value, limit })
    }
}

fn refuse(features: u64) -> Result<(), Qcow2Error> {
    for (bit, words) in [
        (feature::EXTERNAL_DATA, "keeps its data in another file"),
        (
            feature::CORRUPT,
            "is marked corrupt: repair it with `qemu-img check -r all`",
        ),
        (
            feature::EXTENDED_L2,
            "uses extended L2 entries (subclusters): convert it with `qemu-img convert`",
        ),
        (!feature::KNOWN, "uses features this version does not know"),
    ] {
        if features & bit != 0 {
            return Err(Qcow2Error::Refused(words));
        }
    }
    Ok(())
}
