//! VirtualMachineInstance + host facts -> [`MachineSpec`], or every reason why not.
//!
//! Admission has judged the object by itself; what is checked here needs the host: whether its QEMU has the
//! machine type and the CPU model, whether the volumes are there and can do what the disks ask. Object-level
//! rules are checked again where an error would give a machine other than the one asked for.

use api::kubevirt::{Disk, VirtualMachineInstance};
use apimachinery::quantity::Quantity;

use crate::command_line::{MAX_SATA_DISKS, MAX_SCSI_DISKS, MAX_VIRTIO_DISKS};
use crate::facts::{HostFacts, VolumeFacts};
use crate::spec::{CacheMode, CpuSpec, DiskBus, DiskSpec, Firmware, MachineSpec};

/// Memory is given in whole MiB.
const MIB: u64 = 1 << 20;

/// Why an instance cannot be run on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    /// Path of the field in the instance.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

fn error(field: impl Into<String>, message: impl Into<String>) -> SpecError {
    SpecError {
        field: field.into(),
        message: message.into(),
    }
}

/// Resolves an instance against its host.
///
/// # Errors
/// All reasons at once, each with the field it is about.
pub fn from_vmi(
    vmi: &VirtualMachineInstance,
    host: &HostFacts,
) -> Result<MachineSpec, Vec<SpecError>> {
    let mut errors = Vec::new();
    let domain = &vmi.spec.domain;
    let devices = &domain.devices;
    let cpu = keep(&mut errors, cpu(vmi, host));
    let memory_bytes = keep(&mut errors, memory(vmi));
    let machine_type = keep(&mut errors, machine_type(vmi, host, cpu.as_ref()));
    let disks = disks(vmi, host, &mut errors);
    let firmware = domain.firmware.as_ref();
    let uuid = firmware.and_then(|f| f.uuid.clone());
    let uuid = keep(
        &mut errors,
        uuid.ok_or_else(|| error("spec.domain.firmware.uuid", "is not set")),
    );
    let (Some(cpu), Some(memory_bytes), Some(machine_type), Some(uuid), true) =
        (cpu, memory_bytes, machine_type, uuid, errors.is_empty())
    else {
        return Err(errors);
    };
    let meta = &vmi.metadata;
    let acpi = domain.features.as_ref().and_then(|f| f.acpi.as_ref());
    Ok(MachineSpec {
        name: format!(
            "{}_{}",
            meta.namespace.as_deref().unwrap_or("default"),
            meta.name.as_deref().unwrap_or_default()
        ),
        uid: meta.uid.clone().unwrap_or_default(),
        uuid,
        serial: firmware.and_then(|f| f.serial.clone()),
        cpu,
        memory_bytes,
        machine_type,
        accelerator: host.accelerator,
        firmware: Firmware::Bios,
        acpi: acpi.and_then(|a| a.enabled).unwrap_or(true),
        disks,
        serial_console: devices.autoattach_serial_console.unwrap_or(true),
        graphics: devices.autoattach_graphics_device.unwrap_or(true),
        rng: devices.rng.is_some(),
        balloon: devices.autoattach_mem_balloon.unwrap_or(true),
        guest_agent: true,
    })
}

fn keep<T>(errors: &mut Vec<SpecError>, result: Result<T, SpecError>) -> Option<T> {
    result.map_err(|e| errors.push(e)).ok()
}

fn cpu(vmi: &VirtualMachineInstance, host: &HostFacts) -> Result<CpuSpec, SpecError> {
    let given = vmi.spec.domain.cpu.clone().unwrap_or_default();
    let name = given.model.as_deref().unwrap_or("host-model");
    let cpu = host.cpu(name).ok_or_else(|| {
        error(
            "spec.domain.cpu.model",
            format!(
                "the node cannot give a CPU model '{name}'; use host-model, or a model of its QEMU"
            ),
        )
    })?;
    let cpu = CpuSpec {
        sockets: given.sockets.unwrap_or(1),
        cores: given.cores.unwrap_or(1),
        threads: given.threads.unwrap_or(1),
        ..cpu
    };
    if cpu.vcpus() == 0 {
        return Err(error("spec.domain.cpu", "asks for no CPU"));
    }
    Ok(cpu)
}

fn memory(vmi: &VirtualMachineInstance) -> Result<u64, SpecError> {
    let field = "spec.domain.memory.guest";
    let guest = vmi
        .spec
        .domain
        .memory
        .as_ref()
        .and_then(|m| m.guest.as_ref());
    let text = guest
        .or_else(|| vmi.spec.domain.resources.requests.get("memory"))
        .map(|q| q.0.as_str())
        .ok_or_else(|| error(field, "is not set"))?;
    Quantity::parse(text)
        .ok()
        .and_then(|q| u64::try_from(q.value()).ok())
        .filter(|bytes| *bytes > 0 && *bytes <= 1 << 50)
        .map(|bytes| bytes.next_multiple_of(MIB))
        .ok_or_else(|| error(field, format!("'{text}' is not an amount of memory")))
}

