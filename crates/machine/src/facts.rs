//! What is known of the host that a machine is resolved against.

use std::collections::BTreeMap;

use crate::spec::{Accelerator, CpuSpec, DiskBacking, ImageFormat};

/// What is known of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// How guest code is to run.
    pub accelerator: Accelerator,
    /// Machine types of the host's QEMU.
    pub machine_types: Vec<MachineType>,
    /// CPU models of the host's QEMU, by name.
    pub cpu_models: Vec<String>,
    /// The model that the probe found to work for `host-model` and `host-passthrough`, with hardware virtualization.
    pub host_cpu: Option<HostCpu>,
    /// What the node prepared for each volume, by the volume's name.
    pub volumes: BTreeMap<String, VolumeFacts>,
}

/// A machine type of the host's QEMU (`query-machines`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineType {
    /// Name, e.g. `pc-q35-7.2`.
    pub name: String,
    /// Another name for it, e.g. `q35`.
    pub alias: Option<String>,
    /// Processors it can have.
    pub max_cpus: u32,
}

/// A CPU model with what the probe had to switch off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCpu {
    /// QEMU's model, e.g. `host`.
    pub model: String,
    /// Features switched on or off, e.g. `arch-capabilities` off.
    pub features: Vec<(String, bool)>,
}

/// What the node prepared for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Path of the image or device, absolute or relative to the run directory.
    pub path: String,
    /// Format of the image.
    pub format: ImageFormat,
    /// What the path is.
    pub backing: DiskBacking,
    /// Whether it can be opened with O_DIRECT.
    pub direct_io: bool,
    /// Whether it may not be written, whatever the disk says.
    pub read_only: bool,
}

impl HostFacts {
    /// The machine type of this name or alias.
    pub(crate) fn machine_type(&self, name: &str) -> Option<&MachineType> {
        self.machine_types
            .iter()
            .find(|m| m.name == name || m.alias.as_deref() == Some(name))
    }

    /// The CPU for this name of the API, without topology.
    pub(crate) fn cpu(&self, name: &str) -> Option<CpuSpec> {
        let (model, features) = match (name, self.accelerator) {
            ("host-model" | "host-passthrough", Accelerator::Tcg) => ("max".to_owned(), Vec::new()),
            ("host-model" | "host-passthrough", Accelerator::Kvm) => {
                let cpu = self.host_cpu.clone()?;
                (cpu.model, cpu.features)
            }
            // QEMU's own `host` is reached by host-passthrough only, after the probe.
            ("host", _) => return None,
            (name, _) => (
                self.cpu_models.iter().find(|m| *m == name)?.clone(),
                Vec::new(),
            ),
        };
        Some(CpuSpec {
            model,
            features,
            sockets: 1,
            cores: 1,
            threads: 1,
        })
    }
}
