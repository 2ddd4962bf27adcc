//! What the launcher's Pod asks of its node.
//!
//! ```text
//! memory = what the VM asks (requests.memory, else guest memory) + overhead
//! cpu    = requests.cpu, else a tenth of a CPU for each vCPU (KubeVirt's ratio)
//! ```
//!
//! The overhead is ours and measured, not KubeVirt's (243 MiB and more): QEMU 7.2 stopped before its first
//! instruction has 38 to 41 MiB resident (20 of them program text that all VMs share), for 64 MiB and for 4 GiB of
//! guest memory and for 1 and 8 vCPUs; a launcher beside it has up to 8 MiB. What grows is named below.

use std::collections::BTreeMap;

use api::kubevirt::{DomainSpec, VirtualMachineInstanceSpec};
use apimachinery::quantity::Quantity;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;

use crate::command_line::TCG_CODE_CACHE_MIB;
use crate::spec::Accelerator;

const MIB: u64 = 1 << 20;
/// QEMU and launcher with their buffers for block I/O.
const BASE_MIB: u64 = 64;
/// For each vCPU: stack, kernel structures, coroutines of its requests.
const VCPU_MIB: u64 = 2;
/// Page tables: eight bytes for each page of 4 KiB.
const PAGE_TABLE_SHARE: u64 = 512;
/// Frame buffer and what VNC copies of it.
const GRAPHICS_MIB: u64 = 32;
/// Translated code of an emulated guest: what a Linux that idles after its boot needs. It may grow to
/// [`TCG_CODE_CACHE_MIB`], which counts where something is limited.
const TCG_CODE_USUAL_MIB: u64 = 64;
/// No machine has more; keeps absurd topologies from overflowing.
const MAX_VCPUS: u64 = 1 << 16;
/// CPUs on the node for one of the guest, when nothing is asked for.
const CPU_ALLOCATION_RATIO: u64 = 10;

/// Bytes that a VM usually needs beside its guest's memory.
pub fn memory_overhead(domain: &DomainSpec, guest_bytes: u64, accelerator: Accelerator) -> u64 {
    let code = match accelerator {
        Accelerator::Kvm => 0,
        Accelerator::Tcg => TCG_CODE_USUAL_MIB,
    };
    overhead(domain, guest_bytes, code)
}

fn overhead(domain: &DomainSpec, guest_bytes: u64, code_mib: u64) -> u64 {
    let mut mib = BASE_MIB + code_mib + VCPU_MIB.saturating_mul(vcpus(domain));
    if domain.devices.autoattach_graphics_device.unwrap_or(true) {
        mib += GRAPHICS_MIB;
    }
    mib.saturating_mul(MIB)
        .saturating_add(guest_bytes / PAGE_TABLE_SHARE)
}

/// Requests and limits of the launcher's Pod.
pub fn compute_resources(
    spec: &VirtualMachineInstanceSpec,
    accelerator: Accelerator,
) -> ResourceRequirements {
    let domain = &spec.domain;
    let asked =
        |map: &BTreeMap<String, Amount>, name: &str| Quantity::parse(&map.get(name)?.0).ok();
    let bytes = |q: &Quantity| u64::try_from(q.value()).unwrap_or(0);
    let (requests, limits) = (&domain.resources.requests, &domain.resources.limits);
    let guest = domain
        .memory
        .as_ref()
        .and_then(|m| Quantity::parse(&m.guest.as_ref()?.0).ok())
        .or_else(|| asked(requests, "memory"))
        .as_ref()
        .map_or(0, bytes);
    let usual = memory_overhead(domain, guest, accelerator);

    let mut out = ResourceRequirements::default();
    let request = asked(requests, "memory").as_ref().map_or(guest, bytes);
    let wanted = out.requests.get_or_insert_default();
    wanted.insert("memory".into(), memory(request.saturating_add(usual)));
    let cpu = requests.get("cpu").cloned().unwrap_or_else(|| {
        Amount(format!(
            "{}m",
            vcpus(domain).saturating_mul(1000 / CPU_ALLOCATION_RATIO)
        ))
    });
    wanted.insert("cpu".into(), cpu);
    if let Some(limit) = asked(limits, "memory") {
        let most = match accelerator {
            Accelerator::Kvm => usual,
            Accelerator::Tcg => overhead(domain, guest, TCG_CODE_CACHE_MIB),
        };
        let amount = memory(bytes(&limit).saturating_add(most));
        out.limits
            .get_or_insert_default()
            .insert("memory".into(), amount);
    }
    if let Some(limit) = limits.get("cpu") {
        out.limits
            .get_or_insert_default()
            .insert("cpu".into(), limit.clone());
    }
    out
}

fn vcpus(domain: &DomainSpec) -> u64 {
    domain.cpu.as_ref().map_or(1, |cpu| {
        [cpu.sockets, cpu.cores, cpu.threads]
            .into_iter()
            .map(|n| u64::from(n.unwrap_or(1)))
            .fold(1, u64::saturating_mul)
            .min(MAX_VCPUS)
    })
}

fn memory(bytes: u64) -> Amount {
    Amount(Quantity::from_bytes(bytes).to_string())
}

#[cfg(test)]
mod tests;
