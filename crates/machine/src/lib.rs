//! The domain of one VM: what it is, how QEMU is told, when it runs.
//!
//! ```text
//! VirtualMachineInstance + HostFacts --from_vmi--> MachineSpec --command_line--> QEMU arguments
//! run strategy + instance + requests --lifecycle::decide--> create, delete, wait, nothing
//! VirtualMachineInstance --compute_resources--> what the launcher's Pod asks of its node
//! ```
//!
//! Everything is pure. A [`MachineSpec`] is fully resolved: the launcher that gets one decides nothing
//! and needs to know no Kubernetes object.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod argument;
mod command_line;
mod spec;

pub use command_line::command_line;
pub use spec::{
    Accelerator, CacheMode, CpuSpec, DiskBacking, DiskBus, DiskSpec, Firmware, ImageFormat,
    MachineSpec, RunDir,
};
