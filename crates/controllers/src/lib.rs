//! The platform's controllers, one folder per kind.
//!
//! ```text
//! VMRuntime ──────────────┐ (enabled? emulation? VMRuntimePreflightCheck passed?)
//! VirtualMachine ─► VirtualMachineInstance ─► virt-launcher Pod   (the engine or a cluster runs it)
//!        └────────► DataVolume ─► claim + importer Pod
//! ```
//!
//! Each folder: `plan.rs` decides (pure), `mod.rs` observes and applies, `plan_tests.rs` is the manual.
//! They reach the world only through a [`kube::Client`]; none can tell an embedded engine from a
//! cluster. Whatever waits says why: in a condition, and once in an Event.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::needless_pass_by_value,
        reason = "tests fail by panicking, and their makers take `json!` as it is"
    )
)]

pub mod datavolume;
pub mod preflight;
pub mod runtime;
pub mod vm;
pub mod vmi;
pub mod vmruntime;
mod workload;

pub use workload::{IMAGE, RUN_AS, TAINT};
