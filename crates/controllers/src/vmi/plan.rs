//! What to do about a VMI, and what to say about it. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use reconcile::EventKind;

use super::pod;
use crate::runtime::{DISABLED, RuntimeFacts};
use api::cdi::{DataVolume, DataVolumePhase};
use api::kubevirt::{
    Condition, PhaseTransition, VMI_FINALIZER, VirtualMachineInstance as Vmi,
    VirtualMachineInstanceStatus as Status, VmiPhase, Volume, set_condition,
};
use api::vmruntime::EmulationPolicy;
use reconcile::Note;

/// Node label: whether the node agent takes VMs (KubeVirt's).
pub const SCHEDULABLE_LABEL: &str = "kubevirt.io/schedulable";
/// Node label: whether the node's KVM passed the probe.
pub const KVM_LABEL: &str = "ferrovirt.io/kvm";
/// Node annotation: what the probe found, in a sentence.
pub const KVM_ANNOTATION: &str = "ferrovirt.io/kvm-probe";

/// A VMI's claim, and who fills it.
#[derive(Debug, Clone)]
pub(super) struct VolumeFacts {
    pub volume: String,
    pub claim_name: String,
    pub is_data_volume: bool,
    pub claim: Option<PersistentVolumeClaim>,
    pub data_volume: Option<DataVolume>,
}

/// What a node says of its hardware virtualization.
#[derive(Debug, Clone)]
pub(super) struct NodeKvm {
    node: String,
    usable: bool,
    finding: String,
}

impl NodeKvm {
    pub(super) fn of(node: &Node) -> Self {
        let finding = node.annotations().get(KVM_ANNOTATION);
        Self {
            node: node.name_any(),
            usable: node.labels().get(KVM_LABEL).is_some_and(|v| v == "true"),
            finding: finding
                .cloned()
                .unwrap_or_else(|| "not probed yet".to_owned()),
        }
    }
}

/// All that a decision needs.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub vmi: Arc<Vmi>,
    pub runtime: RuntimeFacts,
    pub pods: Vec<Pod>,
    pub volumes: Vec<VolumeFacts>,
    pub kvm: Vec<NodeKvm>,
    /// Name of the launcher Pod, when a Pod of that name belongs to somebody else.
    pub name_taken: Option<String>,
}

/// The decision.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub status: Option<Status>,
    pub step: Step,
    pub event: Option<Note>,
}

/// One thing to do, after the status is written.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    AddFinalizer,
    RemoveFinalizer,
    MakePod(Box<Pod>),
    DeletePod { name: String, grace_seconds: u32 },
}

/// The claim that a volume needs, and whether a DataVolume fills it.
pub(super) fn claim_of(volume: &Volume) -> Option<(&str, bool)> {
    if let Some(source) = &volume.data_volume {
        return Some((&source.name, true));
    }
    let source = volume.persistent_volume_claim.as_ref()?;
    Some((&source.claim_name, false))
}

/// Decides.
pub(super) fn decide(facts: &Facts, now: Timestamp) -> Plan {
    let mut status = facts.vmi.status.clone().unwrap_or_default();
    let (step, event) = if facts.vmi.metadata.deletion_timestamp.is_some() {
        (deletion(facts, &mut status, now), None)
    } else {
        life(facts, &mut status, now)
    };
    Plan {
        status: Some(status),
        step,
        event,
    }
}

/// What is said of a VMI that is not acted upon, because the runtime is disabled.
pub(crate) fn waits(vmi: &Vmi, now: Timestamp) -> (Option<Status>, Option<Note>) {
    let mut status = vmi.status.clone().unwrap_or_default();
    if status.phase.is_some_and(VmiPhase::is_final) {
        return (None, None);
    }
    enter(&mut status, VmiPhase::Pending, now);
    not_ready(&mut status, "VMRuntimeDisabled", DISABLED, now);
    (Some(status), Some(warning("VMRuntimeDisabled", DISABLED)))
}

fn deletion(facts: &Facts, status: &mut Status, now: Timestamp) -> Step {
    if let Some(pod) = facts.pods.first() {
        finish_with(status, pod, now);
        let running = facts
            .pods
            .iter()
            .find(|p| p.metadata.deletion_timestamp.is_none());
        return match running {
            Some(pod) => Step::DeletePod {
                name: pod.name_any(),
                grace_seconds: pod::grace_seconds(&facts.vmi),
            },
            None => Step::Nothing,
        };
    }
    if !status.phase.is_some_and(VmiPhase::is_final) {
        enter(status, VmiPhase::Succeeded, now);
    }
    let ours = facts.vmi.finalizers().iter().any(|f| f == VMI_FINALIZER);
    if ours {
        Step::RemoveFinalizer
    } else {
        Step::Nothing
    }
}

