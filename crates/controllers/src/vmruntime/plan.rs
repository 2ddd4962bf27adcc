//! What to say of the VM runtime. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use reconcile::set_condition;

use crate::vmi::{KVM_ANNOTATION, KVM_LABEL, SCHEDULABLE_LABEL};
use api::vmruntime::{EmulationPolicy, VMRuntime, VMRuntimeStatus, VmImageFormat};

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

/// All that the status depends on.
pub(super) struct Facts {
    pub runtime: Arc<VMRuntime>,
    pub nodes: Vec<NodeFacts>,
}

/// The status.
pub(super) fn status(facts: &Facts, now: Timestamp) -> VMRuntimeStatus {
    let spec = &facts.runtime.spec;
    let mut status = facts.runtime.status.clone().unwrap_or_default();
    let (ready, reason, message) = readiness(facts);
    status.ready = ready;
    // Importers write raw images only, so far; what was asked for is answered in a condition.
    status.effective_vm_image_format = Some(VmImageFormat::Raw);
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
    let qcow2 = spec.effective_image_format() == VmImageFormat::Qcow2;
    let (reason, message) = if qcow2 {
        (
            "Qcow2NotHonoured",
            "spec.vmImageFormat asks for qcow2, which this version cannot honour: images are imported as raw",
        )
    } else {
        ("Raw", "images are imported as raw")
    };
    say("ImageFormatHonoured", !qcow2, reason, message.to_owned());
    status
}

fn readiness(facts: &Facts) -> (bool, &'static str, String) {
    if !facts.runtime.spec.is_enabled() {
        let message = "spec.enabled is not true: run `ferrovirt enable vmruntime`".to_owned();
        return (false, "Disabled", message);
    }
    let able: Vec<&NodeFacts> = facts.nodes.iter().filter(|n| n.schedulable).collect();
    if able.is_empty() {
        let message = format!(
            "no node takes VMs yet ({} nodes, none with the label {SCHEDULABLE_LABEL}=true)",
            facts.nodes.len()
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
    (true, "Enabled", format!("{} nodes take VMs", able.len()))
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
mod tests {
    use super::*;
    use api::vmruntime::VMRuntimeSpec;

    fn facts(enabled: Option<bool>, use_emulation: Option<bool>, kvm: Option<bool>) -> Facts {
        let spec = VMRuntimeSpec {
            enabled,
            use_emulation,
            vm_image_format: None,
        };
        Facts {
            runtime: Arc::new(VMRuntime::new("vmruntime", spec)),
            nodes: vec![NodeFacts {
                name: "n1".into(),
                schedulable: true,
                kvm,
                finding: "3,000 times too slow".into(),
            }],
        }
    }

    fn condition(facts: &Facts, type_: &str) -> (String, String, String) {
        let status = status(facts, Timestamp::UNIX_EPOCH);
        let c = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
        (c.status.clone(), c.reason.clone(), c.message.clone())
    }

    #[test]
    fn disabled_until_enabled() {
        let off = facts(None, None, Some(true));
        assert!(!status(&off, Timestamp::UNIX_EPOCH).ready);
        assert_eq!(condition(&off, "Ready").1, "Disabled");
        let on = facts(Some(true), None, Some(true));
        assert!(status(&on, Timestamp::UNIX_EPOCH).ready);
    }

    #[test]
    fn unset_emulation_follows_the_probe_and_says_what_it_found() {
        let slow = condition(&facts(Some(true), None, Some(false)), "SoftwareEmulation");
        assert_eq!((slow.0.as_str(), slow.1.as_str()), ("True", "KvmUnusable"));
        assert!(slow.2.contains("n1: 3,000 times too slow"));
        let fast = condition(&facts(Some(true), None, Some(true)), "SoftwareEmulation");
        assert_eq!(fast.0, "False");
    }

    #[test]
    fn a_format_that_cannot_be_honoured_is_said() {
        let mut qcow2 = facts(Some(true), None, Some(true));
        let mut runtime = (*qcow2.runtime).clone();
        runtime.spec.vm_image_format = Some(VmImageFormat::Qcow2);
        qcow2.runtime = Arc::new(runtime);
        let found = status(&qcow2, Timestamp::UNIX_EPOCH);
        assert_eq!(found.effective_vm_image_format, Some(VmImageFormat::Raw));
        assert_eq!(condition(&qcow2, "ImageFormatHonoured").0, "False");
    }

    #[test]
    fn demanded_hardware_that_is_not_there_is_not_ready() {
        let never = facts(Some(true), Some(false), Some(false));
        assert!(!status(&never, Timestamp::UNIX_EPOCH).ready);
        let (_, reason, message) = condition(&never, "Ready");
        assert_eq!(reason, "NoHardwareVirtualization");
        assert!(message.contains("3,000 times too slow"));
    }
}
