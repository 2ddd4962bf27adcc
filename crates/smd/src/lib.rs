//! Server-side apply: who owns which field, and what an apply or an update makes of it.
//!
//! ```text
//!  live, applied ──► merge ──► prune what the applier gave up ──► compare with live ──► conflicts | managers
//!  old, new ───────────────────────────────────────────────────► compare ──► managers
//!
//!  managers = metadata.managedFields = [(manager, operation, version, subresource, time, FieldSet)]
//! ```
//!
//! The semantics are those of structured-merge-diff v6 under kube-apiserver 1.36:
//!
//! * An applier owns exactly what it applied last; leaving a field out gives it up, and a field given up that nobody
//!   else owns is removed.
//! * A writer by update, create or patch owns what its requests changed.
//! * An apply that would change a field someone else owns conflicts, unless forced; an update never conflicts.
//! * Lists and maps are merged by their types in the schema; what the schema does not describe is merged key by key
//!   (maps) or as a whole (lists).
//!
//! Layers: [`path`] and [`set`] know nothing of schemas; `types` says how a schema wants a value merged; `collect`,
//! `compare`, `merge` and `remove` walk typed values; `managed` is the list in the metadata; `updater` is the
//! algorithm over all of these; [`apply`] and [`update`] are what an API server calls.
//!
//! Field sets recorded under another version of the same kind are judged in that version, with [`Versions`]; without,
//! they are taken as they are.
//!
//! Difference from kube, on purpose: live objects never fail to be typed, as what does not fit the schema is treated
//! as a leaf.
//!
//! Pure: the caller passes the time. Nothing here panics on any JSON; depth is bounded by [`limits`].
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod collect;
mod compare;
mod conflict;
mod encode;
mod last_applied;
pub mod limits;
mod managed;
mod merge;
mod overlay;
pub mod path;
mod remove;
mod request;
pub mod set;
mod skeleton;
mod types;
mod updater;
mod validate;
mod versions;

pub use conflict::{Conflict, conflict_message};
pub use encode::{DecodeError, decode_fields, encode_fields};
pub use managed::{Operation, validate_managed_fields};
pub use overlay::overlay;
pub use path::{Literal, Path, PathElement};
pub use request::{ApplyError, ApplyRequest, UpdateRequest, apply, update};
pub use set::FieldSet;
pub use versions::{Versioned, Versions};

#[cfg(test)]
mod tests;
