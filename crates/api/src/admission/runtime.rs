//! Rules of the VMRuntime and its preflight checks.

use super::cause::Cause;
use crate::preflight::VMRuntimePreflightCheck;
use crate::vmruntime::{NAME, NAMESPACE, VMRuntime};

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

/// Nobody looks for checks elsewhere (G-33).
pub(super) fn validate_check(check: &VMRuntimePreflightCheck) -> Vec<Cause> {
    let namespace = check.metadata.namespace.as_deref().unwrap_or_default();
    if namespace == NAMESPACE {
        return Vec::new();
    }
    vec![Cause::invalid(
        "metadata.namespace",
        format!("preflight checks are in the namespace '{NAMESPACE}', not '{namespace}'"),
    )]
}
