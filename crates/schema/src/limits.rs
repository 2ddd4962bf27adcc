//! Every bound of this crate in one place: schemas and objects come from outside.

/// Nesting depth of a schema.
pub const SCHEMA_DEPTH: usize = 100;
/// Number of sub-schemas in one schema.
pub const SCHEMA_NODES: usize = 100_000;
/// Nesting depth of a value that is pruned, defaulted or validated.
pub const VALUE_DEPTH: usize = 200;
/// Size of a compiled regular expression.
pub const REGEX_BYTES: usize = 2 << 20;
/// Errors reported for one value; more help nobody and cost memory.
pub const ERRORS: usize = 200;
/// Unknown fields reported for one value. All of them are pruned, reported or not.
pub const UNKNOWN_FIELDS: usize = 1000;
/// Elements of one array or object which defaulting visits in total, to bound amplification by defaults.
pub const DEFAULTED_NODES: usize = 2_000_000;
