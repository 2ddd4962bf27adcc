//! The protocol between the node agent and a launcher.
//!
//! A launcher owns one QEMU and lives in one directory, its Pod's. Everything it tells and everything it can be
//! asked goes through two names in that directory:
//!
//! ```text
//!   node agent ── launcher.sock ──> launcher     one JSON Request per line, one JSON Reply per line
//!              <── state.json ─────              the last published LauncherState, also after the launcher ended
//! ```
//!
//! A connection carries requests one after the other. Two requests change its nature for good: after `Watch` it
//! carries one `LauncherState` per line, the present one first; after `Console` it is the raw byte stream of the
//! first serial port.
//!
//! Invariants:
//! - every request is answered at once, with the state *after it was accepted*; what it leads to is seen by watching;
//! - requests are idempotent: asking for what is already so is accepted and changes nothing;
//! - a line is bounded ([`limits`]), a wait has a deadline, and the directory is not trusted by the client: sockets
//!   and files in it are opened without following symbolic links.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod client;
pub mod limits;
pub mod line;
mod request;
mod state;

pub use client::{Client, ClientError, Watch, console, read_state, watch};
pub use request::{Refusal, RefusalReason, Reply, Request, Start};
pub use state::{EndReason, LauncherState, MachineIdentity, Outcome, Phase, Process, Times};

/// The socket a launcher listens on, in its directory.
pub const SOCKET: &str = "launcher.sock";
/// The file that holds the launcher's last published [`LauncherState`].
pub const STATE_FILE: &str = "state.json";
/// Everything the guest wrote to its first serial port, newest part.
pub const SERIAL_LOG: &str = "serial0.log";
/// Standard error and output of QEMU.
pub const QEMU_LOG: &str = "qemu.log";
