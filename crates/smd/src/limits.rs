//! Bounds on what comes from outside.

/// Nesting of objects, and of field sets in `managedFields`. JSON bodies are limited to 128 by the parser.
pub const DEPTH: usize = 200;
/// Entries of `Update` operations kept apart in `managedFields`; older ones are joined, as in kube-apiserver.
pub const UPDATE_MANAGERS: usize = 10;
/// Schema errors reported for one applied object.
pub const ERRORS: usize = 100;
/// Bytes of a field manager's name.
pub const MANAGER_NAME: usize = 128;
