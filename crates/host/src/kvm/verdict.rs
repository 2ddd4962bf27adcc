//! From measurements to words. Pure.

use std::io::ErrorKind;

use super::{KvmError, KvmReason, Measured};

/// A guest's kernel loop runs at the host's speed, nested or not. Noise of a busy host stays far below this.
const PLAUSIBLE_SLOWDOWN: f64 = 16.0;
/// Exceptions and ring changes need no exit on any hardware of the last fifteen years: a microsecond each at most.
/// A twentieth of that speed is still bearable.
const PLAUSIBLE_TRAPS_PER_MS: f64 = 50.0;

/// A timer of the guest fires every 100 microseconds. Waking a halted virtual CPU takes some dozens of them, under
/// another hypervisor some hundreds, on a busy host a few thousands.
const PLAUSIBLE_TIMER_PER_MS: f64 = 0.2;

/// Whether what was measured settles the verdict already.
pub(super) fn is_hopeless(measured: &Measured) -> bool {
    measured
        .slowdown()
        .is_some_and(|slowdown| slowdown > PLAUSIBLE_SLOWDOWN)
}

/// Judges measurements, and the failure that ended them if one did.
#[must_use]
pub fn judge(measured: &Measured, failure: Option<&KvmError>) -> (KvmReason, String) {
    if let Some(slowdown) = measured.slowdown().filter(|s| *s > PLAUSIBLE_SLOWDOWN) {
        let message = format!(
            "/dev/kvm opens, but runs guest kernel code {slowdown:.0} times slower than this processor: the host \
             only imitates hardware virtualization, interpreting a guest's kernel instruction by instruction, and \
             guest kernels would not finish booting. Enable nested \
             virtualization on the machine that hosts this one, or use emulation (useEmulation: true)."
        );
        return (KvmReason::TooSlow, message);
    }
    if let Some(error) = failure {
        return failed(error);
    }
    let traps = [
        (
            "exceptions",
            measured.exceptions_per_ms,
            PLAUSIBLE_TRAPS_PER_MS,
        ),
        (
            "system calls",
            measured.ring_trips_per_ms,
            PLAUSIBLE_TRAPS_PER_MS,
        ),
        (
            "timer interrupts",
            measured.timer_interrupts_per_ms,
            PLAUSIBLE_TIMER_PER_MS,
        ),
    ];
    for (what, per_ms, plausible) in traps {
        if let Some(per_ms) = per_ms.filter(|rate| *rate < plausible) {
            let message = format!(
                "/dev/kvm opens, but a guest gets only {per_ms:.1} {what} per millisecond done: the host only \
                 imitates hardware virtualization. Enable nested virtualization on the machine that hosts this one, \
                 or use emulation (useEmulation: true)."
            );
            return (KvmReason::TooSlow, message);
        }
    }
    let speed = measured.slowdown().map_or_else(String::new, |s| {
        format!(" ({s:.1} times the host's loop time)")
    });
    (
        KvmReason::Usable,
        format!("KVM runs guest code at a plausible speed{speed}"),
    )
}

fn failed(error: &KvmError) -> (KvmReason, String) {
    match error {
        KvmError::Open(source) => match source.kind() {
            ErrorKind::NotFound => (
                KvmReason::NoDevice,
                "There is no /dev/kvm: load the module kvm_intel or kvm_amd and enable virtualization in the \
                 firmware (or nested virtualization on the machine that hosts this one), or use emulation \
                 (useEmulation: true)."
                    .into(),
            ),
            ErrorKind::PermissionDenied => (
                KvmReason::NotPermitted,
                "/dev/kvm may not be opened by this user: run as root or join the group that owns it (usually kvm)."
                    .into(),
            ),
            _ => (KvmReason::Refused, format!("/dev/kvm cannot be opened: {source}.")),
        },
        KvmError::Operation { operation, source } => (
            KvmReason::Refused,
            format!(
                "/dev/kvm opens, but {operation} fails: {source}. Another hypervisor may hold the processor's \
                 virtualization, or the host forbids it; use emulation (useEmulation: true) until that is solved."
            ),
        ),
        KvmError::ApiVersion(_) | KvmError::Unsupported(_) => (KvmReason::Refused, format!("{error}.")),
        KvmError::Exit { .. } => (
            KvmReason::Broken,
            format!("/dev/kvm opens, but does not run guest code rightly: {error}. Use emulation (useEmulation: true)."),
        ),
        KvmError::Deadline { stage } => (
            KvmReason::TimedOut,
            format!(
                "/dev/kvm opens, but guest code did not get done in time ({stage}): the host only imitates hardware \
                 virtualization or is overloaded. Use emulation (useEmulation: true), or probe again."
            ),
        ),
    }
}