fn life(facts: &Facts, status: &mut Status, now: Timestamp) -> (Step, Option<Note>) {
    if !facts.vmi.finalizers().iter().any(|f| f == VMI_FINALIZER) {
        return (Step::AddFinalizer, None);
    }
    let phase = status.phase.unwrap_or(VmiPhase::Pending);
    if phase.is_final() {
        return (Step::Nothing, None);
    }
    if let Some(pod) = facts.pods.first() {
        let event = follow(facts, status, pod, phase, now);
        return (Step::Nothing, event);
    }
    if phase != VmiPhase::Pending {
        let message = "the launcher Pod is gone without the guest having been shut down";
        not_ready(status, "PodNotExists", message, now);
        status.reason = Some("PodNotExists".to_owned());
        enter(status, VmiPhase::Failed, now);
        return (Step::Nothing, Some(warning("PodNotExists", message)));
    }
    enter(status, VmiPhase::Pending, now);
    if let Some((reason, message)) = waits_for(facts) {
        not_ready(status, reason, &message, now);
        volumes_ready(facts, status, reason, &message, now);
        return (Step::Nothing, Some(news(facts, reason, &message)));
    }
    volumes_ready(facts, status, "", "", now);
    not_ready(
        status,
        "PodNotExists",
        "virt-launcher pod is being created",
        now,
    );
    let pod = pod::launcher(&facts.vmi, facts.runtime.emulation);
    (Step::MakePod(Box::new(pod)), None)
}

/// Why the Pod cannot be made yet.
fn waits_for(facts: &Facts) -> Option<(&'static str, String)> {
    if let Some((reason, why)) = facts.runtime.closed() {
        return Some((reason, why.to_owned()));
    }
    if facts.runtime.emulation == EmulationPolicy::Never && !facts.kvm.iter().any(|n| n.usable) {
        let nodes: Vec<String> = facts
            .kvm
            .iter()
            .map(|n| format!("{}: {}", n.node, n.finding))
            .collect();
        return Some((
            "NoHardwareVirtualization",
            format!(
                "spec.useEmulation of VMRuntime vmruntime is false and no node has usable hardware virtualization ({}); set it to true or unset it",
                nodes.join("; ")
            ),
        ));
    }
    if let Some(name) = &facts.name_taken {
        return Some((
            "FailedCreate",
            format!("a Pod {name} exists and does not belong to this VMI: delete it"),
        ));
    }
    facts.volumes.iter().find_map(volume_waits)
}

fn volume_waits(v: &VolumeFacts) -> Option<(&'static str, String)> {
    let name = &v.claim_name;
    if v.is_data_volume && v.data_volume.is_none() && v.claim.is_none() {
        return Some((
            "FailedPvcNotFound",
            format!("volume {:?}: DataVolume {name} does not exist", v.volume),
        ));
    }
    if let Some(dv) = &v.data_volume {
        let status = dv.status.clone().unwrap_or_default();
        if status.phase != Some(DataVolumePhase::Succeeded) {
            let why = status
                .conditions
                .iter()
                .find(|c| c.type_ == "Ready")
                .and_then(|c| c.message.clone())
                .unwrap_or_default();
            let phase = status.phase.map_or("not seen yet", DataVolumePhase::as_str);
            let progress = status.progress.map(|p| format!(" {p}")).unwrap_or_default();
            let why = if why.is_empty() {
                why
            } else {
                format!(": {why}")
            };
            return Some((
                "NotAllDVsReady",
                format!(
                    "volume {:?} waits for DataVolume {}: {phase}{progress}{why}",
                    v.volume,
                    dv.name_any()
                ),
            ));
        }
    }
    let Some(claim) = &v.claim else {
        return Some((
            "FailedPvcNotFound",
            format!("volume {:?}: PVC {name} does not exist", v.volume),
        ));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Some((
            "FailedPvcNotFound",
            format!("volume {:?}: PVC {name} is being deleted", v.volume),
        ));
    }
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    (phase != Some("Bound")).then(|| {
        (
            "PVCNotReady",
            format!("volume {:?} waits for PVC {name} to be bound", v.volume),
        )
    })
}

