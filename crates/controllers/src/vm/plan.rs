//! What to do about a VM, and what to say about it. Pure: the run strategy itself is decided in
//! [`machine::lifecycle`].

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use machine::lifecycle::{self, Action, Decision, Situation, Why};
use reconcile::EventKind;

use super::objects;
use crate::note::Note;
use crate::owner::controls;
use crate::runtime::{DISABLED, RuntimeFacts};
use api::cdi::{DataVolume, DataVolumePhase};
use api::kubevirt::{
    Condition, RunStrategy, VM_FINALIZER, VirtualMachine as Vm, VirtualMachineInstance as Vmi,
    VirtualMachineStatus as Status, VmiPhase, condition, is_true, set_condition,
};
use api::printable::PrintableStatus;

/// All that a decision needs.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub vm: Arc<Vm>,
    pub runtime: RuntimeFacts,
    /// The VMI of the VM's name, whoever owns it.
    pub instance: Option<Vmi>,
    /// Those of the templates that exist.
    pub data_volumes: Vec<DataVolume>,
    /// Claims that the VM names and that do not exist.
    pub missing_claims: Vec<String>,
}

/// The decision.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub status: Option<Status>,
    pub step: Step,
    pub event: Option<Note>,
    pub again_at: Option<Timestamp>,
}

/// One thing to do, after the status is written.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    AddFinalizer,
    RemoveFinalizer,
    MakeDataVolumes(Vec<DataVolume>),
    MakeInstance(Box<Vmi>),
    DeleteInstance,
}

/// Decides.
pub(super) fn decide(facts: &Facts, now: Timestamp) -> Plan {
    let vm = facts.vm.as_ref();
    let foreign = facts
        .instance
        .as_ref()
        .is_some_and(|vmi| !controls(vm, vmi));
    let instance = facts.instance.as_ref().filter(|_| !foreign);
    let decision = lifecycle::decide(&Situation::of(vm, instance, now));
    let (step, event) = step(facts, instance, foreign, &decision);
    let status = status(facts, instance, &decision, event.as_ref(), now);
    Plan {
        status: Some(status),
        step,
        event,
        again_at: decision.again_at,
    }
}

fn step(
    facts: &Facts,
    instance: Option<&Vmi>,
    foreign: bool,
    decision: &Decision,
) -> (Step, Option<Note>) {
    let vm = facts.vm.as_ref();
    let ours = vm.finalizers().iter().any(|f| f == VM_FINALIZER);
    if vm.metadata.deletion_timestamp.is_some() {
        return match (instance, decision.action) {
            (None, _) if ours => (Step::RemoveFinalizer, None),
            (Some(_), Action::Delete) => (Step::DeleteInstance, None),
            _ => (Step::Nothing, None),
        };
    }
    if !ours {
        return (Step::AddFinalizer, None);
    }
    if foreign {
        let message = format!(
            "a VMI named {} exists and does not belong to this VM: delete it or rename the VM",
            vm.name_any()
        );
        return (Step::Nothing, Some(warning("FailedCreate", message)));
    }
    let absent: Vec<DataVolume> = vm
        .spec
        .data_volume_templates
        .iter()
        .filter(|t| {
            let name = objects::template_name(t);
            !facts.data_volumes.iter().any(|d| d.name_any() == name)
        })
        .map(|t| objects::data_volume(vm, t))
        .collect();
    if !absent.is_empty() {
        return (Step::MakeDataVolumes(absent), None);
    }
    match decision.action {
        Action::Nothing => (Step::Nothing, None),
        Action::Delete => (Step::DeleteInstance, None),
        Action::Create if !facts.runtime.enabled => (
            Step::Nothing,
            Some(warning("VMRuntimeDisabled", DISABLED.to_owned())),
        ),
        Action::Create => (Step::MakeInstance(Box::new(objects::instance(vm))), None),
    }
}

