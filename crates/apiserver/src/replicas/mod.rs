//! Servers over one store: who they are, and what all of them must have alike.
//!
//! ```text
//! /~control-plane/replicas/<instance>   a record of each: its node, how it seals values; a beat every ten seconds
//!
//! join:  write the own record ─► read all others ─► agree ─► serve, and keep the record
//!                                   │ no: watch the other's record
//!                                   ├─ it beats ────────────► refuse to start, and say what differs
//!                                   └─ 40 s without a beat ─► that one is dead: remove its record, go on
//! keep:  beat ─► the record is gone (somebody took this one for dead), or another process writes it ─► join again, or end
//! ```
//! What is checked: no two of them run a node of one name; each can open what another seals at rest ([`crate::sealing`]).
//!
//! # Invariants
//!
//! * A record is written before others are read. Of two that come at once, each sees the other, or one of them does; the
//!   record that was made first stays.
//! * Whether another one lives is told by changes of its record while this one looks, never by a clock of theirs.
//! * No key of an encryption configuration is in the store: a record has a value sealed with it, which shows whether
//!   another one's key of that name is the same.
//! * An instance is told by its data directory: after a crash it goes on with its own record, and waits for nobody.

mod record;
mod roll;
#[cfg(test)]
mod tests;

pub(crate) use roll::{JoinError, Roll};

/// This server, among others over the same store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Unique, and the same after a restart.
    pub instance: String,
    /// Name of its node.
    pub node: String,
    /// Whether it runs that node, and does not only serve the API: then no other one may.
    pub runs_node: bool,
    /// The host, for people.
    pub host: String,
}
