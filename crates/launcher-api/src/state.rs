//! What a launcher publishes.
//!
//! ```text
//!  Idle ──Start──> Starting ──vCPUs run──> Running <──Unpause/Pause──> Paused
//!                     │                       │                          │
//!                     │                       └──Shutdown/SIGTERM──┬─────┘
//!                     │                                            v
//!                     │                                       ShuttingDown
//!                     └───── QEMU gone, guest off or panicked, killed ──> Ended
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of one launcher and its machine. Numbered: of two states the one with the larger `sequence` is newer,
/// also across restarts of the launcher in the same directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LauncherState {
    /// Grows by one with every published state.
    pub sequence: u64,
    /// Where in its life the machine is.
    pub phase: Phase,
    /// The launcher process that published this.
    pub launcher: Process,
    /// How many times a launcher was started in this directory with the machine alive.
    #[serde(default)]
    pub adoptions: u32,
    /// The machine, once one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineIdentity>,
    /// The QEMU process while one exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu: Option<Process>,
    /// Version QEMU reported over QMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
    /// Host thread of each virtual CPU, by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vcpu_threads: Vec<u32>,
    /// Resets seen since the machine started, the guest's own reboots included.
    #[serde(default)]
    pub resets: u32,
    /// When what happened.
    #[serde(default)]
    pub times: Times,
}

/// Phase of a machine's life; see the module's diagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum Phase {
    /// No machine was asked for yet.
    Idle,
    /// QEMU is being started; the virtual CPUs have not run.
    Starting,
    /// The virtual CPUs run.
    Running,
    /// The virtual CPUs are stopped, on request or by QEMU.
    Paused {
        /// Why: `User`, or QEMU's run state such as `io-error`.
        reason: String,
    },
    /// The guest was asked to power off.
    ShuttingDown {
        /// When it will be ended by force.
        deadline: Timestamp,
    },
    /// The machine is over. The launcher exits after publishing this.
    Ended {
        /// Whether that was an orderly end.
        outcome: Outcome,
        /// For programs.
        reason: EndReason,
        /// For people.
        message: String,
    },
}

impl Phase {
    /// The name alone, as it is written in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Paused { .. } => "Paused",
            Self::ShuttingDown { .. } => "ShuttingDown",
            Self::Ended { .. } => "Ended",
        }
    }

    /// Whether the machine is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

/// How a machine ended, in the terms of a Pod's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The guest powered off, or was ended because that was asked for.
    Succeeded,
    /// It ended against everybody's will, or never started.
    Failed,
}

/// What ended a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// The guest powered itself off, unasked.
    GuestShutdown,
    /// The guest powered off because it was asked to.
    GracefulShutdown,
    /// The grace period was over and the machine was ended by force.
    GraceExpired,
    /// `Kill` was asked for.
    Killed,
    /// The launcher was asked to end before a machine was started.
    NeverStarted,
    /// The guest reported a panic (pvpanic).
    GuestPanicked,
    /// QEMU could not be started, or refused its arguments.
    StartFailed,
    /// The QEMU process ended although nothing asked it to.
    QemuExited,
    /// QEMU is alive but its control channel is gone or does not answer; it was killed.
    QemuUnresponsive,
}

/// A process beyond doubt: a pid alone may be used again for another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Process id, in the initial pid namespace of the host.
    pub pid: u32,
    /// Field `starttime` of `/proc/<pid>/stat`: clock ticks after boot (proc(5)).
    pub start_time: u64,
}

/// Which machine a launcher runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineIdentity {
    /// Its name.
    pub name: String,
    /// Its UUID, as the firmware shows it.
    pub uuid: String,
}

/// Moments of a machine's life, each set once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The launcher accepted `Start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Timestamp>,
    /// The QEMU process exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawned: Option<Timestamp>,
    /// QEMU answered on QMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp_ready: Option<Timestamp>,
    /// The virtual CPUs were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Timestamp>,
    /// The shutdown was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_requested: Option<Timestamp>,
    /// The machine was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}
