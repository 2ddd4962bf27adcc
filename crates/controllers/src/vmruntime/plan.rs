//! What to say of the VM runtime. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use reconcile::{EventKind, set_condition};

use super::settings::{self, ClassFacts};
use super::switch::{self, Decision, Held};
use crate::preflight::{self, trigger};
use crate::vmi::{KVM_ANNOTATION, KVM_LABEL, SCHEDULABLE_LABEL};
use api::preflight::{VMRuntimePreflightCheck as Check, Verdict, newest, summary, verdict};
use api::vmruntime::{
    COMPONENT_LABEL, EmulationPolicy, FORCE_DISABLE, RuntimePhase, VMRuntime, VMRuntimeStatus,
    VmImageFormat, component,
};
use reconcile::Note;

/// Reason of `Ready=False` while the newest preflight check has no verdict.
pub(crate) const PREFLIGHT_RUNNING: &str = "PreflightCheckRunning";
/// Reason of `Ready=False` when the newest preflight check has failed.
pub(crate) const PREFLIGHT_FAILED: &str = "PreflightCheckFailed";

/// A node, as the runtime sees it.
#[derive(Debug, Clone)]
pub(super) struct NodeFacts {
    name: String,
    /// Whether its node agent takes VMs.
    schedulable: bool,
    /// Whether its KVM passed the probe; nothing before that.
    kvm: Option<bool>,
    /// What the probe found.
    finding: String,
}

impl NodeFacts {
    pub(super) fn of(node: &Node) -> Self {
        let label = |key| node.labels().get(key).map(|v| v == "true");
        Self {
            name: node.name_any(),
            schedulable: label(SCHEDULABLE_LABEL) == Some(true),
            kvm: label(KVM_LABEL),
            finding: node
                .annotations()
                .get(KVM_ANNOTATION)
                .cloned()
                .unwrap_or_default(),
        }
    }
}

/// A component's Pod, as the runtime sees it.
#[derive(Debug, Clone)]
pub(super) struct ComponentFacts {
    component: String,
    node: String,
    ready: bool,
    /// Why it is not ready.
    why: String,
}

impl ComponentFacts {
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let waiting = status.container_statuses.iter().flatten();
        let mut waiting = waiting.filter_map(|c| c.state.as_ref()?.waiting.as_ref());
        Some(Self {
            component: pod.labels().get(COMPONENT_LABEL)?.clone(),
            node: pod.spec.as_ref()?.node_name.clone().unwrap_or_default(),
            ready: pod.metadata.deletion_timestamp.is_none()
                && conditions
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.status == "True"),
            why: waiting.next().map_or("not ready".to_owned(), |w| {
                let (reason, message) = (w.reason.as_deref(), w.message.as_deref());
                format!(
                    "{}: {}",
                    reason.unwrap_or_default(),
                    message.unwrap_or_default()
                )
            }),
        })
    }
}

/// All that the status depends on.
pub(super) struct Facts {
    pub runtime: Arc<VMRuntime>,
    pub nodes: Vec<NodeFacts>,
    /// The same nodes, as preflight checks see them.
    pub checked: Vec<preflight::NodeFacts>,
    pub checks: Vec<Check>,
    pub components: Vec<ComponentFacts>,
    pub classes: Vec<ClassFacts>,
    /// What keeps it from being off; not looked at while it is enabled.
    pub held: Vec<Held>,
}

/// What to begin, to write, to tell and to delete, in this order.
#[derive(Debug)]
pub(super) struct Plan {
    /// The preflight check that is due.
    pub check: Option<Check>,
    pub status: VMRuntimeStatus,
    pub phase: RuntimePhase,
    pub notes: Vec<Note>,
    pub delete: Vec<Held>,
}

