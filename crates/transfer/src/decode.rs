//! Compressed files, told by content.

use std::fmt;

use async_compression::tokio::bufread::{GzipDecoder, XzDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use tokio::io::{AsyncBufRead, AsyncRead};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2, not supported.
    Bzip2,
    /// lz4, not supported.
    Lz4,
    /// zip, not supported.
    Zip,
    /// 7z, not supported.
    SevenZip,
}

impl Encoding {
    /// Of a file that begins with `head`.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        const SIGNATURES: &[(&[u8], Encoding)] = &[
            (b"\x1f\x8b\x08", Encoding::Gzip),
            (b"\xfd7zXZ\0", Encoding::Xz),
            (b"\x28\xb5\x2f\xfd", Encoding::Zstd),
            (b"BZh", Encoding::Bzip2),
            (b"\x04\x22\x4d\x18", Encoding::Lz4),
            (b"PK\x03\x04", Encoding::Zip),
            (b"7z\xbc\xaf\x27\x1c", Encoding::SevenZip),
        ];
        SIGNATURES
            .iter()
            .find(|(magic, _)| head.starts_with(magic))
            .map_or(Self::Identity, |(_, encoding)| *encoding)
    }

    /// Whether [`decode`] can undo it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        matches!(self, Self::Identity | Self::Gzip | Self::Xz | Self::Zstd)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Zip => "zip",
            Self::SevenZip => "7z",
        })
    }
}

/// What `reader` yields, decompressed, in bounded memory. Concatenated members are one file.
///
/// An encoding that is not supported is handed through as it is: callers look first.
pub fn decode<R>(encoding: Encoding, reader: R, memory: u64) -> Box<dyn AsyncRead + Send + Unpin>
where
    R: AsyncBufRead + Send + Unpin + 'static,
{
    match encoding {
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(reader);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        Encoding::Xz => {
            let mut decoder = XzDecoder::with_mem_limit(reader, memory);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        Encoding::Zstd => {
            let log = memory.max(1 << 10).ilog2().min(30);
            let mut decoder = ZstdDecoder::with_params(reader, &[DParameter::window_log_max(log)]);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        _ => Box::new(reader),
    }
}
