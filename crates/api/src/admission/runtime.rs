//! Rules of the VMRuntime.

use super::cause::Cause;
use crate::vmruntime::{NAME, VMRuntime};

/// There is one, and its name is fixed. Formats are the schema's to check.
pub(super) fn validate(runtime: &VMRuntime) -> Vec<Cause> {
    let name = runtime.metadata.name.as_deref().unwrap_or_default();
    if name == NAME {
        return Vec::new();
    }
    vec![Cause::invalid(
        "metadata.name",
        format!("there is one VMRuntime, and its name is '{NAME}', not '{name}'"),
    )]
}