/// Decides.
pub(super) fn decide(facts: &Facts, now: Timestamp) -> Plan {
    let before = facts.runtime.status.as_ref().and_then(|s| s.phase);
    let (force, conflict) = switch::force(facts.runtime.annotations());
    let enabled = facts.runtime.spec.is_enabled();
    let decision = switch::decide(enabled, before, force, &facts.held);
    let due = trigger::due(
        &facts.runtime,
        trigger::VERSION,
        &facts.checked,
        &facts.checks,
    );
    let latest = match &due.check {
        // It has a status when it exists already, and this pass repeats one that was cut short.
        Some(check) => {
            let name = check.name_any();
            let made = facts.checks.iter().find(|c| c.name_any() == name);
            Some(made.unwrap_or(check))
        }
        None => newest(&facts.checks),
    };
    let mut status = status(facts, &decision, latest, now);
    status.preflight_basis = Some(due.basis);
    status.preflight_check_summary = latest.map(summary);
    let mut notes = Vec::new();
    if conflict && !enabled {
        notes.push(Note {
            kind: EventKind::Warning,
            reason: "ConflictingAnnotations",
            message: format!(
                "both spellings of the annotation {FORCE_DISABLE} are set; this one holds: remove the other"
            ),
        });
    }
    if !decision.delete.is_empty() {
        let all: Vec<&Held> = decision.delete.iter().collect();
        notes.push(Note {
            kind: EventKind::Normal,
            reason: "DeletingVMs",
            message: format!(
                "{FORCE_DISABLE} is true: deleting {} and what they own",
                switch::listed("VM", &all)
            ),
        });
    }
    if before != Some(decision.phase) && before.is_some() {
        notes.extend(change(&decision));
    }
    Plan {
        check: due.check,
        status,
        phase: decision.phase,
        notes,
        delete: decision.delete,
    }
}

/// The Event of a change of phase.
fn change(decision: &Decision) -> Option<Note> {
    let (kind, reason, message) = match decision.phase {
        RuntimePhase::Enabled => (
            EventKind::Normal,
            "Enabled",
            "the VM stack starts".to_owned(),
        ),
        RuntimePhase::Disabled => (
            EventKind::Normal,
            "Disabled",
            "the VM stack has stopped".to_owned(),
        ),
        RuntimePhase::VMsExist => (EventKind::Warning, "VMsExist", kept(decision)),
        RuntimePhase::Disabling => return None,
    };
    Some(Note {
        kind,
        reason,
        message,
    })
}

fn kept(decision: &Decision) -> String {
    format!(
        "spec.enabled is not true, but {} exist: they are kept, and so is the runtime; delete them, or set the annotation {FORCE_DISABLE} to \"true\" to have them deleted",
        decision.waits_for
    )
}

/// The status.
fn status(
    facts: &Facts,
    decision: &Decision,
    latest: Option<&Check>,
    now: Timestamp,
) -> VMRuntimeStatus {
    let spec = &facts.runtime.spec;
    let mut status = facts.runtime.status.clone().unwrap_or_default();
    let (ready, reason, message) = readiness(facts, decision, latest);
    status.phase = Some(decision.phase);
    status.ready = ready;
    // Importers write raw images only, so far.
    status.effective_vm_image_format = Some(VmImageFormat::Raw);
    status.storage = Some(settings::storage(spec, &facts.classes));
    status.feature_gates = settings::feature_gates();
    status.observed_generation = facts.runtime.metadata.generation;
    let generation = facts.runtime.metadata.generation;
    let mut say = |type_: &str, holds: bool, reason: &str, message: String| {
        let condition = Condition {
            type_: type_.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Time(now),
            observed_generation: generation,
        };
        set_condition(&mut status.conditions, condition, now);
    };
    say("Ready", ready, reason, message);
    let (emulated, reason, message) = emulation(facts);
    say("SoftwareEmulation", emulated, reason, message);
    for (type_, holds, reason, message) in settings::words(spec, &facts.classes) {
        say(type_, holds, reason, message);
    }
    status
}

