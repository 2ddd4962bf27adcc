//! `vm.cluster.gke.io/v1`: [`VMRuntimePreflightCheck`], one look at whether the nodes can run VMs (G-30 to G-40).
//!
//! ```text
//!  created ─► started (nodes recorded) ─► each node writes checks.<node> ─► pass: true | false
//!    by a trigger, a command, a manifest      │                                  ▲
//!                                             └── a node that does not answer ───┘ deadline
//! ```
//!
//! A run is one object: it is never run again. The newest one decides whether VMs may be created and started
//! ([`newest`], [`verdict`]).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{CustomResource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vmruntime::{EmulationPolicy, FeatureStatus, NAMESPACE, PreflightCheckSummary};

/// Plural name of the kind.
pub const PLURAL: &str = "vmruntimepreflightchecks";
/// How the names of automatic checks begin; a UUID follows (G-33).
pub const NAME_PREFIX: &str = "vmruntime-preflight-check-";
/// Label of nodes that are left out of checks and get no VMs; its presence counts, not its value (G-32).
pub const SKIP_LABEL: &str = "kubevm.io/VM-SkipSchedule";
/// Label of automatic checks: what they were started for.
pub const TRIGGER_LABEL: &str = "ferrovirt.io/preflight-trigger";
/// Name of the result of a node that has not answered.
pub const NO_ANSWER: &str = "NodeAgent";

/// Nodes whose failures are repeated in `status.failures`.
const MOST_FAILURES: usize = 10;
/// Failures that a refusal tells of, and characters of each.
const MOST_TOLD: (usize, usize) = (10, 600);

/// Asks for nothing: a check is the same for everybody (G-33).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "vm.cluster.gke.io",
    version = "v1",
    kind = "VMRuntimePreflightCheck",
    plural = "vmruntimepreflightchecks",
    singular = "vmruntimepreflightcheck",
    shortname = "vmruntimepfc",
    namespaced,
    status = "VMRuntimePreflightCheckStatus",
    derive = "PartialEq",
    doc = "VMRuntimePreflightCheck is one check of whether the nodes can run VMs. It runs once; to check again, create another one.",
    printcolumn = r#"{"name":"Pass","type":"boolean","jsonPath":".status.pass"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct VMRuntimePreflightCheckSpec {}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VMRuntimePreflightCheckStatus {
    /// Whether every check passed on every node; nothing while it runs (G-37).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<bool>,
    /// Results by node. Each node writes its own (G-38).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, NodeChecks>,
    /// The results that failed, of at most ten nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, NodeFailures>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<MicroTime>,
    /// The nodes that are asked: those that were ready, and not left out by a label, when it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What `spec.useEmulation` of the VMRuntime was when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_emulation: Option<bool>,
    /// What it waits for or has found, and how to check again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What was found on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeChecks {
    /// Whether all of it passed.
    #[serde(default)]
    pub passed: bool,
    /// One result for each check.
    #[serde(default)]
    pub results: Vec<CheckResult>,
}

/// The failed results of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFailures {
    /// They.
    #[serde(default)]
    pub results: Vec<CheckResult>,
}

/// One result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// `CPU`, `KVM`, `QEMU`, ...
    #[serde(default)]
    pub check_name: String,
    /// Whether it passed.
    #[serde(default)]
    pub passed: bool,
    /// Why it failed; or a note on one that passed. May have several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl CheckResult {
    /// A result without remarks.
    pub fn passed(name: &str) -> Self {
        Self {
            check_name: name.to_owned(),
            passed: true,
            message: None,
        }
    }

    /// One that passed, with a note.
    pub fn noted(name: &str, note: impl Into<String>) -> Self {
        Self {
            message: Some(note.into()),
            ..Self::passed(name)
        }
    }

    /// One that failed.
    pub fn failed(name: &str, why: impl Into<String>) -> Self {
        Self {
            passed: false,
            ..Self::noted(name, why)
        }
    }
}

impl NodeChecks {
    /// Of all results of a node. No result is no pass.
    pub fn of(results: Vec<CheckResult>) -> Self {
        Self {
            passed: !results.is_empty() && results.iter().all(|r| r.passed),
            results,
        }
    }

    /// The results that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CheckResult> {
        self.results.iter().filter(|r| !r.passed)
    }
}

impl VMRuntimePreflightCheckStatus {
    /// The policy that the nodes judge by.
    pub fn emulation(&self) -> EmulationPolicy {
        EmulationPolicy::of(self.use_emulation)
    }

