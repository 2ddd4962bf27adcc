//! [`MachineSpec`] to QEMU's arguments, for QEMU 7.2 and later.
//!
//! ```text
//! pcie.0   00 host bridge   01 VGA   02 rng   03 balloon   04 virtio-scsi   05 virtio-serial
//!          06,07 further AHCI controllers    08..1e virtio disks, 8 functions each    1f chipset, first AHCI
//! ```
//!
//! Guarantees: addresses depend only on a device's kind and its place among its kind, so a disk keeps its
//! address when a display is added; no user's string can become an option (JSON or doubled commas only);
//! QEMU starts stopped (`-S`) and stays after the guest shuts down (`-no-shutdown`), so that the launcher
//! sees both moments over QMP.

use std::ffi::OsString;

use serde_json::{Map, Value, json};

use crate::argument::Arguments;
use crate::spec::{
    Accelerator, CacheMode, DiskBacking, DiskBus, DiskSpec, ImageFormat, MachineSpec, RunDir,
};

/// Ports of one AHCI controller.
const SATA_PORTS: usize = 6;
/// Slots of AHCI controllers beside the chipset's own.
const AHCI_SLOTS: [u32; 2] = [0x06, 0x07];
/// First and last slot of virtio disks.
const VIRTIO_DISK_SLOTS: (u32, u32) = (0x08, 0x1e);
/// SATA disks a machine can have.
pub(crate) const MAX_SATA_DISKS: usize = SATA_PORTS * (1 + AHCI_SLOTS.len());
/// Virtio disks a machine can have.
pub(crate) const MAX_VIRTIO_DISKS: usize =
    ((VIRTIO_DISK_SLOTS.1 - VIRTIO_DISK_SLOTS.0 + 1) * 8) as usize;
/// SCSI disks a machine can have: the targets of one controller.
pub(crate) const MAX_SCSI_DISKS: usize = 255;
/// Translated code that an emulated guest may keep, in MiB; QEMU's own default is 1 GiB for each VM.
pub(crate) const TCG_CODE_CACHE_MIB: u64 = 256;

/// QEMU's arguments for this machine, without the program itself. The working directory of QEMU must be
/// the run directory.
pub fn command_line(spec: &MachineSpec, run: &RunDir) -> Vec<OsString> {
    let mut args = Arguments::default();
    process(&mut args, spec, run);
    board(&mut args, spec);
    disks(&mut args, &spec.disks);
    characters(&mut args, spec, run);
    rest(&mut args, spec, run);
    args.finish()
}

