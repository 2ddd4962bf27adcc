//! What is found out about a host, as data: it crosses from the probes' processes to the judge.

use host::clock::ClockFacts;
use host::cpu::CpuFacts;
use host::kernel::KernelFacts;
use host::kvm::{KvmReason, KvmReport};
use host::memory::MemoryFacts;
use host::storage::StorageFacts;
use serde::{Deserialize, Serialize};

/// What a probe has found; or why it has found nothing, in a sentence.
pub type Found<T> = Result<T, String>;

/// One aspect of a host: one probe, one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// Processors.
    Cpu,
    /// Hardware virtualization.
    Kvm,
    /// The emulator, its machines and firmware.
    Qemu,
    /// Namespaces, control groups, nftables, tap devices.
    Kernel,
    /// Room in the data directory.
    Disk,
    /// Memory.
    Memory,
    /// The clock.
    Time,
    /// What confines QEMU.
    Sandbox,
}

impl Aspect {
    /// All of them, in the order of results.
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Kvm,
        Self::Qemu,
        Self::Kernel,
        Self::Disk,
        Self::Memory,
        Self::Time,
        Self::Sandbox,
    ];

    /// `checkName` of its result.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Kvm => "KVM",
            Self::Qemu => "QEMU",
            Self::Kernel => "Kernel",
            Self::Disk => "Disk",
            Self::Memory => "Memory",
            Self::Time => "Time",
            Self::Sandbox => "Sandbox",
        }
    }

    /// By that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }
}

/// All that is known of a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Processors.
    pub cpu: Found<CpuFacts>,
    /// Hardware virtualization; nothing where it was not looked for, since guests are to be emulated.
    pub kvm: Option<Found<KvmFacts>>,
    /// The emulator.
    pub qemu: Found<QemuFacts>,
    /// The kernel.
    pub kernel: Found<KernelFacts>,
    /// The file system of the data directory.
    pub disk: Found<StorageFacts>,
    /// Memory.
    pub memory: Found<MemoryFacts>,
    /// The clock.
    pub time: Found<TimeFacts>,
    /// Confinement.
    pub sandbox: Found<SandboxFacts>,
}

/// Hardware virtualization, as tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvmFacts {
    /// By the user that QEMU runs as.
    pub as_qemu: KvmReport,
    /// By root, where that user may not open the device: is it a matter of permission alone?
    pub as_root: Option<KvmReport>,
}

impl KvmFacts {
    /// The verdict on KVM for guests on this host, in words an administrator can act on.
    #[must_use]
    pub fn report(&self) -> KvmReport {
        let report = self.as_qemu.clone();
        match &self.as_root {
            Some(root) if report.reason == KvmReason::NotPermitted && root.usable => KvmReport {
                message: "KVM works, but the user that QEMU runs as (uid 107) may not open /dev/kvm: give it to the group kvm (chgrp kvm /dev/kvm && chmod 660 /dev/kvm, and a udev rule that keeps it so).".to_owned(),
                ..report
            },
            Some(root) if report.reason == KvmReason::NotPermitted => KvmReport {
                message: format!("{} (Besides, the user that QEMU runs as, uid 107, may not open /dev/kvm.)", root.message),
                usable: false,
                ..root.clone()
            },
            _ => report,
        }
    }
}

/// The emulator and what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QemuFacts {
    /// First two numbers of its version.
    pub version: (u32, u32),
    /// Names and aliases of its machine types.
    pub machine_types: Vec<String>,
    /// Version of the SeaBIOS image that its `q35` machines start with; empty where the image does not tell.
    pub seabios: Found<String>,
}

/// The clock, and how far it is from the API server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFacts {
    /// The host's.
    pub clock: ClockFacts,
    /// Seconds that the API server's is ahead of it; nothing where the server is in this process and has no other.
    pub skew_seconds: Option<i64>,
}

/// What confines QEMU, as tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxFacts {
    /// User and group that the probe ran as.
    pub user: (u32, u32),
    /// Whether `no_new_privs` was set and no capability left.
    pub unprivileged: bool,
    /// Version of Landlock's interface; nothing without it.
    pub landlock: Option<u32>,
    /// Whether a QEMU started under all that, and its seccomp filter was in force.
    pub qemu: Found<()>,
}
