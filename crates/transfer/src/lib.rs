//! Bytes from HTTP(S) servers that may be slow, flaky or hostile.
//!
//! ```text
//! Endpoint ──open──► Download ──chunk──► bytes in order, resumed where the server allows
//!   (URL, CA,           │ into_reader + decode ──► decompressed bytes
//!    headers,           └──► Ranged ──read_at──► bytes by position (servers with range requests)
//!    limits)
//! ```
//!
//! Invariants:
//!
//! - What is handed out is exactly what the server has: a broken connection is resumed at the same
//!   byte of the same version (`If-Range`, total length) or reported; a short body is never an end.
//! - Time, attempts, redirects and memory are bounded by [`Limits`]; nothing is buffered beyond one
//!   chunk.
//! - Secrets stay with the origin they were meant for: extra headers are not sent across a redirect
//!   to another origin, and no error or log line holds a URL's password or query.
//!
//! Not here: what the bytes mean (`disk`), and what becomes of them (`importer`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod decode;
mod download;
mod endpoint;
mod error;
mod limits;
mod ranged;
#[cfg(test)]
mod tests;

pub use decode::{Encoding, decode};
pub use download::{About, Download, RunningDigest, Validator};
pub use endpoint::{Endpoint, Request};
pub use error::TransferError;
pub use limits::Limits;
pub use ranged::Ranged;
