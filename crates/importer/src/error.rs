//! Why an import failed, in words for the person who wrote the DataVolume.

use std::error::Error;
use std::io;

use disk::{FileError, Format, qcow2::Qcow2Error};
use transfer::{Encoding, TransferError};

/// An import that failed. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The image does not fit.
    #[error(
        "disk too small: image needs {} bytes, claim has {capacity}; set spec.storage.resources.requests.storage to at least {}",
        needs(*.virtual_size, *.exact), quantity(*.virtual_size)
    )]
    TooSmall {
        /// Bytes the image needs.
        virtual_size: u64,
        /// Whether it needs that much or more.
        exact: bool,
        /// Bytes there are.
        capacity: u64,
    },
    /// An image of a kind that is not imported.
    #[error(
        "{url} is a disk image of format {format}, which is not supported: convert it with `qemu-img convert -O qcow2`"
    )]
    Format {
        /// The source.
        url: String,
        /// What it is.
        format: Format,
    },
    /// A file compressed in a way that is not supported.
    #[error(
        "{url} is compressed with {encoding}, which is not supported: use gzip, xz, zstd or none"
    )]
    Encoding {
        /// The source.
        url: String,
        /// What it is.
        encoding: Encoding,
    },
    /// An error page, a directory listing: anything but an image.
    #[error("{url} is a web page, not a disk image: check that the URL points to the image itself")]
    WebPage {
        /// The source.
        url: String,
    },
    /// The digest differs from the expected one.
    #[error(
        "{url} has the digest sha256:{found}, but sha256:{expected} was expected: it is damaged or another file"
    )]
    Checksum {
        /// The source.
        url: String,
        /// As computed.
        found: String,
        /// As asked for.
        expected: String,
    },
    /// The file does not decompress.
    #[error("{url} cannot be decompressed ({encoding}): it is damaged or truncated")]
    Decode {
        /// The source.
        url: String,
        /// How it is compressed.
        encoding: Encoding,
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
    /// An empty disk without a size.
    #[error("an empty disk needs a size: set spec.storage.resources.requests.storage")]
    NoCapacity,
    /// The scratch file would outgrow every sensible image.
    #[error(
        "{url} is larger than {limit} bytes after decompression: no qcow2 image for this claim is"
    )]
    ScratchTooLarge {
        /// The source.
        url: String,
        /// The bound.
        limit: u64,
    },
    /// The download failed.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The image is bad.
    #[error(transparent)]
    Qcow2(Qcow2Error),
    /// The disk cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The process ends.
    #[error("the import was interrupted")]
    Interrupted,
}

impl From<Qcow2Error> for ImportError {
    fn from(error: Qcow2Error) -> Self {
        match error {
            Qcow2Error::Write(error) => Self::File(error),
            // A remote image's read errors are the transfer's.
            Qcow2Error::Read { offset, source } => match transfer_error(source) {
                Ok(error) => Self::Transfer(error),
                Err(source) => Self::Qcow2(Qcow2Error::Read { offset, source }),
            },
            error => Self::Qcow2(error),
        }
    }
}

/// The transfer's error in an error of a reader, if that is what it is.
pub(crate) fn transfer_error(error: io::Error) -> Result<TransferError, io::Error> {
    error.downcast::<TransferError>()
}

impl ImportError {
    /// The message with all its causes: `A: because B`.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            let words = cause.to_string();
            if !text.contains(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            next = cause.source();
        }
        text
    }
}

fn needs(bytes: u64, exact: bool) -> String {
    if exact {
        bytes.to_string()
    } else {
        format!("more than {bytes}")
    }
}

/// The smallest whole quantity that holds `bytes`: `2Gi`, `2252Mi`.
fn quantity(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 30) {
        format!("{}Gi", bytes >> 30)
    } else {
        format!("{}Mi", bytes.div_ceil(1 << 20))
    }
}