fn process(args: &mut Arguments, spec: &MachineSpec, run: &RunDir) {
    args.keyed(
        "name",
        "",
        &[("guest", spec.name.as_str()), ("debug-threads", "on")],
    );
    for flag in ["nodefaults", "no-user-config", "S", "no-shutdown"] {
        args.flag(flag);
    }
    args.fixed(
        "sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    args.fixed("msg", "timestamp=on");
    args.fixed("display", "none");
    args.keyed(
        "chardev",
        "socket",
        &[
            ("id", "charmonitor"),
            ("path", run.qmp_socket.as_str()),
            ("server", "on"),
            ("wait", "off"),
        ],
    );
    args.fixed("mon", "chardev=charmonitor,id=monitor,mode=control");
}

fn board(args: &mut Arguments, spec: &MachineSpec) {
    let on_off = |on: bool| if on { "on" } else { "off" };
    args.keyed(
        "machine",
        &spec.machine_type,
        &[
            ("usb", "off"),
            ("vmport", "off"),
            ("dump-guest-core", "off"),
            ("acpi", on_off(spec.acpi)),
            ("hpet", "off"),
            ("memory-backend", "ram0"),
        ],
    );
    match spec.accelerator {
        Accelerator::Kvm => args.fixed("accel", "kvm"),
        Accelerator::Tcg => args.fixed(
            "accel",
            &format!("tcg,thread=multi,tb-size={TCG_CODE_CACHE_MIB}"),
        ),
    }
    let features: Vec<(&str, &str)> = spec
        .cpu
        .features
        .iter()
        .map(|(name, on)| (name.as_str(), on_off(*on)))
        .collect();
    args.keyed("cpu", &spec.cpu.model, &features);
    args.fixed(
        "smp",
        &format!(
            "cpus={n},maxcpus={n},sockets={},dies=1,cores={},threads={}",
            spec.cpu.sockets,
            spec.cpu.cores,
            spec.cpu.threads,
            n = spec.cpu.vcpus(),
        ),
    );
    args.fixed("m", &format!("size={}k", spec.memory_bytes / 1024));
    args.json(
        "object",
        &json!({"qom-type": "memory-backend-ram", "id": "ram0", "size": spec.memory_bytes}),
    );
    args.fixed("uuid", &spec.uuid);
    let mut identity = vec![
        ("manufacturer", "KubeVirt"),
        ("product", "None"),
        ("uuid", spec.uuid.as_str()),
        ("family", "KubeVirt"),
    ];
    if let Some(serial) = &spec.serial {
        identity.push(("serial", serial));
    }
    args.keyed("smbios", "type=1", &identity);
    args.fixed("rtc", "base=utc,driftfix=slew");
    args.fixed("global", "ICH9-LPC.disable_s3=1");
    args.fixed("global", "ICH9-LPC.disable_s4=1");
    args.fixed("boot", "strict=on");
}

fn disks(args: &mut Arguments, disks: &[DiskSpec]) {
    let count = |bus| disks.iter().filter(|d| d.bus == bus).count();
    if count(DiskBus::Scsi) > 0 {
        args.json(
            "device",
            &pci("virtio-scsi-pci-non-transitional", "scsi0", 0x04),
        );
    }
    for (i, slot) in AHCI_SLOTS.into_iter().enumerate() {
        if count(DiskBus::Sata) > SATA_PORTS * (i + 1) {
            args.json("device", &pci("ich9-ahci", &format!("ahci{}", i + 1), slot));
        }
    }
    let (mut virtio, mut sata, mut scsi) = (0, 0, 0);
    for (index, disk) in disks.iter().enumerate() {
        let node = block_nodes(args, index, disk);
        let mut device = match disk.bus {
            DiskBus::Virtio => next(&mut virtio, |n| virtio_disk(disk, n)),
            DiskBus::Sata => next(&mut sata, |n| sata_disk(disk, n)),
            DiskBus::Scsi => next(&mut scsi, |n| scsi_disk(disk, n)),
        };
        device.insert("id".into(), disk.device_id().into());
        device.insert("drive".into(), node.into());
        if let Some(index) = disk.boot_index {
            device.insert("bootindex".into(), index.into());
        }
        if let Some(serial) = &disk.serial {
            device.insert("serial".into(), serial.as_str().into());
        }
        if !disk.cdrom {
            let write_cache = disk.cache != CacheMode::WriteThrough;
            device.insert("write-cache".into(), on_off_auto(write_cache).into());
        }
        device.insert("werror".into(), "stop".into());
        device.insert("rerror".into(), "stop".into());
        args.json("device", &Value::Object(device));
    }
}

fn next<T>(counter: &mut usize, make: impl FnOnce(usize) -> T) -> T {
    let made = make(*counter);
    *counter += 1;
    made
}

fn on_off_auto(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The two block nodes of a disk; returns the name of the upper one. Names of nodes are limited to 31
/// bytes, so they are numbered.
fn block_nodes(args: &mut Arguments, index: usize, disk: &DiskSpec) -> String {
    let (file, node) = (format!("disk{index}-file"), format!("disk{index}"));
    let direct = disk.cache == CacheMode::None;
    let cache = json!({"direct": direct, "no-flush": false});
    let mut lower = Map::new();
    let driver = match disk.backing {
        DiskBacking::File => "file",
        DiskBacking::BlockDevice => "host_device",
    };
    lower.insert("driver".into(), driver.into());
    lower.insert("node-name".into(), file.as_str().into());
    lower.insert("filename".into(), disk.path.as_str().into());
    lower.insert("cache".into(), cache.clone());
    lower.insert("read-only".into(), disk.read_only.into());
    lower.insert("discard".into(), "unmap".into());
    args.json("blockdev", &Value::Object(lower));

    let mut upper = Map::new();
    upper.insert("node-name".into(), node.as_str().into());
    upper.insert("file".into(), file.into());
    upper.insert("cache".into(), cache);
    upper.insert("read-only".into(), disk.read_only.into());
    if !disk.read_only {
        upper.insert("discard".into(), "unmap".into());
        upper.insert("detect-zeroes".into(), "unmap".into());
    }
    match disk.format {
        ImageFormat::Raw => upper.insert("driver".into(), "raw".into()),
        ImageFormat::Qcow2 => {
            // An image may name a backing file of its own; it is the user's, so it is not followed.
            upper.insert("backing".into(), Value::Null);
            upper.insert("driver".into(), "qcow2".into())
        }
    };
    args.json("blockdev", &Value::Object(upper));
    node
}

fn virtio_disk(_: &DiskSpec, n: usize) -> Map<String, Value> {
    let slot = VIRTIO_DISK_SLOTS.0 as usize + n / 8;
    let mut device = object(json!({
        "driver": "virtio-blk-pci-non-transitional",
        "bus": "pcie.0",
        "addr": format!("{slot:#x}.{:#x}", n % 8),
    }));
    if n.is_multiple_of(8) {
        device.insert("multifunction".into(), true.into());
    }
    device
}

fn sata_disk(disk: &DiskSpec, n: usize) -> Map<String, Value> {
    let (controller, port) = (n / SATA_PORTS, n % SATA_PORTS);
    let bus = match controller {
        0 => format!("ide.{port}"),
        c => format!("ahci{c}.{port}"),
    };
    let driver = if disk.cdrom { "ide-cd" } else { "ide-hd" };
    object(json!({"driver": driver, "bus": bus}))
}

fn scsi_disk(disk: &DiskSpec, n: usize) -> Map<String, Value> {
    let driver = if disk.cdrom { "scsi-cd" } else { "scsi-hd" };
    object(json!({
        "driver": driver, "bus": "scsi0.0", "channel": 0, "scsi-id": n, "lun": 0,
        "device_id": format!("ua-{}", disk.name),
    }))
}

fn characters(args: &mut Arguments, spec: &MachineSpec, run: &RunDir) {
    let socket = |args: &mut Arguments, id: &str, path: &str, more: &[(&str, &str)]| {
        let mut pairs = vec![
            ("id", id),
            ("path", path),
            ("server", "on"),
            ("wait", "off"),
        ];
        pairs.extend_from_slice(more);
        args.keyed("chardev", "socket", &pairs);
    };
    if spec.serial_console {
        socket(
            args,
            "charserial0",
            &run.serial_socket,
            &[("logfile", run.serial_log.as_str()), ("logappend", "on")],
        );
        args.json(
            "device",
            &json!({"driver": "isa-serial", "chardev": "charserial0", "id": "serial0"}),
        );
    }
    if spec.guest_agent {
        args.json(
            "device",
            &pci("virtio-serial-pci-non-transitional", "virtio-serial0", 0x05),
        );
        socket(args, "charchannel0", &run.guest_agent_socket, &[]);
        args.json(
            "device",
            &json!({
                "driver": "virtserialport", "bus": "virtio-serial0.0", "nr": 1,
                "chardev": "charchannel0", "id": "channel0", "name": "org.qemu.guest_agent.0",
            }),
        );
    }
}

fn rest(args: &mut Arguments, spec: &MachineSpec, run: &RunDir) {
    if spec.graphics {
        let mut video = object(pci("VGA", "video0", 0x01));
        video.insert("vgamem_mb".into(), 16.into());
        args.json("device", &Value::Object(video));
        args.keyed("vnc", &format!("unix:{}", run.vnc_socket), &[]);
    }
    if spec.rng {
        args.json(
            "object",
            &json!({"qom-type": "rng-random", "id": "objrng0", "filename": "/dev/urandom"}),
        );
        let mut rng = object(pci("virtio-rng-pci-non-transitional", "rng0", 0x02));
        rng.insert("rng".into(), "objrng0".into());
        args.json("device", &Value::Object(rng));
    }
    if spec.balloon {
        let mut balloon = object(pci("virtio-balloon-pci-non-transitional", "balloon0", 0x03));
        balloon.insert("free-page-reporting".into(), true.into());
        args.json("device", &Value::Object(balloon));
    }
}

fn pci(driver: &str, id: &str, slot: u32) -> Value {
    json!({"driver": driver, "id": id, "bus": "pcie.0", "addr": format!("{slot:#x}")})
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
