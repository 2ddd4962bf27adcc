//! Priority and fairness: which request runs next, so that no client starves another, nor the controllers.
//!
//! ```text
//! FlowSchemas, PriorityLevelConfigurations ── follow ──► Rules ──┐
//! request (who, what) ─► classify: level, flow, width ◄──────────┘
//!      │ body? ─► Intake: bounded by user and in all, by number and bytes; received without a seat
//!      ▼
//!    Gate (Shares): a seat now ─► runs ─► seats back ─► the next
//!           │ a place in the flow's queue ─► a seat within 15 s, else 429
//!           └ no place ─► 429 with Retry-After
//! watch ─► a seat while it begins; then Watches: bounded by user and in all
//! ```
//!
//! The decisions are pure: [`schema`] and [`level`] read the objects of `flowcontrol.apiserver.k8s.io/v1`, [`rules`]
//! classifies, [`shares`] seats and queues. [`gate`], [`intake`] and [`watches`] hold locks and wait.
//!
//! Callers in this process have seats of their own that no client can take, and their bodies are in memory already.
//! What differs from Kubernetes, and why, is in ADR 0008: queues per flow instead of shuffle-sharded ones, a bound on
//! what one flow holds, borrowing at once instead of every ten seconds, bodies received before the seat is taken.

mod bootstrap;
mod follow;
mod gate;
mod intake;
mod level;
mod rules;
mod schema;
mod shares;
mod stats;
pub(crate) mod strategy;
mod watches;

pub(crate) use follow::start;
pub(crate) use gate::{Gate, Place, RETRY_AFTER};
pub(crate) use intake::{Intake, Received};
pub(crate) use rules::{Class, IN_PROCESS};
pub(crate) use schema::FlowSchema;
pub(crate) use shares::LevelLimits;
pub(crate) use stats::Refusal;
pub(crate) use watches::{WatchPlace, Watches};
