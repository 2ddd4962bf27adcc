//! What becomes of one check. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{NodeFacts, note};
use api::preflight::{
    CheckResult, NO_ANSWER, NodeChecks, SKIP_LABEL, VMRuntimePreflightCheck as Check,
    VMRuntimePreflightCheckStatus as Status, Verdict, verdict,
};
use reconcile::Note;

/// What makes a check run again: nothing; said because it is what people try (G-33).
const AGAIN: &str = "This check will not run again: to check again run `bmctl check vmruntimepfc`, or create a VMRuntimePreflightCheck of another name.";

/// All that a decision needs.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub check: Arc<Check>,
    pub nodes: Vec<NodeFacts>,
    /// `spec.useEmulation` of the VMRuntime, now.
    pub use_emulation: Option<bool>,
    /// Since when this controller runs.
    pub since: Timestamp,
    /// How long nodes have to answer.
    pub patience: SignedDuration,
}

/// The decision.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub status: Option<Status>,
    pub event: Option<Note>,
    pub again_at: Option<Timestamp>,
}

/// Decides.
pub(super) fn decide(facts: &Facts, now: Timestamp) -> Plan {
    let mut status = facts.check.status.clone().unwrap_or_default();
    if status.pass.is_some() || facts.check.metadata.deletion_timestamp.is_some() {
        return Plan {
            status: facts.check.status.clone(),
            event: None,
            again_at: None,
        };
    }
    let begun = status.start_time.get_or_insert_with(|| {
        status.use_emulation = facts.use_emulation;
        MicroTime(now)
    });
    let deadline = begun.0.max(facts.since) + facts.patience;
    if status.nodes.is_empty() {
        status.nodes = expected(&facts.nodes);
    }
    // A node that has gone meanwhile is no place for VMs, so it says nothing about them.
    let here = |name: &String| facts.nodes.iter().any(|n| n.name == *name);
    status.nodes.retain(here);
    let nodes = &status.nodes;
    status.checks.retain(|name, _| nodes.contains(name));
    let missing: Vec<String> = nodes
        .iter()
        .filter(|n| !status.checks.contains_key(*n))
        .cloned()
        .collect();
    let complete = missing.is_empty() && !status.nodes.is_empty();
    if !complete && now < deadline {
        status.message = Some(waiting(&status, &missing));
        return Plan {
            status: Some(status),
            event: None,
            again_at: Some(deadline),
        };
    }
    for node in missing {
        let checks = NodeChecks::of(vec![CheckResult::failed(
            NO_ANSWER,
            silent(&node, facts.patience),
        )]);
        status.checks.insert(node, checks);
    }
    conclude(facts, status, now)
}

fn conclude(facts: &Facts, mut status: Status, now: Timestamp) -> Plan {
    let pass = !status.nodes.is_empty() && status.checks.values().all(|c| c.passed);
    status.pass = Some(pass);
    status.completion_time = Some(MicroTime(now));
    status.failures = status.failures_of_checks();
    let found = if pass {
        format!("passed on: {}", status.nodes.join(", "))
    } else if status.nodes.is_empty() {
        nobody()
    } else {
        let mut check = (*facts.check).clone();
        check.status = Some(Status {
            message: None,
            ..status.clone()
        });
        match verdict(Some(&check)) {
            Verdict::Failed(text) | Verdict::Running(text) => text,
            Verdict::Passed => String::new(),
        }
    };
    status.message = Some(format!("{found}. {AGAIN}"));
    Plan {
        event: Some(note(pass, &found)),
        status: Some(status),
        again_at: None,
    }
}

/// The nodes to ask.
fn expected(nodes: &[NodeFacts]) -> Vec<String> {
    let asked = nodes.iter().filter(|n| n.ready && !n.skipped);
    let mut names: Vec<String> = asked.map(|n| n.name.clone()).collect();
    names.sort();
    names
}

fn waiting(status: &Status, missing: &[String]) -> String {
    if status.nodes.is_empty() {
        return nobody();
    }
    format!(
        "{} of {} nodes have answered; waiting for: {}",
        status.checks.len(),
        status.nodes.len(),
        missing.join(", ")
    )
}

fn nobody() -> String {
    format!("there is no node to check: none is ready and without the label {SKIP_LABEL}")
}

fn silent(node: &str, patience: SignedDuration) -> String {
    format!(
        "the node agent of {node} has not answered within {} s: is `ferrovirt` running there, and can it reach the API server?",
        patience.as_secs()
    )
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
