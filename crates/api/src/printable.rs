//! The status of a VM as a person reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