fn readiness(
    facts: &Facts,
    decision: &Decision,
    latest: Option<&Check>,
) -> (bool, &'static str, String) {
    match decision.phase {
        RuntimePhase::Enabled => {}
        RuntimePhase::Disabled => {
            let message = "spec.enabled is not true: run `ferrovirt enable vmruntime`".to_owned();
            return (false, "Disabled", message);
        }
        RuntimePhase::VMsExist => return (false, "VMsExist", kept(decision)),
        RuntimePhase::Disabling => {
            let message = format!("waits for the end of {}", decision.waits_for);
            return (false, "Disabling", message);
        }
    }
    match verdict(latest) {
        Verdict::Passed => {}
        Verdict::Running(message) => return (false, PREFLIGHT_RUNNING, message),
        Verdict::Failed(message) => return (false, PREFLIGHT_FAILED, message),
    }
    for name in [component::VIRT_CONTROLLER, component::CDI_DEPLOYMENT] {
        let mut all = facts.components.iter().filter(|c| c.component == name);
        if all.clone().any(|c| c.ready) {
            continue;
        }
        let why = all.next().map_or("not started yet", |c| c.why.as_str());
        return (false, "ComponentsNotReady", format!("{name}: {why}"));
    }
    let agents = |node: &NodeFacts| {
        let of =
            |c: &&ComponentFacts| c.component == component::VIRT_HANDLER && c.node == node.name;
        facts.components.iter().filter(of).any(|c| c.ready)
    };
    let skipped = |node: &NodeFacts| {
        let same = |n: &&preflight::NodeFacts| n.name == node.name;
        facts.checked.iter().find(same).is_some_and(|n| n.skipped)
    };
    let able: Vec<&NodeFacts> = facts
        .nodes
        .iter()
        .filter(|n| n.schedulable && agents(n) && !skipped(n))
        .collect();
    if able.is_empty() {
        let message = format!(
            "no node takes VMs yet ({} nodes, none with the label {SCHEDULABLE_LABEL}=true and a ready {})",
            facts.nodes.len(),
            component::VIRT_HANDLER
        );
        return (false, "NoNodes", message);
    }
    let hardware_only = facts.runtime.spec.emulation() == EmulationPolicy::Never;
    if hardware_only && !able.iter().any(|n| n.kvm == Some(true)) {
        let message = format!(
            "spec.useEmulation is false and no node has usable hardware virtualization ({}); set it to true or unset it",
            findings(&facts.nodes)
        );
        return (false, "NoHardwareVirtualization", message);
    }
    let message = match able.len() {
        1 => "1 node takes VMs".to_owned(),
        n => format!("{n} nodes take VMs"),
    };
    (true, "Enabled", message)
}

fn emulation(facts: &Facts) -> (bool, &'static str, String) {
    match facts.runtime.spec.emulation() {
        EmulationPolicy::Always => (
            true,
            "UseEmulation",
            "spec.useEmulation is true: guests that start from now on are emulated".to_owned(),
        ),
        EmulationPolicy::Never => (
            false,
            "HardwareDemanded",
            "spec.useEmulation is false: guests run with hardware virtualization or not at all"
                .to_owned(),
        ),
        EmulationPolicy::Automatic => {
            let slow: Vec<NodeFacts> = facts
                .nodes
                .iter()
                .filter(|n| n.kvm == Some(false))
                .cloned()
                .collect();
            if slow.is_empty() {
                let message = "every node that was probed has usable hardware virtualization";
                (false, "HardwareUsable", message.to_owned())
            } else {
                let message = format!(
                    "guests are emulated, which is many times slower than hardware, on: {}",
                    findings(&slow)
                );
                (true, "KvmUnusable", message)
            }
        }
    }
}

fn findings(nodes: &[NodeFacts]) -> String {
    let all: Vec<String> = nodes
        .iter()
        .map(|n| format!("{}: {}", n.name, n.finding))
        .collect();
    all.join("; ")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