fn machine_type(
    vmi: &VirtualMachineInstance,
    host: &HostFacts,
    cpu: Option<&CpuSpec>,
) -> Result<String, SpecError> {
    let given = vmi.spec.domain.machine.as_ref().map(|m| m.type_.as_str());
    let name = given.filter(|n| !n.is_empty()).unwrap_or("q35");
    let found = host.machine_type(name).ok_or_else(|| {
        error(
            "spec.domain.machine.type",
            format!("QEMU on this node has no machine type '{name}'; use q35"),
        )
    })?;
    let vcpus = cpu.map_or(0, CpuSpec::vcpus);
    if vcpus > found.max_cpus {
        return Err(error(
            "spec.domain.cpu",
            format!(
                "{vcpus} CPUs are more than the {} of machine type {}",
                found.max_cpus, found.name
            ),
        ));
    }
    Ok(found.name.clone())
}

fn disks(
    vmi: &VirtualMachineInstance,
    host: &HostFacts,
    errors: &mut Vec<SpecError>,
) -> Vec<DiskSpec> {
    let list = &vmi.spec.domain.devices.disks;
    // Once one disk has a place in the boot order, those without are not booted from; else the list is the order.
    let ordered = list.iter().any(|d| d.boot_order.is_some());
    let mut disks = Vec::new();
    for (i, d) in list.iter().enumerate() {
        let field = format!("spec.domain.devices.disks[{i}]");
        let place = if ordered {
            d.boot_order
        } else {
            u32::try_from(i + 1).ok()
        };
        match host.volumes.get(&d.name) {
            None => errors.push(error(
                format!("{field}.name"),
                format!("the volume '{}' is not on the node", d.name),
            )),
            Some(volume) => {
                disks.extend(keep(errors, disk(d, volume, place, &field)));
            }
        }
    }
    for (bus, max) in [
        (DiskBus::Virtio, MAX_VIRTIO_DISKS),
        (DiskBus::Sata, MAX_SATA_DISKS),
        (DiskBus::Scsi, MAX_SCSI_DISKS),
    ] {
        let count = disks.iter().filter(|d| d.bus == bus).count();
        if count > max {
            errors.push(error(
                "spec.domain.devices.disks",
                format!("{count} disks are more than the {max} that fit on bus {bus:?}")
                    .to_lowercase(),
            ));
        }
    }
    disks
}

fn disk(
    d: &Disk,
    volume: &VolumeFacts,
    place: Option<u32>,
    field: &str,
) -> Result<DiskSpec, SpecError> {
    let target = d.disk.as_ref();
    let bus = match (&d.cdrom, target) {
        (Some(cdrom), _) => cdrom.bus.as_deref(),
        (None, target) => target.and_then(|t| t.bus.as_deref()),
    };
    let bus = match bus.unwrap_or("sata") {
        "virtio" if d.cdrom.is_none() => DiskBus::Virtio,
        "sata" | "" => DiskBus::Sata,
        "scsi" => DiskBus::Scsi,
        other => return Err(error(field, format!("cannot be attached to bus '{other}'"))),
    };
    let cdrom = d.cdrom.is_some();
    let cache = match d.cache.as_deref().unwrap_or("") {
        "" if volume.direct_io => CacheMode::None,
        "" | "writethrough" => CacheMode::WriteThrough,
        "none" if volume.direct_io => CacheMode::None,
        "none" => {
            return Err(error(
                format!("{field}.cache"),
                "none is not possible: the file system of the volume has no direct I/O; use writethrough or writeback",
            ));
        }
        "writeback" => CacheMode::WriteBack,
        other => {
            return Err(error(
                format!("{field}.cache"),
                format!("has invalid value {other}"),
            ));
        }
    };
    if [&volume.path, &d.name]
        .iter()
        .any(|text| text.is_empty() || text.contains('\0'))
    {
        return Err(error(field, "has an impossible name or path"));
    }
    Ok(DiskSpec {
        name: d.name.clone(),
        path: volume.path.clone(),
        format: volume.format,
        backing: volume.backing,
        bus,
        serial: d.serial.clone().filter(|s| !s.is_empty()),
        boot_index: place,
        read_only: cdrom || volume.read_only || target.and_then(|t| t.readonly).unwrap_or(false),
        cdrom,
        cache,
    })
}

#[cfg(test)]
mod tests;
