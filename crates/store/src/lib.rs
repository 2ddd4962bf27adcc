//! The store: a durable, revisioned map with a history that can be watched, behind one trait.
//!
//! It knows nothing of Kubernetes; the API server keeps its objects here under keys
//! `/<group or "core">/<resource>/<namespace or "-">/<name>`, and hands out revisions as resource versions.
//!
//! ```text
//! Store (trait, contract.rs)
//!   log::LogStore      the default: segmented append-only log and snapshots; the state in memory
//!   etcd::EtcdStore   several servers over one etcd; a mirror of it in memory (ADR 0010)
//!   redb::RedbStore    a B-tree file: the oracle in tests, and the other candidate (ADR 0001)
//! shared by engines
//!   committer          one thread, group commit, preconditions
//!   memory             the current state as a persistent map
//!   feed, watch        recent history in memory, watches as positions in it
//! backup               the whole state in one file that can prove itself, and back
//! conformance          what every engine must do, as tests
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

pub mod backup;
mod committer;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod contract;
mod error;
pub mod etcd;
mod feed;
pub mod limits;
pub mod log;
mod memory;
mod model;
pub mod redb;
mod retention;
mod watch;

pub use contract::Store;
pub use error::{OpenError, StoreError, WatchError};
pub use model::{
    Committed, Entry, Event, ListRequest, Listing, Op, Precondition, Revision, Space, Write,
};
pub use retention::Retention;
pub use watch::{Watch, WatchItem};
