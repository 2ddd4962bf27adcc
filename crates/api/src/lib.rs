//! The kinds the platform serves, with their defaults and rules beside the type.
//!
//! ```text
//!  types (kubevirt, cdi, vmruntime) --schemars--> crds()          what the API server installs
//!        |                                          |
//!        | typed objects for controllers            | schemas
//!        v                                          v
//!  printable (status as a person reads it)     fields (every field is honoured or refused)
//!                                                   |
//!                                              admission (defaults, then causes with field paths)
//! ```
//!
//! Invariants:
//! - A field that is in a type is honoured. What is not honoured yet is not in a type, and
//!   [`fields::refused`] turns it into a cause that names it; nothing is ignored in silence.
//! - Everything here is a function from values to values: time and random numbers are arguments.
//! - Field paths and wording follow KubeVirt and CDI, oddities included, because clients match on them.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::needless_pass_by_value,
        reason = "tests fail by panicking, and their makers take `json!` as it is"
    )
)]

pub mod admission;
pub mod cdi;
pub mod crds;
pub mod fields;
pub mod kubevirt;
pub mod preflight;
pub mod printable;
mod schema;
pub mod vmruntime;
