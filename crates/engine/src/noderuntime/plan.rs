//! What to do about a Pod. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::CONSOLE_LOG;
use super::record::{Main, Record};

/// First and longest wait before a restart, as the kubelet has them.
const RESTART_AFTER: (i64, i64) = (10, 300);
/// A main process is started again to adopt what it left at most this often per Pod: one that
/// cannot adopt would otherwise be started for ever.
const ADOPTIONS: u32 = 20;
/// How soon a Pod that is being ended is looked at again.
const POLL_END: SignedDuration = SignedDuration::from_millis(100);

/// All that a decision needs.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub pod: &'a Pod,
    pub image: &'a str,
    pub verbs: &'a [&'a str],
    pub record: Option<&'a Record>,
    /// Whether the recorded main process lives.
    pub main_lives: bool,
    /// Whether the Pod's cgroup holds any process.
    pub group_lives: bool,
    /// What the Pod's volumes or environment wait for.
    pub missing: Option<&'a Waiting>,
}

/// Why a container does not run yet, in the kubelet's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub reason: &'static str,
    pub message: String,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The Pod can never run here: it fails with this reason.
    Refuse(Waiting),
    /// The Pod cannot start yet.
    Wait(Waiting),
    /// Make directory, namespaces and cgroup.
    Prepare,
    /// End whatever an unrecorded start may have left.
    KillStray,
    /// Start the main process.
    Start,
    /// Start it again, to adopt what lives in its cgroup.
    Adopt,
    /// Write down how it ended.
    NoteEnd,
    /// Ask it to end.
    Terminate,
    /// End everything in the cgroup.
    Kill,
    /// Remove namespaces and cgroup.
    TearDown,
    /// Say the final status, remove the directory, and let the object go.
    Forget,
}

/// The decision: steps in order, and when to look again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub again: Option<SignedDuration>,
}

impl Plan {
    pub(super) fn now(steps: impl Into<Vec<Step>>) -> Self {
        Self {
            steps: steps.into(),
            again: None,
        }
    }

    fn after(wait: SignedDuration, steps: impl Into<Vec<Step>>) -> Self {
        Self {
            steps: steps.into(),
            again: Some(wait.max(SignedDuration::from_millis(1))),
        }
    }
}

/// Decides.
pub(super) fn decide(facts: &Facts<'_>, now: Timestamp) -> Plan {
    if facts.pod.metadata.deletion_timestamp.is_some() {
        return ending(facts, now);
    }
    let phase = facts.pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let Some(record) = facts.record else {
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return Plan::now([]);
        }
        if let Err(refusal) = acceptable(facts) {
            return Plan::now([Step::Refuse(refusal)]);
        }
        return starting(facts, [Step::Prepare]);
    };
    match &record.main {
        Main::Running { .. } if facts.main_lives => Plan::now([]),
        Main::Running { adoptions, .. } if facts.group_lives && *adoptions < ADOPTIONS => {
            Plan::now([Step::Adopt])
        }
        Main::Running { .. } if facts.group_lives => Plan::after(POLL_END, [Step::Kill]),
        Main::Running { .. } => Plan::after(SignedDuration::ZERO, [Step::NoteEnd]),
        Main::Waiting { not_before } => match not_before {
            Some(at) if *at > now => Plan::after(at.duration_since(now), []),
            _ => starting(facts, []),
        },
        Main::Ended(_) if !record.torn_down => Plan::now([Step::TearDown]),
        Main::Ended(_) => Plan::now([]),
    }
}

/// A start, once all is there. What the cgroup holds although no start is recorded was started
/// just before our death: two of them would fight for one directory.
fn starting(facts: &Facts<'_>, before: impl IntoIterator<Item = Step>) -> Plan {
    if let Some(waiting) = facts.missing {
        return Plan::after(SignedDuration::from_secs(1), [Step::Wait(waiting.clone())]);
    }
    let stray = facts.group_lives.then_some(Step::KillStray);
    let steps = stray.into_iter().chain(before).chain([Step::Start]);
    Plan::now(steps.collect::<Vec<_>>())
}