    /// Whether `node` is asked and has not answered.
    pub fn waits_for(&self, node: &str) -> bool {
        self.pass.is_none()
            && self.start_time.is_some()
            && self.nodes.iter().any(|n| n == node)
            && !self.checks.contains_key(node)
    }

    /// [`Self::failures`] as it follows from the results.
    pub fn failures_of_checks(&self) -> BTreeMap<String, NodeFailures> {
        let failed = self.checks.iter().filter(|(_, c)| !c.passed);
        let of = |(node, checks): (&String, &NodeChecks)| {
            let results = checks.failures().cloned().collect();
            (node.clone(), NodeFailures { results })
        };
        failed.take(MOST_FAILURES).map(of).collect()
    }
}

impl VMRuntimePreflightCheck {
    /// Whether all nodes have answered, or the time for it is over.
    pub fn pass(&self) -> Option<bool> {
        self.status.as_ref()?.pass
    }
}

/// The newest check: it alone decides (G-30).
///
/// Creation times have a resolution of a second. Of checks of the same second, one that has not begun is the newest,
/// then the one that began last; the rest is settled by name, so that everybody settles it alike.
pub fn newest(checks: &[VMRuntimePreflightCheck]) -> Option<&VMRuntimePreflightCheck> {
    let current = checks
        .iter()
        .filter(|c| c.metadata.deletion_timestamp.is_none());
    current.max_by_key(|c| {
        let status = c.status.clone().unwrap_or_default();
        let created = c.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let begun = status.start_time.map(|t| t.0);
        (created, begun.is_none(), begun, c.name_any())
    })
}

/// What the newest check says about creating and starting VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none, or it runs: try again.
    Running(String),
    /// VMs may be created and started.
    Passed,
    /// They may not, for this reason.
    Failed(String),
}

/// What a check says about creating and starting VMs.
pub fn verdict(check: Option<&VMRuntimePreflightCheck>) -> Verdict {
    let Some(check) = check else {
        return Verdict::Running(
            "no preflight check has completed: check still running, retry".to_owned(),
        );
    };
    let name = format!("VMRuntimePreflightCheck {NAMESPACE}/{}", check.name_any());
    match check.pass() {
        None => Verdict::Running(format!("{name}: check still running, retry")),
        Some(true) => Verdict::Passed,
        Some(false) => Verdict::Failed(format!(
            "{name} has failed: {}; correct this, then check again: bmctl check vmruntimepfc",
            failed_nodes(check.status.as_ref())
        )),
    }
}

/// Each failed check of each node, on one line.
fn failed_nodes(status: Option<&VMRuntimePreflightCheckStatus>) -> String {
    let Some(status) = status else {
        return "no node has answered".to_owned();
    };
    let mut all = Vec::new();
    for (node, checks) in &status.checks {
        for result in checks.failures() {
            let why = result.message.as_deref().unwrap_or("failed");
            let why = shortened(&why.split_whitespace().collect::<Vec<_>>().join(" "));
            all.push(format!("node {node}: {}: {why}", result.check_name));
        }
    }
    let more = all.len().saturating_sub(MOST_TOLD.0);
    all.truncate(MOST_TOLD.0);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    if all.is_empty() {
        return status
            .message
            .clone()
            .unwrap_or_else(|| "no node has answered".to_owned());
    }
    all.join("; ")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TOLD.1) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// The summary for the VMRuntime (G-36).
pub fn summary(check: &VMRuntimePreflightCheck) -> PreflightCheckSummary {
    let mut features: BTreeMap<String, (bool, u32)> = BTreeMap::new();
    let results = check
        .status
        .iter()
        .filter(|s| s.pass.is_some())
        .flat_map(|s| s.checks.values())
        .flat_map(|c| &c.results);
    for result in results {
        let (passed, failed) = features
            .entry(result.check_name.clone())
            .or_insert((true, 0));
        *passed &= result.passed;
        *failed += u32::from(!result.passed);
    }
    let of = |(name, (passed, failed)): (String, (bool, u32))| {
        let failed_node_num = (!passed).then_some(failed);
        let status = FeatureStatus {
            passed,
            failed_node_num,
        };
        (name, status)
    };
    PreflightCheckSummary {
        preflight_check_name: Some(check.name_any()),
        preflight_check_passed: check.pass(),
        feature_statuses: features.into_iter().map(of).collect(),
    }
}

#[cfg(test)]
mod tests;
