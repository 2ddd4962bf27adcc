//! Events of QEMU that Ferrovirt acts on (QEMU's qapi/run-state.json, block-core.json, qdev.json).

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::codec::RawEvent;

/// An event and its moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// By QEMU's wall clock; none when QEMU had none.
    pub at: Option<SystemTime>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// The machine is off, or QEMU is about to exit. With `-no-shutdown` QEMU stays, in run state `shutdown`.
    Shutdown {
        /// Whether the guest brought it about.
        guest: bool,
        /// How.
        reason: Cause,
    },
    /// The machine was reset.
    Reset {
        /// Whether the guest brought it about.
        guest: bool,
        /// How.
        reason: Cause,
    },
    /// The virtual CPUs were stopped.
    Stop,
    /// The virtual CPUs run.
    Resume,
    /// The power button was pressed.
    Powerdown,
    /// The guest sleeps (ACPI S3).
    Suspend,
    /// The guest woke from S3.
    Wakeup,
    /// The guest reported a panic; the action is `pause`, `poweroff` or `run`.
    GuestPanicked {
        /// What QEMU did.
        action: String,
    },
    /// A virtual watchdog expired.
    Watchdog {
        /// What QEMU did.
        action: String,
    },
    /// A disk failed.
    BlockIoError(BlockIoError),
    /// A device is gone after `device_del`.
    DeviceDeleted {
        /// Its id, when it had one.
        device: Option<String>,
        /// Its QOM path.
        path: String,
    },
    /// The guest refused to let a device go.
    DeviceUnplugGuestError {
        /// Its id, when it had one.
        device: Option<String>,
    },
    /// Anything else, or an event whose data were not as documented.
    Other {
        /// The name.
        name: String,
        /// The data.
        data: Map<String, Value>,
    },
}

/// What brought a shutdown or reset about (`ShutdownCause`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// An error of QEMU itself.
    HostError,
    /// `quit` over QMP.
    HostQmpQuit,
    /// `system_reset` over QMP.
    HostQmpSystemReset,
    /// A signal such as SIGTERM.
    HostSignal,
    /// A user interface.
    HostUi,
    /// The guest powered off, by ACPI for example.
    GuestShutdown,
    /// The guest asked for a reset.
    GuestReset,
    /// The guest panicked.
    GuestPanic,
    /// A subsystem reset the machine, S390 only.
    SubsystemReset,
    /// A snapshot was loaded.
    SnapshotLoad,
    /// No cause given.
    None,
    /// A cause this version does not know, or no reason in the event.
    #[serde(other)]
    Unknown,
}

/// Data of `BLOCK_IO_ERROR`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockIoError {
    /// The device, may be empty.
    #[serde(default)]
    pub device: String,
    /// The block node.
    #[serde(default)]
    pub node_name: Option<String>,
    /// `read` or `write`.
    pub operation: String,
    /// `ignore`, `report` or `stop`.
    pub action: String,
    /// Whether the host's file system is full.
    #[serde(default)]
    pub nospace: bool,
    /// The error in words.
    #[serde(default)]
    pub reason: String,
}

#[derive(Deserialize)]
struct Caused {
    #[serde(default)]
    guest: bool,
    #[serde(default = "unknown")]
    reason: Cause,
}

#[derive(Deserialize)]
struct Acted {
    action: String,
}

#[derive(Deserialize)]
struct Device {
    device: Option<String>,
    path: String,
}

fn unknown() -> Cause {
    Cause::Unknown
}

impl From<RawEvent> for Event {
    fn from(raw: RawEvent) -> Self {
        let at = u64::try_from(raw.timestamp.seconds)
            .ok()
            .filter(|s| *s > 0)
            .map(|seconds| {
                let micros = u32::try_from(raw.timestamp.microseconds)
                    .unwrap_or(0)
                    .min(999_999);
                SystemTime::UNIX_EPOCH + Duration::new(seconds, micros * 1000)
            });
        let kind = typed(&raw).unwrap_or(EventKind::Other {
            name: raw.event,
            data: raw.data,
        });
        Self { at, kind }
    }
}

fn typed(raw: &RawEvent) -> Option<EventKind> {
    fn data<T: serde::de::DeserializeOwned>(raw: &RawEvent) -> Option<T> {
        serde_json::from_value(Value::Object(raw.data.clone())).ok()
    }
    Some(match raw.event.as_str() {
        "SHUTDOWN" => {
            data(raw).map(|Caused { guest, reason }| EventKind::Shutdown { guest, reason })?
        }
        "RESET" => data(raw).map(|Caused { guest, reason }| EventKind::Reset { guest, reason })?,
        "STOP" => EventKind::Stop,
        "RESUME" => EventKind::Resume,
        "POWERDOWN" => EventKind::Powerdown,
        "SUSPEND" => EventKind::Suspend,
        "WAKEUP" => EventKind::Wakeup,
        "GUEST_PANICKED" => {
            data(raw).map(|Acted { action }| EventKind::GuestPanicked { action })?
        }
        "WATCHDOG" => data(raw).map(|Acted { action }| EventKind::Watchdog { action })?,
        "BLOCK_IO_ERROR" => EventKind::BlockIoError(data(raw)?),
        "DEVICE_DELETED" => {
            data(raw).map(|Device { device, path }| EventKind::DeviceDeleted { device, path })?
        }
        "DEVICE_UNPLUG_GUEST_ERROR" => {
            data(raw).map(|Device { device, .. }| EventKind::DeviceUnplugGuestError { device })?
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> EventKind {
        Event::from(serde_json::from_str::<RawEvent>(json).unwrap()).kind
    }

    #[test]
    fn causes_are_told_apart() {
        let guest =
            event(r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#);
        assert_eq!(
            guest,
            EventKind::Shutdown {
                guest: true,
                reason: Cause::GuestShutdown
            }
        );
        let new = event(
            r#"{"event": "SHUTDOWN", "data": {"guest": false, "reason": "from-the-future"}}"#,
        );
        assert_eq!(
            new,
            EventKind::Shutdown {
                guest: false,
                reason: Cause::Unknown
            }
        );
    }

    #[test]
    fn an_event_with_unexpected_data_is_kept() {
        let odd = event(r#"{"event": "SHUTDOWN", "data": {"guest": "yes"}}"#);
        assert!(matches!(odd, EventKind::Other { name, .. } if name == "SHUTDOWN"));
    }

    #[test]
    fn a_full_host_is_seen() {
        let kind = event(
            r#"{"event": "BLOCK_IO_ERROR", "data": {"device": "", "node-name": "disk0", "operation": "write",
                "action": "stop", "nospace": true, "reason": "No space left on device"}}"#,
        );
        assert!(
            matches!(kind, EventKind::BlockIoError(e) if e.nospace && e.node_name.as_deref() == Some("disk0"))
        );
    }
}
