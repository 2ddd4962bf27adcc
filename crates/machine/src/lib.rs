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

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::needless_pass_by_value,
        reason = "tests fail by panicking, and their makers take `json!` as it is"
    )
)]

mod argument;
mod command_line;
mod facts;
mod from_vmi;
pub mod lifecycle;
mod resources;
mod spec;

pub use command_line::command_line;
pub use facts::{HostCpu, HostFacts, MachineType, VolumeFacts};
pub use from_vmi::{SpecError, from_vmi};
pub use resources::{compute_resources, memory_overhead};
pub use spec::{
    Accelerator, CacheMode, CpuSpec, DiskBacking, DiskBus, DiskSpec, Firmware, ImageFormat,
    MachineSpec, RunDir,
};
