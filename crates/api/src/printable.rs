//! The status of a VM as a person reads it, from the VM, its instance and its volumes.
//!
//! ```text
//! VM, VMI, DataVolumes, claims --print--> printableStatus and the reason for it
//!                              `--vm_status--> status of the VM: that, and the instance's conditions
//! ```
//!
//! A VM that does not run always has a reason: it is in the `Ready` condition.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cdi::{DataVolume, DataVolumePhase};
use crate::kubevirt::{
    Condition, ConditionStatus, RunStrategy, StateChangeAction, VM_GENERATION_ANNOTATION,
    VirtualMachine, VirtualMachineInstance, VirtualMachineStatus, VmiPhase, condition, is_true,
    set_condition,
};

/// `status.printableStatus` of a VirtualMachine, in KubeVirt's words (B-29).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PrintableStatus {
    /// No instance, and none is wanted.
    Stopped,
    /// Disks are being prepared.
    Provisioning,
    /// An instance is on its way.
    Starting,
    /// The guest runs.
    Running,
    /// The guest is paused.
    Paused,
    /// The guest shuts down.
    Stopping,
    /// The VM is being deleted.
    Terminating,
    /// Starts fail; the next one waits.
    CrashLoopBackOff,
    /// Nothing is heard of the node.
    Unknown,
    /// No node fits.
    ErrorUnschedulable,
    /// A claim does not exist.
    ErrorPvcNotFound,
    /// A DataVolume cannot be prepared.
    DataVolumeError,
    /// A volume waits for its first consumer.
    WaitingForVolumeBinding,
}

impl PrintableStatus {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "Stopped",
            Self::Provisioning => "Provisioning",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Stopping => "Stopping",
            Self::Terminating => "Terminating",
            Self::CrashLoopBackOff => "CrashLoopBackOff",
            Self::Unknown => "Unknown",
            Self::ErrorUnschedulable => "ErrorUnschedulable",
            Self::ErrorPvcNotFound => "ErrorPvcNotFound",
            Self::DataVolumeError => "DataVolumeError",
            Self::WaitingForVolumeBinding => "WaitingForVolumeBinding",
        }
    }
}

impl fmt::Display for PrintableStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is seen of a VM.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The VM itself.
    pub vm: &'a VirtualMachine,
    /// Its instance, if there is one.
    pub vmi: Option<&'a VirtualMachineInstance>,
    /// The DataVolumes that its volumes name, as far as they exist.
    pub data_volumes: &'a [DataVolume],
    /// Claims that its volumes name and that do not exist.
    pub missing_claims: &'a [String],
    /// The present time.
    pub now: Timestamp,
}

/// A status together with the sentence that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The status.
    pub status: PrintableStatus,
    /// A CamelCase word on why.
    pub reason: &'static str,
    /// Why, and what to do; empty when the status says it all.
    pub message: String,
}

/// The status of a VM. The order of the rules is KubeVirt's.
pub fn print(facts: &Facts<'_>) -> Printed {
    let said = |status, reason, message: String| Printed {
        status,
        reason,
        message,
    };
    let vmi_status = facts.vmi.and_then(|v| v.status.as_ref());
    let phase = facts.vmi.map(|_| {
        vmi_status
            .and_then(|s| s.phase)
            .unwrap_or(VmiPhase::Pending)
    });
    let live = phase.is_some_and(|p| !p.is_final());
    let conditions = vmi_status
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    if facts.vm.metadata.deletion_timestamp.is_some() {
        return said(
            PrintableStatus::Terminating,
            "VMDeleted",
            "the VM is being deleted".into(),
        );
    }
    if live
        && facts
            .vmi
            .is_some_and(|v| v.metadata.deletion_timestamp.is_some())
    {
        return said(
            PrintableStatus::Stopping,
            "VMIDeleted",
            "the guest is shutting down".into(),
        );
    }
    if phase == Some(VmiPhase::Running) {
        return match condition(conditions, "Paused").filter(|c| c.status == ConditionStatus::True) {
            Some(paused) => said(PrintableStatus::Paused, "Paused", text(paused)),
            None => said(PrintableStatus::Running, "Running", String::new()),
        };
    }
    if phase == Some(VmiPhase::Unknown) {
        let message = "nothing is heard of the node".to_owned();
        return said(PrintableStatus::Unknown, "NodeUnresponsive", message);
    }
    volumes(facts)
        .or_else(|| missing_disk(conditions).filter(|_| live))
        .or_else(|| unschedulable(conditions).filter(|_| live))
        .unwrap_or_else(|| without_obstacle(facts, live, conditions))
}

