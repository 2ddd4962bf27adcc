//! Is KVM worth using on this host?
//!
//! `/dev/kvm` may be absent, closed to us, or, worst, there and useless: some hosts emulate hardware virtualization
//! and interpret a guest's kernel code instruction by instruction. Small guests run there, stock kernels never finish
//! booting. No flag tells; so the probe runs guest code in long mode with paging against a clock and compares with
//! the same loop on the host:
//!
//! ```text
//!  open /dev/kvm ─> VM, vCPU, 64 KiB memory ─> loop in ring 0 ─> exceptions (#UD) ─> ring 3 and back ─> timer ─> verdict
//!        │                  │                        └───────────────┴──────────────────┴─────────────┘
//!   NoDevice, NotPermitted  Refused           a watchdog signals the vCPU's thread at the deadline
//! ```
//!
//! Guarantees: [`probe`] ends within its budget plus [`limits::KVM_RETURN`], even when a virtual CPU never returns;
//! it leaves nothing behind then but its one thread.
//! The verdict ([`judge`]) is pure; the measurement is in `machine`, the guest's code in `guest`.

mod abi;
mod guest;
mod machine;
mod verdict;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::limits;
pub use verdict::judge;

/// What is known of KVM on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvmReport {
    /// Whether virtual machines should use it.
    pub usable: bool,
    /// For programs.
    pub reason: KvmReason,
    /// For administrators: what is the case and what can be done.
    pub message: String,
    /// What was measured, as far as it came.
    pub measured: Measured,
    /// How long the probe took.
    pub took_ms: u64,
}

/// Verdicts of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvmReason {
    /// Guest code runs at a plausible speed.
    Usable,
    /// There is no `/dev/kvm`.
    NoDevice,
    /// `/dev/kvm` may not be opened by this user.
    NotPermitted,
    /// The device or one of its operations refused.
    Refused,
    /// Guest code ended in a way it must not.
    Broken,
    /// Guest code runs implausibly slowly.
    TooSlow,
    /// The budget was over before anything could be measured.
    TimedOut,
}

/// Measurements of the probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Largest number of virtual CPUs of one machine.
    pub max_vcpus: Option<u32>,
    /// Iterations of an empty loop per millisecond, on the host.
    pub native_loops_per_ms: Option<f64>,
    /// The same in the guest's kernel mode.
    pub loops_per_ms: Option<f64>,
    /// Exceptions taken and returned from per millisecond, in the guest.
    pub exceptions_per_ms: Option<f64>,
    /// System calls from ring 3 and back per millisecond, in the guest.
    pub ring_trips_per_ms: Option<f64>,
    /// Interrupts of a timer that fires ten times per millisecond, taken by a halted guest per millisecond.
    #[serde(default)]
    pub timer_interrupts_per_ms: Option<f64>,
}

impl Measured {
    /// How many times slower the guest's kernel mode is than the host.
    #[must_use]
    pub fn slowdown(&self) -> Option<f64> {
        Some(self.native_loops_per_ms? / self.loops_per_ms?)
    }
}

/// Why a probe could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// The device cannot be opened.
    #[error("opening /dev/kvm")]
    Open(#[source] std::io::Error),
    /// An operation on the device failed.
    #[error("{operation} on /dev/kvm")]
    Operation {
        /// Name of the ioctl or system call.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The kernel speaks another version of the interface.
    #[error("/dev/kvm has API version {0}, not 12")]
    ApiVersion(i32),
    /// The guest ended where it must not.
    #[error("the probe's guest ended in {stage} with {exit}")]
    Exit {
        /// What the guest did.
        stage: &'static str,
        /// How it ended, in KVM's terms.
        exit: String,
    },
    /// The deadline passed.
    #[error("the deadline passed in {stage}")]
    Deadline {
        /// What the guest did.
        stage: &'static str,
    },
    /// The probe cannot run on this kind of processor, or cannot start its thread.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Measures and judges. Blocks for up to `budget` (one second is plenty): call it where blocking is allowed.
#[must_use]
pub fn probe(budget: Duration) -> KvmReport {
    let start = Instant::now();
    let (measured, failure) = supervised(start + budget);
    tracing::debug!(?measured, ?failure, "KVM measured");
    let (reason, message) = judge(&measured, failure.as_ref());
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    KvmReport {
        usable: reason == KvmReason::Usable,
        reason,
        message,
        measured,
        took_ms,
    }
}

/// The group that may open `/dev/kvm`, for unprivileged processes that need it; none when it is absent or everybody
/// or only its owner may.
#[must_use]
pub fn device_group() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata("/dev/kvm").ok()?;
    (device.mode() & 0o066 == 0o060 && device.gid() != 0).then_some(device.gid())
}

/// Measures in a thread of its own, which is signalled out of the guest at the deadline and given up after that.
fn supervised(deadline: Instant) -> (Measured, Option<KvmError>) {
    let (sender, receiver) = mpsc::channel();
    let (thread_sender, thread) = mpsc::channel();
    let spawned = std::thread::Builder::new()
        .name("kvm-probe".into())
        .spawn(move || {
            // A receiver that is gone has given this probe up.
            let _ = thread_sender.send(machine::ThreadHandle::current());
            let mut measured = Measured::default();
            let failure = machine::measure(deadline, &mut measured).err();
            let _ = sender.send((measured, failure));
        });
    if spawned.is_err() {
        return (
            Measured::default(),
            Some(KvmError::Unsupported(
                "the probe's thread cannot be started",
            )),
        );
    }
    if let Ok(result) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        return result;
    }
    let give_up = Instant::now() + limits::KVM_RETURN;
    let thread = thread.try_recv().ok();
    while Instant::now() < give_up {
        if let Some(thread) = &thread {
            thread.kick();
        }
        if let Ok(result) = receiver.recv_timeout(limits::KVM_KICK) {
            return result;
        }
    }
    (
        Measured::default(),
        Some(KvmError::Deadline {
            stage: "a virtual CPU that does not return",
        }),
    )
}

#[cfg(test)]
mod tests;
