//! A VM as the launcher gets it: every default filled in, every name resolved against the host.

use serde::{Deserialize, Serialize};

/// One VM, fully resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// `<namespace>_<name>`, as KubeVirt names its domains.
    pub name: String,
    /// UID of the VirtualMachineInstance.
    pub uid: String,
    /// UUID that the guest sees.
    pub uuid: String,
    /// Serial number that the guest sees.
    pub serial: Option<String>,
    /// Processors.
    pub cpu: CpuSpec,
    /// Memory in bytes; a whole number of MiB.
    pub memory_bytes: u64,
    /// Versioned machine type of the host's QEMU, e.g. `pc-q35-7.2`.
    pub machine_type: String,
    /// How guest code runs.
    pub accelerator: Accelerator,
    /// What boots the guest.
    pub firmware: Firmware,
    /// Whether the guest has ACPI tables; without them it cannot be asked to shut down.
    pub acpi: bool,
    /// Disks and CD-ROMs, in the order of the API object.
    pub disks: Vec<DiskSpec>,
    /// Whether there is a serial console.
    pub serial_console: bool,
    /// Whether there is a VGA display, served by VNC.
    pub graphics: bool,
    /// Whether there is a source of random numbers.
    pub rng: bool,
    /// Whether there is a memory balloon.
    pub balloon: bool,
    /// Whether there is a channel for the QEMU guest agent.
    pub guest_agent: bool,
}

/// How guest code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Hardware virtualization.
    Kvm,
    /// Emulation.
    Tcg,
}

/// Processors of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuSpec {
    /// QEMU's model.
    pub model: String,
    /// Features switched on or off on top of the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<(String, bool)>,
    /// Sockets.
    pub sockets: u32,
    /// Cores per socket.
    pub cores: u32,
    /// Threads per core.
    pub threads: u32,
}

impl CpuSpec {
    /// Processors in all.
    pub fn vcpus(&self) -> u32 {
        self.sockets
            .saturating_mul(self.cores)
            .saturating_mul(self.threads)
    }
}

/// What boots the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
}

/// A disk or CD-ROM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskSpec {
    /// Name in the API; a DNS label.
    pub name: String,
    /// Path of the image or device, absolute or relative to the run directory.
    pub path: String,
    /// Format of the image.
    pub format: ImageFormat,
    /// What the path is.
    pub backing: DiskBacking,
    /// How the guest reaches it.
    pub bus: DiskBus,
    /// Serial number that the guest sees.
    pub serial: Option<String>,
    /// Place in the boot order, from 1; none: never booted from.
    pub boot_index: Option<u32>,
    /// Whether the guest may not write.
    pub read_only: bool,
    /// Whether it is a CD-ROM; then it is read-only too.
    pub cdrom: bool,
    /// What the host caches.
    pub cache: CacheMode,
}

impl DiskSpec {
    /// Id of the device in QEMU, as KubeVirt's aliases.
    pub fn device_id(&self) -> String {
        format!("ua-{}", self.name)
    }
}

/// Format of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// What the path of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskBacking {
    /// A file.
    File,
    /// A block device.
    BlockDevice,
}

/// How a guest reaches a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// AHCI.
    Sata,
    /// virtio-scsi.
    Scsi,
}

/// What the host caches of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Nothing (O_DIRECT); the guest's flushes reach the disk.
    None,
    /// Reads; every write reaches the disk before it is acknowledged.
    WriteThrough,
    /// Reads and writes; the guest's flushes reach the disk.
    WriteBack,
}

/// Names of what QEMU makes in the directory that it runs in.
///
/// All are relative: a Unix socket's path is limited to 108 bytes, a Pod's directory is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    /// QMP.
    pub qmp_socket: String,
    /// First serial port.
    pub serial_socket: String,
    /// What the guest wrote to it.
    pub serial_log: String,
    /// VNC.
    pub vnc_socket: String,
    /// Guest agent.
    pub guest_agent_socket: String,
}

impl Default for RunDir {
    fn default() -> Self {
        Self {
            qmp_socket: "qmp.sock".into(),
            serial_socket: "serial0.sock".into(),
            serial_log: "serial0.log".into(),
            vnc_socket: "vnc.sock".into(),
            guest_agent_socket: "qga.sock".into(),
        }
    }
}
