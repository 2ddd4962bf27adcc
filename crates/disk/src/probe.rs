//! Format of a disk image by its content. File names and media types are not believed: an image
//! that is probed as raw although its owner can write a qcow2 header into it would let a guest
//! name host files (the class of CVE-2015-5162 and its kin), so raw is what remains, never a guess
//! that is acted upon twice: the caller records the format.

use std::fmt;

/// Bytes from the beginning of an image that [`probe`] wants to see (ISO 9660's descriptor lies at
/// 32 KiB). Fewer are fine when the image is shorter.
pub const PROBE_BYTES: usize = 36 << 10;

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// No known signature: sectors as they are.
    Raw,
    /// A CD or DVD image; its bytes are used as they are.
    Iso,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// The first version of qcow.
    Qcow1,
    /// QEMU enhanced disk.
    Qed,
    /// VMware.
    Vmdk,
    /// Hyper-V.
    Vhdx,
    /// Virtual PC, dynamic.
    Vhd,
    /// VirtualBox.
    Vdi,
    /// Parallels.
    Parallels,
    /// An encrypted LUKS container.
    Luks,
}

impl Format {
    /// Whether the bytes of the image are the bytes of the disk.
    #[must_use]
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Raw | Self::Iso)
    }

    /// The name `qemu-img` uses, `iso` excepted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Iso => "iso",
            Self::Qcow2 => "qcow2",
            Self::Qcow1 => "qcow",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vpc",
            Self::Vdi => "vdi",
            Self::Parallels => "parallels",
            Self::Luks => "luks",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Signatures at fixed offsets, first match wins.
const SIGNATURES: &[(usize, &[u8], Format)] = &[
    (0, b"QFI\xfb\x00\x00\x00\x01", Format::Qcow1),
    (0, b"QFI\xfb", Format::Qcow2),
    (0, b"QED\0", Format::Qed),
    (0, b"KDMV", Format::Vmdk),
    (0, b"COWD", Format::Vmdk),
    (0, b"# Disk DescriptorFile", Format::Vmdk),
    (0, b"vhdxfile", Format::Vhdx),
    (0, b"conectix", Format::Vhd),
    (64, b"\x7f\x10\xda\xbe", Format::Vdi),
    (0, b"WithoutFreeSpace", Format::Parallels),
    (0, b"WithouFreSpacExt", Format::Parallels),
    (0, b"LUKS\xba\xbe", Format::Luks),
    (32_769, b"CD001", Format::Iso),
    (32_769, b"BEA01", Format::Iso), // UDF only
];

/// The format of an image that begins with `head` (up to [`PROBE_BYTES`]).
#[must_use]
pub fn probe(head: &[u8]) -> Format {
    SIGNATURES
        .iter()
        .find(|(offset, magic, _)| head.get(*offset..offset + magic.len()) == Some(*magic))
        .map_or(Format::Raw, |(_, _, format)| *format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_content() {
        for (offset, magic, format) in SIGNATURES {
            let mut head = vec![0u8; PROBE_BYTES];
            head[*offset..offset + magic.len()].copy_from_slice(magic);
            assert_eq!(probe(&head), *format);
        }
        assert_eq!(probe(&[]), Format::Raw);
        assert_eq!(probe(b"QFI"), Format::Raw);
        assert_eq!(probe(&[0x55; PROBE_BYTES]), Format::Raw);
    }
}