/// Follows the Pod, until the node agent takes over and after it is done.
fn follow(
    facts: &Facts,
    status: &mut Status,
    pod: &Pod,
    phase: VmiPhase,
    now: Timestamp,
) -> Option<Note> {
    if finish_with(status, pod, now) {
        return status
            .reason
            .clone()
            .filter(|_| status.phase == Some(VmiPhase::Failed))
            .map(|reason| warning("Stopped", &format!("the guest has failed: {reason}")));
    }
    if matches!(phase, VmiPhase::Scheduled | VmiPhase::Running) {
        return None;
    }
    let pod_phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
    if let (Some("Running"), Some(node)) = (pod_phase, node) {
        remove(status, "PodScheduled");
        status
            .active_pods
            .insert(pod.uid().unwrap_or_default(), node.clone());
        status.node_name = Some(node);
        status.launcher_container_image_version = Some(crate::IMAGE.to_owned());
        status.qos_class = pod.status.as_ref().and_then(|s| s.qos_class.clone());
        status.runtime_user = u64::try_from(crate::RUN_AS).ok();
        status.observed_generation = facts.vmi.metadata.generation;
        enter(status, VmiPhase::Scheduled, now);
        not_ready(
            status,
            "GuestNotRunning",
            "Guest VM is not reported as running",
            now,
        );
        return None;
    }
    enter(status, VmiPhase::Scheduling, now);
    match unscheduled(pod) {
        Some(condition) => {
            let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
            let message = condition.message.as_deref().unwrap_or_default();
            set_condition(
                &mut status.conditions,
                Condition::new("PodScheduled", false, reason, message, now),
            );
            not_ready(status, "GuestNotRunning", message, now);
        }
        None => {
            remove(status, "PodScheduled");
            let (reason, message) = starting(pod);
            not_ready(status, &reason, &message, now);
        }
    }
    None
}

/// Takes a Pod that has ended over into the phase; says whether it had.
fn finish_with(status: &mut Status, pod: &Pod, now: Timestamp) -> bool {
    if status.phase.is_some_and(VmiPhase::is_final) {
        return false;
    }
    let final_phase = match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
        Some("Succeeded") => VmiPhase::Succeeded,
        Some("Failed") => VmiPhase::Failed,
        _ => return false,
    };
    let ended = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten())
        .find_map(|c| c.state.as_ref()?.terminated.as_ref());
    let why = ended
        .and_then(|t| t.message.clone())
        .filter(|m| !m.trim().is_empty())
        .or_else(|| pod.status.as_ref().and_then(|s| s.message.clone()));
    let message = why
        .clone()
        .unwrap_or_else(|| "the guest has ended".to_owned());
    if final_phase == VmiPhase::Failed {
        status.reason = why.or_else(|| Some("PodFailed".to_owned()));
    }
    enter(status, final_phase, now);
    not_ready(status, "PodCompleted", message.trim(), now);
    true
}

fn unscheduled(pod: &Pod) -> Option<&PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False")
}

/// What a Pod that is on its way waits for.
fn starting(pod: &Pod) -> (String, String) {
    let waiting = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten())
        .find_map(|c| c.state.as_ref()?.waiting.as_ref());
    let reason = waiting.and_then(|w| w.reason.clone());
    let message = waiting.and_then(|w| w.message.clone());
    (
        reason.unwrap_or_else(|| "GuestNotRunning".to_owned()),
        message.unwrap_or_else(|| format!("waiting for Pod {} to run", pod.name_any())),
    )
}

fn enter(status: &mut Status, phase: VmiPhase, now: Timestamp) {
    if status.phase == Some(phase) {
        return;
    }
    status.phase = Some(phase);
    if !status
        .phase_transition_timestamps
        .iter()
        .any(|t| t.phase == phase)
    {
        status.phase_transition_timestamps.push(PhaseTransition {
            phase,
            phase_transition_timestamp: Time(now),
        });
    }
}

fn not_ready(status: &mut Status, reason: &str, message: &str, now: Timestamp) {
    set_condition(
        &mut status.conditions,
        Condition::new("Ready", false, reason, message, now),
    );
}

fn volumes_ready(facts: &Facts, status: &mut Status, reason: &str, message: &str, now: Timestamp) {
    if !facts.volumes.iter().any(|v| v.data_volume.is_some()) {
        return;
    }
    let condition = if matches!(reason, "NotAllDVsReady" | "FailedPvcNotFound") {
        Condition::new("DataVolumesReady", false, "NotAllDVsReady", message, now)
    } else {
        let all = "All of the VMI's DVs are bound and ready";
        Condition::new("DataVolumesReady", true, "AllDVsReady", all, now)
    };
    set_condition(&mut status.conditions, condition);
}

fn remove(status: &mut Status, type_: &str) {
    status.conditions.retain(|c| c.type_ != type_);
}

/// The Event for what is waited for. Progress is for the status: an Event for each percent would
/// drown the rest.
fn news(facts: &Facts, reason: &'static str, message: &str) -> Note {
    if reason != "NotAllDVsReady" {
        return warning(reason, message);
    }
    let unready = facts.volumes.iter().filter_map(|v| v.data_volume.as_ref());
    let names: Vec<String> = unready
        .filter(|d| d.status.as_ref().and_then(|s| s.phase) != Some(DataVolumePhase::Succeeded))
        .map(ResourceExt::name_any)
        .collect();
    Note {
        kind: EventKind::Normal,
        reason,
        message: format!("waiting for DataVolumes: {}", names.join(", ")),
    }
}

fn warning(reason: &'static str, message: &str) -> Note {
    Note {
        kind: EventKind::Warning,
        reason,
        message: message.to_owned(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
