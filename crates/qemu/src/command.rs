//! The commands Ferrovirt uses, typed (QEMU's QMP reference). Anything else can be sent with [`crate::Qmp::raw`].

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::version::Version;

/// A command: its name, its arguments (itself) and what it returns.
pub trait Command: Serialize + Send {
    /// QEMU's name of it.
    const NAME: &'static str;
    /// What it returns.
    type Return: DeserializeOwned + Send;
}

/// The empty object most commands return; what it may hold one day is ignored.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Empty {}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $qmp:literal -> $returns:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Serialize)]
        pub struct $name {}
        impl Command for $name {
            const NAME: &'static str = $qmp;
            type Return = $returns;
        }
    )*};
}

commands! {
    /// Run state of the machine.
    QueryStatus = "query-status" -> Status;
    /// Let the virtual CPUs run.
    Cont = "cont" -> Empty;
    /// Stop the virtual CPUs.
    Stop = "stop" -> Empty;
    /// Press the power button (ACPI).
    SystemPowerdown = "system_powerdown" -> Empty;
    /// Press the reset button.
    SystemReset = "system_reset" -> Empty;
    /// End QEMU.
    Quit = "quit" -> Empty;
    /// The virtual CPUs, without disturbing them.
    QueryCpusFast = "query-cpus-fast" -> Vec<Cpu>;
    /// Version of QEMU.
    QueryVersion = "query-version" -> Version;
    /// The block devices.
    QueryBlock = "query-block" -> Vec<BlockDevice>;
}

/// Plug a device in.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceAdd {
    /// Name of the device's type.
    pub driver: String,
    /// Its id.
    pub id: String,
    /// Its bus, where it needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// Properties of its type.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

impl Command for DeviceAdd {
    const NAME: &'static str = "device_add";
    type Return = Empty;
}

/// Ask the guest to let a device go; `DEVICE_DELETED` tells when it did.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceDel {
    /// Its id or QOM path.
    pub id: String,
}

impl Command for DeviceDel {
    const NAME: &'static str = "device_del";
    type Return = Empty;
}

/// Answer of `query-status`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// Whether the virtual CPUs run.
    pub running: bool,
    /// QEMU's run state.
    pub status: RunState,
}

/// Run states of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Under the debugger.
    Debug,
    /// Waits for an incoming migration.
    Inmigrate,
    /// An internal error stopped it.
    InternalError,
    /// A disk error stopped it.
    IoError,
    /// Stopped by `stop`.
    Paused,
    /// A migration is done.
    Postmigrate,
    /// Not started yet (`-S`).
    Prelaunch,
    /// A migration comes to its end.
    FinishMigrate,
    /// State is being restored.
    RestoreVm,
    /// The virtual CPUs run.
    Running,
    /// State is being saved.
    SaveVm,
    /// The guest is off and QEMU stays (`-no-shutdown`).
    Shutdown,
    /// The guest sleeps.
    Suspended,
    /// A watchdog stopped it.
    Watchdog,
    /// The guest panicked.
    GuestPanicked,
    /// Checkpointing.
    Colo,
    /// A state this version does not know.
    #[serde(other)]
    Unknown,
}

/// A virtual CPU.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cpu {
    /// Its index.
    pub cpu_index: u32,
    /// The host's thread that runs it.
    pub thread_id: u32,
    /// Its place in QEMU's object model.
    pub qom_path: String,
}

/// A block device, the part of it Ferrovirt looks at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BlockDevice {
    /// Its name, may be empty.
    pub device: String,
    /// The QOM path or id of the guest's device.
    #[serde(default)]
    pub qdev: Option<String>,
    /// Whether the medium can be taken out.
    pub removable: bool,
    /// State after an error: `ok`, `failed` or `nospace`.
    #[serde(default, rename = "io-status")]
    pub io_status: Option<String>,
    /// The medium, if one is in.
    #[serde(default)]
    pub inserted: Option<Inserted>,
}

/// A medium in a block device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inserted {
    /// The file.
    pub file: String,
    /// The node.
    #[serde(default)]
    pub node_name: Option<String>,
    /// The format's driver.
    pub drv: String,
    /// Whether it is read-only.
    pub ro: bool,
}
