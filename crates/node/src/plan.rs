//! What to ask of a launcher, and what to say about its guest. Pure.

use api::kubevirt::{
    Condition, CpuTopology, MachineStatus, MemoryStatus, PhaseTransition,
    VirtualMachineInstance as Vmi, VirtualMachineInstanceStatus as Status, VmiPhase, VolumeStatus,
    set_condition,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use launcher_api::{LauncherState, Phase};
use machine::{Accelerator, MachineSpec};

/// Deadlines are seconds apart from deletions, which are written in whole seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// What the agent sees of a VMI's launcher.
#[derive(Debug, Clone)]
pub(crate) enum Launcher {
    /// It does not answer (yet).
    Silent,
    /// What it says.
    Says(Box<LauncherState>),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing; news will come.
    Nothing,
    /// Prepare and start the guest.
    Start,
    /// Write down that the guest runs, or is paused.
    Report,
    /// Ask the guest to power off within so many seconds, and write down that it was.
    Shutdown { grace_seconds: u32 },
}

/// Whether a VMI is the agent's now.
pub(crate) fn is_ours(vmi: &Vmi, node: &str) -> bool {
    let status = vmi.status.as_ref();
    status.and_then(|s| s.node_name.as_deref()) == Some(node)
        && matches!(
            status.and_then(|s| s.phase),
            Some(VmiPhase::Scheduled | VmiPhase::Running)
        )
}

/// Decides.
pub(crate) fn decide(vmi: &Vmi, launcher: &Launcher) -> Action {
    let going = vmi.metadata.deletion_timestamp.is_some();
    match launcher {
        Launcher::Silent => Action::Nothing,
        Launcher::Says(state) => match state.phase {
            Phase::Idle if going => Action::Nothing,
            Phase::Idle => Action::Start,
            _ if going => shutdown(vmi, state),
            Phase::Running | Phase::Paused { .. } | Phase::ShuttingDown { .. } => Action::Report,
            Phase::Starting | Phase::Ended { .. } => Action::Nothing,
        },
    }
}

/// The Pod's end asks the launcher to shut down with the grace period that the guest started with; a
/// shorter one that was asked for since (`virtctl stop --grace-period`) is passed on here.
fn shutdown(vmi: &Vmi, state: &LauncherState) -> Action {
    let grace = vmi.spec.grace_period_seconds().max(0);
    let since = vmi.metadata.deletion_timestamp.as_ref().map(|t| t.0);
    let due = since.and_then(|t| t.checked_add(SignedDuration::from_secs(grace)).ok());
    match &state.phase {
        Phase::ShuttingDown { deadline } if due.is_none_or(|due| *deadline <= due + SLACK) => {
            Action::Report
        }
        Phase::Running | Phase::Paused { .. } | Phase::ShuttingDown { .. } => Action::Shutdown {
            grace_seconds: u32::try_from(grace).unwrap_or(u32::MAX),
        },
        Phase::Idle | Phase::Starting | Phase::Ended { .. } => Action::Nothing,
    }
}

/// The status of a guest that runs, or is paused.
pub(crate) fn report(vmi: &Vmi, state: &LauncherState, now: Timestamp) -> Status {
    let mut status = vmi.status.clone().unwrap_or_default();
    let since = state.times.running.unwrap_or(now);
    enter_running(&mut status, since);
    let paused = match &state.phase {
        Phase::Paused { reason } => Some(reason.as_str()),
        _ => None,
    };
    let mut say = |condition| set_condition(&mut status.conditions, condition);
    say(Condition::new("Synchronized", true, "", "", now));
    match (&state.phase, vmi.metadata.deletion_timestamp.is_some()) {
        (Phase::ShuttingDown { deadline }, _) => {
            let message = format!(
                "the guest was asked to power off; it will be ended by force at {deadline:.0}"
            );
            say(Condition::new(
                "Ready",
                false,
                "GuestShuttingDown",
                &message,
                now,
            ));
        }
        (_, true) => say(Condition::new(
            "Ready",
            false,
            "PodTerminating",
            "virt-launcher pod is terminating",
            now,
        )),
        _ => say(Condition::new("Ready", true, "", "", now)),
    }
    match paused {
        Some("User") => say(Condition::new(
            "Paused",
            true,
            "PausedByUser",
            "VMI was paused by user",
            now,
        )),
        Some(why) => {
            let message = format!("VMI was paused by QEMU: {why}");
            say(Condition::new(
                "Paused",
                true,
                "PausedIOError",
                &message,
                now,
            ));
        }
        None => status.conditions.retain(|c| c.type_ != "Paused"),
    }
    status
}

/// What is known of the machine once it is resolved.
pub(crate) fn describe(status: &mut Status, spec: &MachineSpec, now: Timestamp, emulated: &str) {
    status.machine = Some(MachineStatus {
        type_: spec.machine_type.clone(),
    });
    status.current_cpu_topology = Some(CpuTopology {
        cores: Some(spec.cpu.cores),
        sockets: Some(spec.cpu.sockets),
        threads: Some(spec.cpu.threads),
    });
    let memory = Some(Quantity(format!("{}Mi", spec.memory_bytes >> 20)));
    status.memory = Some(MemoryStatus {
        guest_at_boot: memory.clone(),
        guest_current: memory.clone(),
        guest_requested: memory,
    });
    let mut letters = ('a'..='z').cycle();
    let disks = spec.disks.iter().map(|disk| VolumeStatus {
        name: disk.name.clone(),
        target: match disk.bus {
            machine::DiskBus::Virtio => format!("vd{}", letters.next().unwrap_or('a')),
            machine::DiskBus::Sata | machine::DiskBus::Scsi => String::new(),
        },
        ..VolumeStatus::default()
    });
    status.volume_status = disks.collect();
    let condition = match spec.accelerator {
        Accelerator::Tcg => Condition::new("SoftwareEmulation", true, "Emulated", emulated, now),
        Accelerator::Kvm => Condition::new("SoftwareEmulation", false, "Hardware", "", now),
    };
    set_condition(&mut status.conditions, condition);
}

/// The guest cannot be started: says why.
pub(crate) fn refuse(vmi: &Vmi, message: &str, now: Timestamp) -> Status {
    let mut status = vmi.status.clone().unwrap_or_default();
    for (type_, reason) in [("Synchronized", "SyncFailed"), ("Ready", "SyncFailed")] {
        set_condition(
            &mut status.conditions,
            Condition::new(type_, false, reason, message, now),
        );
    }
    status.reason = Some("SyncFailed".to_owned());
    status
}

fn enter_running(status: &mut Status, since: Timestamp) {
    status.reason = None;
    if status.phase == Some(VmiPhase::Running) {
        return;
    }
    status.phase = Some(VmiPhase::Running);
    status.phase_transition_timestamps.push(PhaseTransition {
        phase: VmiPhase::Running,
        phase_transition_timestamp: Time(since),
    });
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
