//! The audit log: who asked what, when, from where, and how it ended, as kube-apiserver writes it.
//!
//! ```text
//! request, authenticated ─► Policy: level, stages ──► None: nothing is kept
//!        │ RequestReceived ─► Event ─────────────┐
//!        │ notes on the way: annotate() ──┐      ▼
//!        ▼                                │   bounded queue ─► one thread ─► file (rotated) or standard output
//!     answer ─► ResponseStarted (streams) ┴─► ResponseComplete │ Panic
//! ```
//!
//! [`policy`] and [`event`] are pure. At level Metadata no object is in an event, and no message of an error that could
//! repeat what a Secret, ConfigMap or token holds.
//!
//! In mode `blocking` a request waits until its event is written; in `batch` it never waits, and an event that finds
//! the queue full is dropped, counted and said; `blocking-strict` refuses a request whose first event cannot be
//! written.

mod event;
mod log;
mod notes;
mod policy;
mod record;
mod rotate;

pub use log::{AuditLog, AuditLogOptions, AuditMode};
pub(crate) use notes::{annotate, noting};
pub use policy::{AuditPolicy, PolicyError};
pub(crate) use record::{Audit, AuditSource, Record};
