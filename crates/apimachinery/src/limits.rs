//! Every bound of this crate in one place.

/// Operations in one JSON patch (kube-apiserver's number).
pub const JSON_PATCH_OPERATIONS: usize = 10_000;
/// Bytes that the `copy` operations of one JSON patch may add together (kube-apiserver's number).
pub const JSON_PATCH_COPY_BYTES: usize = 3 * 1024 * 1024;
/// Steps of work (elements shifted, nodes visited) that one JSON patch may cause.
pub const JSON_PATCH_WORK: usize = 50_000_000;
/// Nesting that a JSON patch may reach; below what JSON parsers (serde_json: 128) read back.
pub const JSON_PATCH_DEPTH: usize = 100;
/// Nesting of maps and lists that a strategic merge patch descends into.
pub const STRATEGIC_DEPTH: usize = 256;
/// Bytes of a JSONPath expression.
pub const JSONPATH_BYTES: usize = 4096;
/// Values that one JSONPath expression may yield, at any step.
pub const JSONPATH_RESULTS: usize = 10_000;
/// Bytes of a selector expression; longer than any URL that a server accepts.
pub const SELECTOR_BYTES: usize = 1024 * 1024;
/// Bytes of a quantity.
pub const QUANTITY_BYTES: usize = 256;
/// Largest decimal exponent of a quantity.
pub const QUANTITY_EXPONENT: i32 = 1000;
