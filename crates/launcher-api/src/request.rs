//! What a launcher can be asked, and how it answers.

use machine::MachineSpec;
use serde::{Deserialize, Serialize};

use crate::LauncherState;

/// One request line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Start the virtual machine. A launcher starts one machine in its life; the same one again is accepted.
    Start(Box<Start>),
    /// Ask the guest to power off by ACPI; end it by force when the grace period is over.
    #[serde(rename_all = "camelCase")]
    Shutdown {
        /// Time the guest has. A second request may shorten the time left, never lengthen it.
        grace_seconds: u32,
    },
    /// End the virtual machine now.
    Kill,
    /// Stop the virtual CPUs.
    Pause,
    /// Let the virtual CPUs run again.
    Unpause,
    /// Reset the machine as the button on the case does.
    Reset,
    /// Press the power button once, without a deadline.
    PowerButton,
    /// Answer with the present state.
    State,
    /// From here on send the state whenever it changes.
    Watch,
    /// From here on the connection is the first serial port. A session takes over from the one before it.
    Console,
}

/// What a machine needs to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The machine, fully resolved.
    pub machine: MachineSpec,
    /// Grace period of the shutdown that a SIGTERM of the launcher starts.
    #[serde(default = "default_grace")]
    pub grace_seconds: u32,
    /// Leave the virtual CPUs stopped until `Unpause`.
    #[serde(default)]
    pub paused: bool,
}

/// The grace period of Pods when none is given.
fn default_grace() -> u32 {
    30
}

/// One reply line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// The request was accepted; this is the state after that.
    State(Box<LauncherState>),
    /// The request was refused and changed nothing.
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub reason: RefusalReason,
    /// For people: what is the case, and what was asked.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalReason {
    /// The line is not a request, or a value in it is impossible.
    Invalid,
    /// The present phase does not allow it.
    NotAllowed,
    /// It is allowed, but QEMU could not do it.
    Failed,
    /// The launcher serves as many connections as it can.
    Busy,
}
