//! What to do about a VM, and what to say about it. Pure: the run strategy is decided in
//! [`machine::lifecycle`], the words for people are found in [`api::printable`].

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use machine::lifecycle::{self, Action, Decision, Situation};
use reconcile::EventKind;

use super::objects;
use crate::runtime::{DISABLED, RuntimeFacts};
use api::cdi::DataVolume;
use api::kubevirt::{
    Condition, VM_FINALIZER, VirtualMachine as Vm, VirtualMachineInstance as Vmi,
    VirtualMachineStatus as Status, set_condition,
};
use api::printable;
use reconcile::Note;
use reconcile::controls;

/// All that a decision needs.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub vm: Arc<Vm>,
    pub runtime: RuntimeFacts,
    /// The VMI of the VM's name, whoever owns it.
    pub instance: Option<Vmi>,
    /// Those that templates and volumes name, as far as they exist.
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

/// What is said of a VM that is not acted upon, because the runtime is disabled.
pub(crate) fn waits(vm: &Arc<Vm>, now: Timestamp) -> (Option<Status>, Option<Note>) {
    let decision = lifecycle::decide(&Situation::of(vm, None, now));
    let event = (decision.action == Action::Create)
        .then(|| warning("VMRuntimeDisabled", DISABLED.to_owned()));
    let facts = Facts {
        vm: vm.clone(),
        runtime: RuntimeFacts::UNKNOWN,
        instance: None,
        data_volumes: Vec::new(),
        missing_claims: Vec::new(),
    };
    let status = status(&facts, None, &decision, event.as_ref(), now);
    (Some(status), event)
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
        Action::Create => match facts.runtime.closed() {
            Some((reason, why)) => (Step::Nothing, Some(warning(reason, why.to_owned()))),
            None => (Step::MakeInstance(Box::new(objects::instance(vm))), None),
        },
    }
}

fn status(
    facts: &Facts,
    instance: Option<&Vmi>,
    decision: &Decision,
    event: Option<&Note>,
    now: Timestamp,
) -> Status {
    // What the lifecycle decided comes first: the words for people depend on it.
    let mut vm = (*facts.vm).clone();
    let before = vm.status.get_or_insert_default();
    before.state_change_requests.clone_from(&decision.requests);
    before.start_failure.clone_from(&decision.failure);
    let mut status = printable::vm_status(&printable::Facts {
        vm: &vm,
        vmi: instance,
        data_volumes: &facts.data_volumes,
        missing_claims: &facts.missing_claims,
        now,
    });
    if let (Some((reason, why)), Action::Create) = (facts.runtime.closed(), decision.action) {
        let why = Condition::new("Ready", false, reason, why, now);
        set_condition(&mut status.conditions, why);
    }
    match event {
        Some(note) => set_condition(
            &mut status.conditions,
            Condition::new("Failure", true, note.reason, &note.message, now),
        ),
        None => status.conditions.retain(|c| c.type_ != "Failure"),
    }
    status
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
