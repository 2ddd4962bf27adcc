//! Structural schemas of Kubernetes objects, and the OpenAPI documents made from them.
//!
//! ```text
//!   CRD schema ──Schema::parse──► Schema ◄──(lazy, by name)── builtin definitions
//!                                   │
//!   request body ─► prune ─► default ─► validate ─► stored object
//!                                   │
//!              server-side apply, strategic merge (PatchMeta), OpenAPI v3
//! ```
//!
//! The behaviour is that of `apiextensions-apiserver` (Kubernetes 1.36): the same rules for structural
//! schemas, the same order of pruning and defaulting, the same words in errors. One [`Schema`] serves
//! custom resources and built-in kinds alike; the schemas of built-in kinds are data, checked in and
//! parsed one definition at a time when first needed.
//!
//! Pure: no I/O, no clock. Every input may come from outside, so depth, size and the number of errors
//! are bounded (see [`limits`]) and regular expressions run in linear time.
//!
//! Not here: CEL. Rules (`x-kubernetes-validations`) are kept in [`Schema::validations`] for an evaluator.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]
#![cfg_attr(
    test,
    allow(clippy::needless_pass_by_value, reason = "tests hand over literals")
)]

pub mod builtin;
mod decode;
mod default;
mod encode;
mod format;
pub mod limits;
mod metadata;
mod model;
pub mod openapi;
mod parts;
mod patch_meta;
mod pattern;
mod prune;
mod rules;
mod structural;
mod validate;
mod value_validation;

pub use default::{DefaultsTooLarge, default};
pub use metadata::malformed_metadata;
pub use model::{
    AdditionalProperties, Bounds, Documentation, Junctors, ListType, MapType, Pattern, Rare,
    Schema, SchemaRef, SchemaType, ValidationRule,
};
pub use prune::{prune, prune_value};
pub use validate::validate;

#[cfg(test)]
mod tests;