fn status(
    facts: &Facts,
    instance: Option<&Vmi>,
    decision: &Decision,
    event: Option<&Note>,
    now: Timestamp,
) -> Status {
    let vm = facts.vm.as_ref();
    let mut status = vm.status.clone().unwrap_or_default();
    let inner = instance.and_then(|i| i.status.clone()).unwrap_or_default();
    let ready = is_true(&inner.conditions, "Ready");
    status.created = instance.map(|_| true);
    status.ready = ready.then_some(true);
    status.run_strategy = Some(vm.spec.effective_run_strategy());
    status.desired_generation = vm.metadata.generation;
    status.observed_generation = instance
        .and_then(|i| {
            i.annotations()
                .get(api::kubevirt::VM_GENERATION_ANNOTATION)?
                .parse()
                .ok()
        })
        .or(vm.metadata.generation);
    status.state_change_requests.clone_from(&decision.requests);
    status.start_failure.clone_from(&decision.failure);
    // Those of the instance are copied; those that only it had go with it.
    status.conditions.retain(|c| {
        matches!(c.type_.as_str(), "Ready" | "Failure")
            || condition(&inner.conditions, &c.type_).is_some()
    });
    for copied in &inner.conditions {
        set_condition(&mut status.conditions, copied.clone());
    }
    if instance.is_none() {
        let (reason, message) = absent(facts, decision);
        set_condition(
            &mut status.conditions,
            Condition::new("Ready", false, reason, &message, now),
        );
    }
    match event {
        Some(note) => set_condition(
            &mut status.conditions,
            Condition::new("Failure", true, note.reason, &note.message, now),
        ),
        None => status.conditions.retain(|c| c.type_ != "Failure"),
    }
    status.printable_status = Some(printable(facts, instance, decision));
    status
}

/// Why there is no instance.
fn absent(facts: &Facts, decision: &Decision) -> (&'static str, String) {
    let strategy = facts.vm.spec.effective_run_strategy();
    if !facts.runtime.enabled && strategy != RunStrategy::Halted {
        return ("VMRuntimeDisabled", DISABLED.to_owned());
    }
    match decision.why {
        Why::BackOff => {
            let failure = decision.failure.clone().unwrap_or_default();
            let at = failure
                .retry_after_timestamp
                .map(|t| format!("{:.0}", t.0))
                .unwrap_or_default();
            let message = format!(
                "{} starts in a row have failed; the next one is tried at {at}",
                failure.consecutive_fail_count.unwrap_or_default()
            );
            ("CrashLoopBackOff", message)
        }
        _ => ("VMINotExists", "VMI does not exist".to_owned()),
    }
}

/// The status for people, by KubeVirt's order of precedence (B-29).
fn printable(facts: &Facts, instance: Option<&Vmi>, decision: &Decision) -> PrintableStatus {
    let phase = instance
        .and_then(|i| i.status.as_ref())
        .and_then(|s| s.phase);
    let conditions = instance
        .and_then(|i| i.status.as_ref())
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let going = instance.is_some_and(|i| i.metadata.deletion_timestamp.is_some());
    if facts.vm.metadata.deletion_timestamp.is_some() {
        return PrintableStatus::Terminating;
    }
    if going || decision.action == Action::Delete && phase.is_some_and(|p| !p.is_final()) {
        return PrintableStatus::Stopping;
    }
    let reason = condition(conditions, "Ready").and_then(|c| c.reason.as_deref());
    match phase {
        Some(VmiPhase::Running) if is_true(conditions, "Paused") => PrintableStatus::Paused,
        Some(VmiPhase::Running) => PrintableStatus::Running,
        Some(VmiPhase::Unknown) => PrintableStatus::Unknown,
        Some(p) if !p.is_final() => {
            if condition(conditions, "PodScheduled").is_some() {
                return PrintableStatus::ErrorUnschedulable;
            }
            waiting(facts, reason).unwrap_or(PrintableStatus::Starting)
        }
        _ if decision.why == Why::BackOff => PrintableStatus::CrashLoopBackOff,
        Some(_) => PrintableStatus::Stopped,
        None if instance.is_some() => PrintableStatus::Starting,
        None if decision.action == Action::Create => {
            waiting(facts, None).unwrap_or(PrintableStatus::Starting)
        }
        None => PrintableStatus::Stopped,
    }
}

/// What the disks say while there is no guest.
fn waiting(facts: &Facts, reason: Option<&str>) -> Option<PrintableStatus> {
    if !facts.missing_claims.is_empty() || reason == Some("FailedPvcNotFound") {
        return Some(PrintableStatus::ErrorPvcNotFound);
    }
    let phases = || {
        facts
            .data_volumes
            .iter()
            .map(|d| d.status.as_ref().and_then(|s| s.phase))
    };
    if phases().any(|p| p == Some(DataVolumePhase::Failed)) {
        return Some(PrintableStatus::DataVolumeError);
    }
    if phases().any(|p| p == Some(DataVolumePhase::WaitForFirstConsumer)) {
        return Some(PrintableStatus::WaitingForVolumeBinding);
    }
    let preparing = phases().any(|p| p != Some(DataVolumePhase::Succeeded));
    (preparing || reason == Some("NotAllDVsReady")).then_some(PrintableStatus::Provisioning)
}

fn warning(reason: &'static str, message: String) -> Note {
    Note {
        kind: EventKind::Warning,
        reason,
        message,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
