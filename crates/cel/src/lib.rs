//! CEL for the API server: rules of custom resources and admission policies.
//!
//! ```text
//!  text ─► expression (parse) ─► check (types, estimated cost) ─► kept in a rule or policy
//!                                                                      │
//!  JSON ─► value (typed by the schema) ──────────────► eval ◄──────────┘
//!                                                       │ operators and macros here, under a budget
//!                                                       └─ functions: library (outside crate)
//! ```
//!
//! The grammar, the values and Kubernetes' functions are those of the outside crate `kube-cel`, which no
//! other crate imports. What decides about time and memory is here: the checker that knows schemas
//! and estimates costs as Kubernetes does, and the evaluator, which charges every step to a
//! [`Budget`] and ends when it is spent.
//!
//! Invariants:
//! * nothing is evaluated that was not checked;
//! * every loop, comparison and copy is charged by the size of what it touches, before it is done;
//! * regular expressions run in linear time, with a bound on their programs;
//! * the stack that evaluation needs is bounded by [`limits::DEPTH`]; compiling needs
//!   [`limits::PARSER_STACK`], which the caller provides.
//!
//! Pure: no I/O, no clock; budgets are counted in cost units, not in time.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]
#![cfg_attr(
    test,
    allow(clippy::needless_pass_by_value, reason = "tests hand over literals")
)]

mod authorizer;
mod budget;
mod check;
mod construct;
mod eval;
mod expression;
mod functions;
mod library;
pub mod limits;
mod lists;
mod ops;
pub mod policy;
pub mod rules;
mod text;
mod two_vars;
mod types;
mod value;

pub use authorizer::{Authorizer, Decision, Question, Target};
pub use budget::{Budget, Fault};

#[cfg(test)]
mod tests;
