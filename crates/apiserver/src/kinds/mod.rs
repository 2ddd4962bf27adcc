//! The kinds that are served: built-in tables, and whatever CRDs add.
//!
//! ```text
//! tables (static text) ─► builtin()  ─┐
//! CustomResourceDefinition objects ───┴─► KindSet (immutable) ─► ArcSwap, looked up per request
//! ```

mod builtin;
mod crd_schema;
mod model;
mod set;
mod tables;

pub(crate) use builtin::builtin;
pub(crate) use crd_schema::CrdSchema;
pub use model::Kind;
pub(crate) use model::{
    Behaviour, Column, CrdDetails, PrinterColumn, Scale, SchemaSource, SubresourceInfo, api_version,
};
pub(crate) use set::{KindSet, version_order};