/// What keeps the VM from starting that lies with its volumes.
fn volumes(facts: &Facts<'_>) -> Option<Printed> {
    if let Some(claim) = facts.missing_claims.first() {
        return Some(Printed {
            status: PrintableStatus::ErrorPvcNotFound,
            reason: "FailedPvcNotFound",
            message: format!("PVC {claim} does not exist; create it or correct the volume"),
        });
    }
    for dv in facts.data_volumes {
        let status = dv.status.as_ref();
        let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
        let of = |type_: &str| conditions.iter().find(|c| c.type_ == type_);
        let error = of("Running").filter(|c| {
            c.status == ConditionStatus::False
                && c.reason
                    .as_deref()
                    .is_some_and(|r| r.contains("Err") || r.contains("Fail"))
        });
        let failed = status.and_then(|s| s.phase) == Some(DataVolumePhase::Failed);
        if failed || error.is_some() {
            let name = dv.metadata.name.as_deref().unwrap_or_default();
            let why = error
                .or_else(|| of("Ready"))
                .and_then(|c| c.message.as_deref());
            return Some(Printed {
                status: PrintableStatus::DataVolumeError,
                reason: "FailedDataVolumeImport",
                message: format!("DataVolume {name}: {}", why.unwrap_or("it failed")),
            });
        }
    }
    facts.data_volumes.iter().find_map(|dv| {
        let status = dv.status.as_ref();
        let name = dv.metadata.name.as_deref().unwrap_or_default();
        let phase = status
            .and_then(|s| s.phase)
            .unwrap_or(DataVolumePhase::Pending);
        match phase {
            DataVolumePhase::Succeeded => None,
            DataVolumePhase::WaitForFirstConsumer => Some(Printed {
                status: PrintableStatus::WaitingForVolumeBinding,
                reason: "WaitForFirstConsumer",
                message: format!("DataVolume {name} waits for the VM to be started"),
            }),
            phase => Some(Printed {
                status: PrintableStatus::Provisioning,
                reason: "NotAllDVsReady",
                message: match status.and_then(|s| s.progress.as_deref()) {
                    Some(progress) => format!("DataVolume {name}: {phase}, {progress}"),
                    None => format!("DataVolume {name}: {phase}"),
                },
            }),
        }
    })
}

/// What the instance says of a DataVolume or a claim that does not exist.
fn missing_disk(conditions: &[Condition]) -> Option<Printed> {
    let ready = condition(conditions, "Ready")?;
    let is = ready.status == ConditionStatus::False
        && ready.reason.as_deref() == Some("FailedPvcNotFound");
    is.then(|| Printed {
        status: PrintableStatus::ErrorPvcNotFound,
        reason: "FailedPvcNotFound",
        message: text(ready),
    })
}

fn unschedulable(conditions: &[Condition]) -> Option<Printed> {
    let scheduled = condition(conditions, "PodScheduled")?;
    let is = scheduled.status == ConditionStatus::False
        && scheduled.reason.as_deref() == Some("Unschedulable");
    is.then(|| Printed {
        status: PrintableStatus::ErrorUnschedulable,
        reason: "Unschedulable",
        message: text(scheduled),
    })
}

/// Nothing stands in the way: starting, waiting after a failed start, or stopped.
fn without_obstacle(facts: &Facts<'_>, live: bool, conditions: &[Condition]) -> Printed {
    let said = |status, reason, message: String| Printed {
        status,
        reason,
        message,
    };
    if live {
        let why = ["Synchronized", "Ready"]
            .into_iter()
            .filter_map(|name| condition(conditions, name))
            .find(|c| c.status == ConditionStatus::False);
        let message = why.map_or_else(|| "the instance is starting".to_owned(), text);
        return said(PrintableStatus::Starting, "VMIStarting", message);
    }
    let status = facts.vm.status.as_ref();
    if !start_expected(facts) {
        return said(
            PrintableStatus::Stopped,
            "VMINotExists",
            "VMI does not exist".into(),
        );
    }
    let failure = status.and_then(|s| s.start_failure.as_ref());
    if let Some(failure) = failure
        && let Some(retry) = failure.retry_after_timestamp.as_ref().map(|t| t.0)
        && retry > facts.now
    {
        let count = failure.consecutive_fail_count.unwrap_or(1);
        let last = facts.vmi.and_then(|v| v.status.as_ref()?.reason.as_deref());
        let last = last.map(|r| format!(" ({r})")).unwrap_or_default();
        let message = format!("{count} failed starts in a row{last}; the next one is at {retry}");
        return said(
            PrintableStatus::CrashLoopBackOff,
            "CrashLoopBackOff",
            message,
        );
    }
    said(
        PrintableStatus::Starting,
        "VMINotExists",
        "VMI does not exist yet".into(),
    )
}

