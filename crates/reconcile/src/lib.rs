//! A thin frame over `kube-runtime`: every controller is *observe → plan → apply*.
//!
//! ```text
//!  watch events ─┐                        (reads only)        (pure)         (idempotent writes)
//!  back-off ─────┼─► key ─► object ─► observe ─► Observed ─► plan ─► Plan ─► apply ─► Next
//!  full pass ────┘                                                             │
//!        ▲                                                                     │
//!        └──────────── requeue after a delay, or at the next event ◄───────────┘
//! ```
//!
//! Invariants:
//! - **Level, not edge.** A pass sees the present state only; what woke it is unknown to it. A full
//!   pass over every object happens at [`FULL_PASS`] even when nothing changes.
//! - **Decide in pure code.** `plan` gets values and a time, and returns data that prints well.
//! - **One pass per object at a time**; different objects run side by side.
//! - A failed pass is retried with exponential back-off per object ([`backoff`]); a conflict is not
//!   a failure but a newer truth, and is retried at once, quietly.
//!
//! What it does not do: leader election and caching of other kinds; a controller reads what it
//! needs through its [`kube::Client`].
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod backoff;
mod conditions;
mod error;
mod events;
mod frame;
mod objects;
mod owner;
mod report;

pub use backoff::Backoff;
pub use conditions::{ConditionExt, set_condition};
pub use error::{ReconcileError, ResultExt};
pub use events::{EventKind, Recorder};
pub use frame::{FULL_PASS, Next, Reconciler, run};
pub use objects::{
    add_finalizer, create_if_absent, delete_if_present, get_opt, remove_finalizer, write_status,
};
pub use owner::{controlled_by, controls};
pub use report::{Note, create_owned, release, report};
