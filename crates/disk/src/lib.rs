//! Disk images as files: what they are, reading them when they are hostile, writing them sparsely.
//!
//! ```text
//!            probe(head) ─► Format
//!  ReadAt ─► qcow2::Image ─► convert ─┐
//!  bytes  ────────────────────────────┴─► SparseWriter ─► Partial::commit ─► disk.img
//!                                         file::{create_raw, grow, clone_file}
//!  seed files ─► iso9660::Image ─► bytes / file
//! ```
//!
//! Invariants:
//!
//! - A file appears under its final name only when it is complete and on stable storage ([`Partial`]).
//! - An image from a user is hostile: no backing file, no external data file, no encryption; sizes
//!   of tables, clusters and the virtual disk are bounded before anything is allocated ([`limits`]).
//! - Everything here blocks. Callers in async code use a blocking thread.
//!
//! Not here: where bytes come from (`transfer`), and QEMU's block layer at run time (`qemu`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

pub mod digest;
pub mod file;
pub mod iso9660;
pub mod limits;
mod partial;
mod probe;
pub mod qcow2;
mod read_at;
mod sparse;

pub use file::FileError;
pub use partial::Partial;
pub use probe::{Format, PROBE_BYTES, probe};
pub use read_at::ReadAt;
pub use sparse::SparseWriter;
