//! Authorization decisions by RBAC, as pure functions over stored objects.
//!
//! ```text
//!  Role, ClusterRole, RoleBinding, ClusterRoleBinding (serde_json::Value)
//!                    │ RbacIndex::from_objects
//!                    ▼
//!  Attributes ──► RbacIndex::authorize ──► Decision ──► Attributes::denial (403 text)
//!  User, ns   ──► RbacIndex::rules_for ──► SelfSubjectRulesReview
//!  User, ns, rules ► RbacIndex::escalation ► escalation_message (403 text)
//!  ClusterRole, all ► aggregate        ──► the rules an aggregated role shall have
//! ```
//!
//! Invariants:
//! * RBAC only ever allows; absence of a grant is [`Decision::NoOpinion`].
//! * A malformed rule or subject grants nothing.
//! * An index is an immutable snapshot; a change of any RBAC object makes a new one.
//!
//! The crate reads no clock and does no I/O. It knows no object but the four RBAC kinds; validation of those
//! kinds belongs to the API server's strategies.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod aggregate;
mod attributes;
mod bootstrap;
mod index;
mod quote;
mod rule;
mod subject;

pub use aggregate::{aggregate, aggregate_all};
pub use attributes::{Attributes, Decision, SYSTEM_MASTERS, User};
pub use bootstrap::{bootstrap_policy, kubernetes_policy, platform_policy, reconcile};
pub use index::{RbacIndex, escalation_message, rules_status};
pub use rule::{PolicyRule, compact, uncovered};
pub use subject::Subject;

#[cfg(test)]
mod tests;
