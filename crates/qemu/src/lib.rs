//! QEMU's monitor protocol (QMP) and what can be known of a QEMU program before it runs a machine.
//!
//! ```text
//!   socket bytes ──> codec (sans-io) ──> connection task ──┬─> the Qmp::execute that waits for this id
//!   socket bytes <── codec           <──                   └─> Events (bounded; a loss is told)
//! ```
//!
//! - [`codec`] turns bytes into messages and back; it does no I/O and bounds every line.
//! - [`Qmp`] is the handle of one connection: cheap to clone, each command with its own deadline.
//! - [`command`] holds the commands Ferrovirt uses, typed; [`event`] the events it understands.
//! - [`version`] asks a QEMU program which version it is.
//!
//! The process itself (spawn, liveness, kill) is not special to QEMU and lives in the crate `host`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

pub mod codec;
pub mod command;
mod connection;
pub mod event;
pub mod limits;
mod qmp;
pub mod version;

pub use event::{Event, EventKind};
pub use qmp::{Events, Notice, Qmp, QmpError};
pub use version::Version;
