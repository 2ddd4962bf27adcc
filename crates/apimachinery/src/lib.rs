//! Kubernetes API machinery, pure: the vocabulary that every other crate shares.
//!
//! ```text
//!   gvk  name  quantity  time          values and their syntax
//!   field ──► status                   what is wrong with an object ──► the answer a client gets
//!   selector  jsonpath  table  meta    questions asked of an object (`serde_json::Value`)
//!   patch                              (object, patch) ──► object
//! ```
//!
//! Invariants: no I/O, no clock, no randomness; nothing here panics on any input, and everything
//! that grows with input from outside has a bound in [`limits`]. Wording is that of kube-apiserver
//! v1.36, because clients and people match on it.
//!
//! Not here: schemas, server-side apply, authorization, typed objects.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

pub mod field;
pub mod gvk;
pub mod jsonpath;
pub mod limits;
pub mod meta;
pub mod name;
pub mod patch;
pub mod quantity;
pub mod quote;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;

pub use field::{FieldError, FieldErrorKind, FieldPath};
pub use gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use quantity::Quantity;
pub use status::{ApiError, Reason, Status};
