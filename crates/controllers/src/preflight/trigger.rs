//! When a check starts by itself (G-31). Pure.
//!
//! The status of the VMRuntime holds what the latest automatic check was started for (its *basis*). Where the present
//! differs from it in one of these ways, a check is due:
//!
//! | difference | label |
//! |---|---|
//! | it was not enabled, and is | `enabled` |
//! | another version of the platform | `upgraded` |
//! | another `useEmulation`, or a feature is on that was not | `feature` |
//! | a node that was left out is not any more | `node` |
//! | there is no check at all | `missing` |
//!
//! A node that joins is none of them: G-31 lists five, and a check whose newest result decides for all nodes (G-30)
//! would let whoever joins a broken one stop every creation in the cluster. What the new one can do is what its agent
//! measures and labels it with; VMs that need KVM go where that label is.
//!
//! Another value of `useEmulation` counts in both directions: what a check demands of nodes depends on it.
//!
//! The name of the check follows from the runtime's UID, how many checks there were, and the new basis. A controller
//! that dies after creating it and before recording the basis makes the same name again, and finds it taken.

use kube::ResourceExt;
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::NodeFacts;
use api::preflight::{
    NAME_PREFIX, TRIGGER_LABEL, VMRuntimePreflightCheck as Check, VMRuntimePreflightCheckSpec,
};
use api::vmruntime::{FeatureGate, NAMESPACE, PreflightBasis, VMRuntime};
use reconcile::{controlled_by, controls};

/// Version of the platform: another one checks again.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Automatic checks that are kept.
const KEPT: usize = 10;

/// The decision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Due {
    /// The check to create, before the basis is recorded.
    pub check: Option<Check>,
    /// What to record.
    pub basis: PreflightBasis,
}

/// Decides whether a check is due.
pub(crate) fn due(
    runtime: &VMRuntime,
    version: &str,
    nodes: &[NodeFacts],
    checks: &[Check],
) -> Due {
    let before = runtime.status.as_ref();
    let before = before
        .and_then(|s| s.preflight_basis.clone())
        .unwrap_or_default();
    let enabled = runtime.spec.is_enabled() && runtime.metadata.deletion_timestamp.is_none();
    let mut basis = PreflightBasis {
        sequence: before.sequence,
        enabled,
        version: version.to_owned(),
        use_emulation: runtime.spec.use_emulation,
        features: features(runtime),
        skipped_nodes: nodes
            .iter()
            .filter(|n| n.skipped)
            .map(|n| n.name.clone())
            .collect(),
    };
    basis.skipped_nodes.sort();
    let Some(reason) = reason(&before, &basis, nodes, checks) else {
        return Due { check: None, basis };
    };
    basis.sequence = before.sequence.saturating_add(1);
    let check = automatic(runtime, &basis, reason);
    Due {
        check: Some(check),
        basis,
    }
}

fn reason(
    before: &PreflightBasis,
    now: &PreflightBasis,
    nodes: &[NodeFacts],
    checks: &[Check],
) -> Option<&'static str> {
    let included = |name: &String| nodes.iter().any(|n| n.name == *name && !n.skipped);
    if !now.enabled {
        None
    } else if !before.enabled {
        Some("enabled")
    } else if before.version != now.version {
        Some("upgraded")
    } else if before.use_emulation != now.use_emulation
        || now.features.iter().any(|f| !before.features.contains(f))
    {
        Some("feature")
    } else if before.skipped_nodes.iter().any(included) {
        Some("node")
    } else if checks.is_empty() {
        Some("missing")
    } else {
        None
    }
}

/// Features that are on, beside emulation: the names in `spec.featureGates` whose value is `Enabled` (G-X01).
fn features(runtime: &VMRuntime) -> Vec<String> {
    let gates = runtime.spec.feature_gates.iter().flatten();
    let on = gates.filter(|(_, gate)| **gate == FeatureGate::Enabled);
    on.map(|(name, _)| name.clone()).collect()
}

fn automatic(runtime: &VMRuntime, basis: &PreflightBasis, reason: &str) -> Check {
    let mut check = Check::new(
        &format!("{NAME_PREFIX}{}", uuid(runtime, basis)),
        VMRuntimePreflightCheckSpec {},
    );
    check.metadata = ObjectMeta {
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some([(TRIGGER_LABEL.to_owned(), reason.to_owned())].into()),
        owner_references: Some(vec![controlled_by(runtime)]),
        ..check.metadata
    };
    check
}

/// A UUID of version 8 (RFC 9562): the beginning of a SHA-256 of what it stands for.
fn uuid(runtime: &VMRuntime, basis: &PreflightBasis) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(runtime.uid().unwrap_or_default());
    hash.update(serde_json::to_vec(basis).unwrap_or_default());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Automatic checks beyond the newest few, of those that are over.
pub(crate) fn surplus<'a>(runtime: &VMRuntime, checks: &'a [Check]) -> Vec<&'a Check> {
    let mut automatic: Vec<&Check> = checks
        .iter()
        .filter(|c| controls(runtime, *c) && c.metadata.deletion_timestamp.is_none())
        .collect();
    let created = |c: &Check| c.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let begun = |c: &Check| c.status.as_ref()?.start_time.as_ref().map(|t| t.0);
    automatic.sort_by_key(|c| std::cmp::Reverse((created(c), begun(c), c.name_any())));
    // The newest decides, whatever it is: it is never among them.
    let newest = api::preflight::newest(checks).map(ResourceExt::name_any);
    let over = |c: &&Check| c.pass().is_some() && Some(c.name_any()) != newest;
    automatic.into_iter().skip(KEPT).filter(over).collect()
}

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod tests;