/// Whether an instance is wanted, now that none lives.
fn start_expected(facts: &Facts<'_>) -> bool {
    let ended = facts
        .vmi
        .and_then(|v| v.status.as_ref()?.phase)
        .filter(|p| p.is_final());
    let requests = facts
        .vm
        .status
        .iter()
        .flat_map(|s| &s.state_change_requests);
    let asked = requests
        .into_iter()
        .any(|r| r.action == StateChangeAction::Start);
    match facts.vm.spec.effective_run_strategy() {
        RunStrategy::Halted => false,
        RunStrategy::Manual => asked,
        RunStrategy::Always => true,
        RunStrategy::RerunOnFailure => asked || ended != Some(VmiPhase::Succeeded),
        RunStrategy::Once => asked || ended.is_none(),
    }
}

fn text(condition: &Condition) -> String {
    condition
        .message
        .clone()
        .or_else(|| condition.reason.clone())
        .unwrap_or_default()
}

/// Conditions of a VM that do not come from its instance.
const OWN_CONDITIONS: [&str; 3] = ["Failure", "RestartRequired", "ManualRecoveryRequired"];

/// The status of a VM from what is seen, on top of what it was. Leaves alone what the lifecycle decides
/// (`startFailure`, `stateChangeRequests`) and the conditions that are the controller's own.
pub fn vm_status(facts: &Facts<'_>) -> VirtualMachineStatus {
    let mut status = facts.vm.status.clone().unwrap_or_default();
    let printed = print(facts);
    let vmi_conditions = facts
        .vmi
        .and_then(|v| v.status.as_ref())
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    status.created = Some(facts.vmi.is_some());
    status.ready = Some(is_true(vmi_conditions, "Ready"));
    status.printable_status = Some(printed.status);
    status.run_strategy = Some(facts.vm.spec.effective_run_strategy());
    status.desired_generation = facts.vm.metadata.generation;
    status.observed_generation = facts.vmi.and_then(|vmi| {
        let annotations = vmi.metadata.annotations.as_ref()?;
        annotations.get(VM_GENERATION_ANNOTATION)?.parse().ok()
    });
    status.conditions.retain(|c| {
        OWN_CONDITIONS.contains(&c.type_.as_str())
            || c.type_ == "Ready"
            || condition(vmi_conditions, &c.type_).is_some()
    });
    for c in vmi_conditions {
        if !OWN_CONDITIONS.contains(&c.type_.as_str()) {
            set_condition(&mut status.conditions, c.clone());
        }
    }
    if condition(vmi_conditions, "Ready").is_none() {
        let ready = Condition::new("Ready", false, printed.reason, &printed.message, facts.now);
        set_condition(&mut status.conditions, ready);
    }
    match facts.vmi.filter(|vmi| restart_required(facts.vm, vmi)) {
        Some(_) => set_condition(
            &mut status.conditions,
            Condition::new(
                "RestartRequired",
                true,
                "TemplateChanged",
                "a non-live-updatable field was changed in the template spec",
                facts.now,
            ),
        ),
        None => status.conditions.retain(|c| c.type_ != "RestartRequired"),
    }
    status
}

/// Whether the template asks for something that the instance is not: each field of the template must be in
/// the instance, which has more by its defaults.
pub fn restart_required(vm: &VirtualMachine, vmi: &VirtualMachineInstance) -> bool {
    let ended = vmi
        .status
        .as_ref()
        .and_then(|s| s.phase)
        .is_some_and(VmiPhase::is_final);
    let (Ok(wanted), Ok(found)) = (
        serde_json::to_value(&vm.spec.template.spec),
        serde_json::to_value(&vmi.spec),
    ) else {
        return false;
    };
    !ended && !covers(&found, &wanted)
}

fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            found.get(key).map_or_else(
                || wanted.as_object().is_some_and(serde_json::Map::is_empty),
                |f| covers(f, wanted),
            )
        }),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| covers(f, w))
        }
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests;
