//! Reading qcow2 images (versions 2 and 3) that strangers made.
//!
//! ```text
//!              header ─► Header (limits, refusals)
//!  L1 ─► L2 tables ─► window of Mappings, sorted by position in the image
//!                     └─► one ascending pass of reads ─► decompress ─► SparseWriter
//! ```
//!
//! Sorting by position in the image makes the pass sequential, so that a remote image streams
//! through one range request, and a local one reads ahead. The window bounds memory: an image of
//! any size needs at most `limits::WINDOW_MAPPINGS` mappings and one read buffer.
//!
//! Refused: backing files (they name files of this host), external data files (likewise),
//! encryption, images marked corrupt, extended L2 entries, features this code does not know.
//! Internal snapshots are ignored: the active state is what is read. Refcounts are not needed.
//!
//! Format: QEMU's docs/interop/qcow2.txt.

mod convert;
mod header;
mod map;
#[cfg(test)]
mod tests;

use std::io;

pub use convert::convert;
pub use header::{Compression, Header};

use crate::file::FileError;

/// Why a qcow2 image is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The image needs something it must not have here.
    #[error("the qcow2 image {0}")]
    Refused(&'static str),
    /// A size in the header is out of bounds.
    #[error("the qcow2 image declares {what} of {value}, at most {limit} is accepted")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// The image contradicts itself or its format.
    #[error("the qcow2 image is corrupt: {0}")]
    Corrupt(String),
    /// The image ends before what it refers to.
    #[error("the qcow2 image is truncated: {what} at byte {offset} lies beyond its end")]
    Truncated {
        /// What is missing.
        what: &'static str,
        /// Where it should be.
        offset: u64,
    },
    /// The image cannot be read.
    #[error("cannot read the qcow2 image at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
}