fn ending(facts: &Facts<'_>, now: Timestamp) -> Plan {
    let Some(record) = facts.record else {
        if facts.group_lives {
            return Plan::after(POLL_END, [Step::KillStray]);
        }
        return Plan::now([Step::Forget]);
    };
    if facts.main_lives || facts.group_lives {
        // The deletion timestamp is the moment at which the grace period is over.
        let deadline = facts.pod.metadata.deletion_timestamp.as_ref().map(|t| t.0);
        let left = deadline.map_or(SignedDuration::ZERO, |d| d.duration_since(now));
        if left <= SignedDuration::ZERO {
            return Plan::after(POLL_END, [Step::Kill]);
        }
        if !facts.main_lives {
            // Somebody must end the workload in order: a launcher is started again for that.
            return match &record.main {
                Main::Running { adoptions, .. } if *adoptions < ADOPTIONS => {
                    Plan::after(POLL_END, [Step::Adopt])
                }
                _ => Plan::after(POLL_END, [Step::Kill]),
            };
        }
        return match record.terminated_at {
            None => Plan::after(left, [Step::Terminate]),
            Some(_) => Plan::after(left, []),
        };
    }
    let mut steps = Vec::new();
    if matches!(record.main, Main::Running { .. }) {
        steps.push(Step::NoteEnd);
    }
    if !record.torn_down {
        steps.push(Step::TearDown);
    }
    steps.push(Step::Forget);
    Plan::now(steps)
}

/// The container that has a process.
pub(super) fn main_container(pod: &Pod) -> Option<&Container> {
    pod.spec
        .as_ref()?
        .containers
        .iter()
        .find(|c| c.name != CONSOLE_LOG)
}

fn refusal(message: String) -> Waiting {
    Waiting {
        reason: "UnsupportedPod",
        message,
    }
}

/// Whether the Pod is one of the platform's.
fn acceptable(facts: &Facts<'_>) -> Result<(), Waiting> {
    let spec = facts.pod.spec.clone().unwrap_or_default();
    if let Some(foreign) = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|c| c.image.as_deref() != Some(facts.image))
    {
        return Err(Waiting {
            reason: "ForeignImage",
            message: format!(
                "container {:?} has image {:?}: this engine runs only Ferrovirt's own workloads ({}); run other containers on a Kubernetes cluster",
                foreign.name,
                foreign.image.as_deref().unwrap_or_default(),
                facts.image
            ),
        });
    }
    if spec.init_containers.is_some_and(|c| !c.is_empty()) {
        return Err(refusal("init containers do not run on this engine".into()));
    }
    let processes = spec.containers.iter().filter(|c| c.name != CONSOLE_LOG);
    if processes.count() != 1 {
        return Err(refusal(
            "exactly one container with a process runs per Pod on this engine".into(),
        ));
    }
    let Some(main) = main_container(facts.pod) else {
        return Err(refusal("the Pod has no container".into()));
    };
    let command = main.command.clone().unwrap_or_default();
    let verb = command.get(1).map(String::as_str).unwrap_or_default();
    if command.first().map(String::as_str) != Some("ferrovirt") || !facts.verbs.contains(&verb) {
        return Err(refusal(format!(
            "container {:?} must run `ferrovirt` with one of: {}",
            main.name,
            facts.verbs.join(", ")
        )));
    }
    confined(main)
}

/// Whether a container says no more than the platform's own do. All workloads have one user, and
/// files are told apart by their paths alone: whoever chose a path, or what the dynamic linker
/// loads, would have the disks of every namespace.
fn confined(main: &Container) -> Result<(), Waiting> {
    let extra = main.command.iter().flatten().skip(2);
    if let Some(argument) = extra.chain(main.args.iter().flatten()).next() {
        return Err(refusal(format!(
            "container {:?} has the argument {argument:?}: workloads take no arguments on this engine, only IMPORTER_ variables",
            main.name
        )));
    }
    for variable in main.env.iter().flatten() {
        let name = variable.name.as_str();
        let directory = name == "IMPORTER_CERT_DIR";
        let elsewhere = variable
            .value
            .as_deref()
            .is_none_or(|path| path.starts_with('.') || path.contains('/'));
        if !name.starts_with("IMPORTER_") || name == "IMPORTER_TARGET" || (directory && elsewhere) {
            return Err(refusal(format!(
                "container {:?} sets the environment variable {name:?}: only IMPORTER_ variables are passed on, not IMPORTER_TARGET, and IMPORTER_CERT_DIR must be the name of a volume",
                main.name
            )));
        }
    }
    Ok(())
}

/// How long to wait before the start that follows this many restarts.
pub(super) fn restart_wait(restarts: u32) -> SignedDuration {
    let factor = 1_i64.checked_shl(restarts.min(16)).unwrap_or(i64::MAX);
    let seconds = RESTART_AFTER.0.saturating_mul(factor).min(RESTART_AFTER.1);
    SignedDuration::from_secs(seconds)
}

/// Whether an end with this exit code is followed by another start.
pub(super) fn restarts(pod: &Pod, code: i32) -> bool {
    let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    match policy {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
