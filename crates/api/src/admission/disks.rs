//! Rules of disks.

use apimachinery::field::FieldPath;
use apimachinery::name;

use super::cause::Cause;
use crate::kubevirt::{Disk, VirtualMachineInstanceSpec};

/// Longest serial number that KubeVirt takes.
const MAX_SERIAL: usize = 256;
/// Longest serial number that a disk on the SCSI bus can have in QEMU.
const MAX_SCSI_SERIAL: usize = 36;

/// Rules of the disks of the instance at `path`.
pub(super) fn validate(
    causes: &mut Vec<Cause>,
    spec: &VirtualMachineInstanceSpec,
    path: &FieldPath,
) {
    let list = path.child("domain").child("devices").child("disks");
    let disks = &spec.domain.devices.disks;
    for (i, disk) in disks.iter().enumerate() {
        let field = list.index(i);
        // KubeVirt's path for this one really repeats itself.
        let odd = format!("{list}.domain.devices.disks[{i}].name");
        for wrong in name::dns1123_label(&disk.name) {
            causes.push(Cause::invalid(&odd, wrong));
        }
        if let Some(first) = disks[..i].iter().position(|d| d.name == disk.name) {
            causes.push(Cause::invalid(
                field.child("name"),
                format!(
                    "{field} and {} must not have the same Name.",
                    list.index(first)
                ),
            ));
        }
        if !spec.volumes.iter().any(|v| v.name == disk.name) {
            causes.push(Cause::invalid(
                field.child("name"),
                format!("{field}.Name '{}' not found.", disk.name),
            ));
        }
        boot_order(causes, disks, i, &list);
        target(causes, disk, &field);
        if let Some(cache) = &disk.cache
            && !["none", "writethrough", "writeback", ""].contains(&cache.as_str())
        {
            let field = field.child("cache");
            causes.push(Cause::invalid(
                &field,
                format!("{field} has invalid value {cache}"),
            ));
        }
        serial(causes, disk, &field);
    }
}

fn boot_order(causes: &mut Vec<Cause>, disks: &[Disk], i: usize, list: &FieldPath) {
    let Some(order) = disks[i].boot_order else {
        return;
    };
    let disk = list.index(i);
    let field = disk.child("bootOrder");
    if order == 0 {
        causes.push(Cause::invalid(
            &field,
            format!("{disk} must have a boot order > 0, if supplied"),
        ));
    } else if disks[..i].iter().any(|d| d.boot_order == Some(order)) {
        causes.push(Cause::invalid(
            &field,
            format!("Boot order for {field} already set for a different device."),
        ));
    }
}

fn target(causes: &mut Vec<Cause>, disk: &Disk, field: &FieldPath) {
    if disk.disk.is_some() && disk.cdrom.is_some() {
        causes.push(Cause::invalid(
            field,
            format!("{field} should only have a single target type defined"),
        ));
    }
    if let Some(target) = &disk.disk {
        bus(
            causes,
            target.bus.as_deref(),
            &field.child("disk").child("bus"),
            field,
        );
    }
    if let Some(cdrom) = &disk.cdrom {
        let path = field.child("cdrom");
        let bus_path = path.child("bus");
        match cdrom.bus.as_deref() {
            Some("virtio") => causes.push(Cause::invalid(
                &bus_path,
                "Bus type virtio is invalid for CD-ROM device",
            )),
            other => bus(causes, other, &bus_path, field),
        }
        if cdrom.readonly == Some(false) {
            causes.push(Cause::invalid(
                path.child("readonly"),
                format!("{path}.readonly must be true for CD-ROM device"),
            ));
        }
        if cdrom
            .tray
            .as_deref()
            .is_some_and(|t| t != "closed" && !t.is_empty())
        {
            let field = path.child("tray");
            causes.push(Cause::not_supported(
                &field,
                format!("{field} can only be 'closed' in this version of Ferrovirt"),
            ));
        }
    }
}

fn bus(causes: &mut Vec<Cause>, bus: Option<&str>, path: &FieldPath, disk: &FieldPath) {
    match bus {
        None | Some("" | "virtio" | "sata" | "scsi") => {}
        Some("ide") => causes.push(Cause::invalid(path, "IDE bus is not supported")),
        Some("usb") => causes.push(Cause::not_supported(
            path,
            format!("{path} 'usb' is not honoured by this version of Ferrovirt; use virtio, sata or scsi"),
        )),
        Some(other) => causes.push(Cause::invalid(
            path,
            format!("{disk} is set with an unrecognized bus {other}, must be one of: [virtio scsi sata usb]"),
        )),
    }
}

fn serial(causes: &mut Vec<Cause>, disk: &Disk, field: &FieldPath) {
    let Some(serial) = &disk.serial else { return };
    let path = field.child("serial");
    if serial.len() > MAX_SERIAL {
        causes.push(Cause::invalid(
            &path,
            format!("{field} must be less than or equal to {MAX_SERIAL} in length, if specified"),
        ));
    } else if !serial
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c))
    {
        causes.push(Cause::invalid(
            &path,
            format!(
                "{field} must be made up of the following characters [A-Za-z0-9_.+-], if specified"
            ),
        ));
    }
    let target = disk.disk.as_ref().and_then(|d| d.bus.as_deref());
    let bus = target.or_else(|| disk.cdrom.as_ref().and_then(|c| c.bus.as_deref()));
    if bus == Some("scsi") && (MAX_SCSI_SERIAL + 1..=MAX_SERIAL).contains(&serial.len()) {
        causes.push(Cause::invalid(
            &path,
            format!("{field} must be less than or equal to {MAX_SCSI_SERIAL} in length on bus scsi, if specified"),
        ));
    }
}
