//! What to do about a DataVolume, and what to say about it. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use reconcile::EventKind;

use super::{objects, status};
use crate::runtime::{DISABLED, RuntimeFacts};
use api::cdi::{DataVolume, DataVolumePhase, DataVolumeStatus, set_condition};
use api::kubevirt::ConditionStatus::{False, True, Unknown};
use reconcile::Note;
use reconcile::controls;

/// All that a decision needs.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub volume: Arc<DataVolume>,
    pub runtime: RuntimeFacts,
    pub claim: Option<PersistentVolumeClaim>,
    pub pod: Option<Pod>,
    /// What the running importer said last.
    pub progress: Option<String>,
}

/// The decision.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub status: Option<DataVolumeStatus>,
    pub step: Step,
    pub event: Option<Note>,
}

/// One thing to do, after the status is written.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    /// Look again soon: progress is not an event.
    WatchProgress,
    MakeClaim(Box<PersistentVolumeClaim>),
    MakeImporter(Box<Pod>),
    RemoveImporter,
}

/// Whether the importer runs now.
pub(super) fn is_running(pod: &Pod) -> bool {
    status::container(pod)
        .and_then(|c| c.state.as_ref())
        .is_some_and(|s| s.running.is_some())
}

/// What is to be said: the words of the three conditions and the phase.
struct Words {
    phase: DataVolumePhase,
    bound: (bool, &'static str, String),
    running: (bool, &'static str, String),
    progress: Option<String>,
    restarts: Option<i32>,
}

/// Decides.
pub(super) fn decide(facts: &Facts, now: Timestamp) -> Plan {
    let before = facts.volume.status.clone().unwrap_or_default();
    let unchanged = |step| Plan {
        status: facts.volume.status.clone(),
        step,
        event: None,
    };
    if facts.volume.metadata.deletion_timestamp.is_some() {
        return unchanged(Step::Nothing);
    }
    if before.phase == Some(DataVolumePhase::Succeeded) {
        // The image is there: the Pod has said all it had to say.
        return unchanged(match facts.pod {
            Some(ref pod) if pod.metadata.deletion_timestamp.is_none() => Step::RemoveImporter,
            _ => Step::Nothing,
        });
    }
    let (words, step, event) = course(facts);
    let mut after = before;
    write(&mut after, &facts.volume, words, now);
    Plan {
        status: Some(after),
        step,
        event,
    }
}

/// What is said of a DataVolume that is not acted upon, because the runtime is disabled.
pub(crate) fn waits(
    volume: &Arc<DataVolume>,
    now: Timestamp,
) -> (Option<DataVolumeStatus>, Option<Note>) {
    let plan = decide(
        &Facts {
            volume: volume.clone(),
            runtime: RuntimeFacts::UNKNOWN,
            claim: None,
            pod: None,
            progress: None,
        },
        now,
    );
    (plan.status, plan.event)
}

fn waiting(phase: DataVolumePhase, reason: &'static str, message: String) -> Words {
    Words {
        phase,
        bound: (false, reason, message.clone()),
        running: (false, reason, message),
        progress: None,
        restarts: None,
    }
}

fn course(facts: &Facts) -> (Words, Step, Option<Note>) {
    let name = facts.volume.name_any();
    let is_done = |p: &Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Succeeded");
    // An import that has just ended well is not done again.
    if !facts.runtime.enabled && !facts.pod.as_ref().is_some_and(is_done) {
        let words = waiting(
            DataVolumePhase::Pending,
            "VMRuntimeDisabled",
            DISABLED.to_owned(),
        );
        let note = warning("VMRuntimeDisabled", DISABLED.to_owned());
        // A half-done import begins anew, or goes on, when the runtime is enabled again.
        let going = |p: &&Pod| controls(facts.volume.as_ref(), *p);
        return match facts.pod.as_ref().filter(going) {
            Some(pod) if pod.metadata.deletion_timestamp.is_none() => {
                (words, Step::RemoveImporter, Some(note))
            }
            _ => (words, Step::Nothing, Some(note)),
        };
    }
    let Some(claim) = &facts.claim else {
        let words = waiting(
            DataVolumePhase::Pending,
            "NotFound",
            format!("PVC {name} is being created"),
        );
        let step = Step::MakeClaim(Box::new(objects::claim(
            &facts.volume,
            facts.runtime.storage_class.as_deref(),
        )));
        return (words, step, None);
    };
    if !controls(facts.volume.as_ref(), claim) {
        let message = format!(
            "Resource \"{name}\" already exists and is not managed by DataVolume: delete the PVC or choose another name"
        );
        let words = waiting(
            DataVolumePhase::Pending,
            "ErrResourceExists",
            message.clone(),
        );
        return (
            words,
            Step::Nothing,
            Some(warning("ErrResourceExists", message)),
        );
    }
    let bound = claim
        .status
        .as_ref()
        .is_some_and(|s| s.phase.as_deref() == Some("Bound"));
    if !bound {
        let words = waiting(
            DataVolumePhase::Pending,
            "Pending",
            format!("PVC {name} Pending: see the events of the PVC"),
        );
        return (words, Step::Nothing, None);
    }
    let Some(pod) = &facts.pod else {
        let words = with_claim(&name, DataVolumePhase::PvcBound, "", String::new());
        let step = Step::MakeImporter(Box::new(objects::importer(&facts.volume)));
        return (words, step, None);
    };
    if !controls(facts.volume.as_ref(), pod) {
        let message = format!(
            "Pod \"{}\" already exists and is not managed by this DataVolume: delete it",
            pod.name_any()
        );
        let words = with_claim(
            &name,
            DataVolumePhase::PvcBound,
            "ErrResourceExists",
            message.clone(),
        );
        return (
            words,
            Step::Nothing,
            Some(warning("ErrResourceExists", message)),
        );
    }
    importing(&name, pod, facts.progress.clone())
}

fn importing(name: &str, pod: &Pod, progress: Option<String>) -> (Words, Step, Option<Note>) {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let restarts = status::container(pod).map(|c| c.restart_count);
    let mut words = match phase {
        Some("Succeeded") => {
            let mut words = with_claim(
                name,
                DataVolumePhase::Succeeded,
                "Completed",
                "Import Complete".to_owned(),
            );
            words.progress = Some("100.0%".to_owned());
            words
        }
        _ if is_running(pod) => {
            let mut words = with_claim(
                name,
                DataVolumePhase::ImportInProgress,
                "Pod is running",
                String::new(),
            );
            words.running.0 = true;
            words.progress = Some(progress.unwrap_or_else(|| "N/A".to_owned()));
            words
        }
        _ => match status::failure(pod) {
            Some(why) => with_claim(name, DataVolumePhase::ImportInProgress, "Error", why),
            None => with_claim(
                name,
                DataVolumePhase::ImportScheduled,
                "Pending",
                format!("the importer Pod {} is not running yet", pod.name_any()),
            ),
        },
    };
    words.restarts = restarts;
    let step = match words.phase {
        DataVolumePhase::ImportInProgress if words.running.0 => Step::WatchProgress,
        _ => Step::Nothing,
    };
    let event = match words.phase {
        DataVolumePhase::Succeeded => Some(Note {
            kind: EventKind::Normal,
            reason: "ImportSucceeded",
            message: format!("Successfully imported into PVC {name}"),
        }),
        DataVolumePhase::ImportInProgress if !words.running.0 => {
            Some(warning("ImportFailed", words.running.2.clone()))
        }
        _ => None,
    };
    (words, step, event)
}

fn with_claim(name: &str, phase: DataVolumePhase, reason: &'static str, message: String) -> Words {
    Words {
        phase,
        bound: (true, "Bound", format!("PVC {name} Bound")),
        running: (false, reason, message),
        progress: None,
        restarts: None,
    }
}

fn warning(reason: &'static str, message: String) -> Note {
    Note {
        kind: EventKind::Warning,
        reason,
        message,
    }
}

fn write(status: &mut DataVolumeStatus, volume: &DataVolume, words: Words, now: Timestamp) {
    status.phase = Some(words.phase);
    status.claim_name = Some(volume.name_any());
    // Progress never falls back to nothing between two reads.
    if words.progress.as_deref() != Some("N/A") || status.progress.is_none() {
        status.progress = words.progress.or(status.progress.take());
    }
    status.restart_count = words.restarts.or(status.restart_count);
    let conditions = &mut status.conditions;
    let (bound, reason, message) = words.bound;
    let holds = if bound {
        True
    } else if reason == "NotFound" {
        Unknown
    } else {
        False
    };
    set_condition(conditions, "Bound", holds, reason, &message, now);
    let ready = words.phase == DataVolumePhase::Succeeded;
    let (running, reason, message) = words.running;
    set_condition(conditions, "Running", running.into(), reason, &message, now);
    let (why, what) = if ready || running {
        ("", "")
    } else {
        (reason, message.as_str())
    };
    set_condition(conditions, "Ready", ready.into(), why, what, now);
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
