//! What runs in an importer Pod: fills one disk from a URL, or makes an empty one.
//!
//! ```text
//!            ┌ plain ───────────────── bytes ──► SparseWriter ┐
//!  Download ─┤ gzip, xz, zstd ─ decode ─ bytes ► SparseWriter ├─► fsync, rename ─► disk.img
//!            ├ qcow2, ranges ── Ranged ─ convert ► SparseWriter ┤
//!            └ qcow2 otherwise ─ disk.img.scratch ─ convert ──► ┘
//! ```
//!
//! One pass and no scratch space, except for qcow2 from a server without range requests and for
//! compressed qcow2: its tables refer backwards and forwards. That is said in the progress.
//!
//! Invariants:
//!
//! - `disk.img` appears complete, durable and grown to the claim's capacity, or not at all.
//! - An image that does not fit is refused before anything is written, where its size is known.
//! - Memory is bounded, whatever the source sends.
//! - The importer may be killed at any instant and started again.
//!
//! This crate joins `transfer` and `disk`, which do not know one another.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod error;
mod import;
mod pod;
mod progress;
mod raw;
mod remote;
mod request;
mod scratch;
mod source;
#[cfg(test)]
mod tests;

pub use error::ImportError;
pub use import::{blank, import};
pub use pod::{Arguments, main, run};
pub use progress::{Phase, Progress};
pub use request::{Checksum, ImportRequest, Imported, Method};
pub use transfer::{Limits, Request as Source};
