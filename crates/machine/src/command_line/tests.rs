use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::spec::{CpuSpec, Firmware};

fn spec() -> MachineSpec {
    MachineSpec {
        name: "default_guest".into(),
        uid: "0".into(),
        uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".into(),
        serial: Some("s1".into()),
        cpu: CpuSpec {
            model: "max".into(),
            features: Vec::new(),
            sockets: 2,
            cores: 1,
            threads: 1,
        },
        memory_bytes: 128 << 20,
        machine_type: "pc-q35-7.2".into(),
        accelerator: Accelerator::Tcg,
        firmware: Firmware::Bios,
        acpi: true,
        disks: vec![disk("root", DiskBus::Virtio), disk("cloud", DiskBus::Sata)],
        serial_console: true,
        graphics: false,
        rng: true,
        balloon: true,
        guest_agent: true,
    }
}

fn disk(name: &str, bus: DiskBus) -> DiskSpec {
    DiskSpec {
        name: name.into(),
        path: format!("volumes/{name}/disk.img"),
        format: ImageFormat::Raw,
        backing: DiskBacking::File,
        bus,
        serial: None,
        boot_index: None,
        read_only: false,
        cdrom: false,
        cache: CacheMode::None,
    }
}

fn text(spec: &MachineSpec) -> String {
    let args: Vec<String> = command_line(spec, &RunDir::default())
        .into_iter()
        .map(|a| a.into_string().unwrap())
        .collect();
    let mut text = String::new();
    for arg in args {
        let separator = if arg.starts_with('-') { "\n" } else { " " };
        text.push_str(separator);
        text.push_str(&arg);
    }
    text
}

#[test]
fn an_emulated_machine() {
    let mut s = spec();
    s.disks[0].boot_index = Some(1);
    s.disks[1].read_only = true;
    assert_snapshot!(text(&s));
}

#[test]
fn a_machine_with_hardware_virtualization_and_everything() {
    let mut s = spec();
    s.accelerator = Accelerator::Kvm;
    s.cpu.model = "host".into();
    s.cpu.features = vec![("arch-capabilities".into(), false)];
    s.graphics = true;
    s.disks[0].format = ImageFormat::Qcow2;
    s.disks[0].serial = Some("abc".into());
    s.disks[1].cdrom = true;
    s.disks[1].read_only = true;
    let mut block = disk("data", DiskBus::Scsi);
    (block.backing, block.path, block.cache) = (
        DiskBacking::BlockDevice,
        "volumes/data".into(),
        CacheMode::WriteThrough,
    );
    s.disks.push(block);
    assert_snapshot!(text(&s));
}

#[test]
fn an_address_belongs_to_a_kind_and_a_place() {
    let of = |s: &MachineSpec| {
        text(s)
            .lines()
            .find(|l| l.contains("\"ua-root\""))
            .unwrap()
            .to_owned()
    };
    let plain = of(&spec());
    let mut more = spec();
    more.graphics = true;
    more.rng = false;
    more.disks.push(disk("last", DiskBus::Virtio));
    assert_eq!(plain, of(&more));
}

/// What QEMU would read: options with their values, commas undoubled.
fn pairs(value: &str) -> Vec<String> {
    let (mut out, mut item) = (Vec::new(), String::new());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.peek() == Some(&',') => {
                chars.next();
                item.push(',');
            }
            ',' => out.push(std::mem::take(&mut item)),
            c => item.push(c),
        }
    }
    out.push(item);
    out
}

proptest! {
    /// Whatever the strings are, the options are the same as with harmless ones, and each value arrives as it is.
    #[test]
    fn no_string_becomes_an_option(
        name in "[ -~]{1,40}",
        serial in "[ -~]{1,40}",
        path in "[ -~]{1,40}",
        disk_serial in "[ -~]{1,40}",
        model in "[ -~]{1,20}",
        disk_name in "[ -~]{1,20}",
    ) {
        let mut s = spec();
        let plain = command_line(&s, &RunDir::default());
        s.name = name.clone();
        s.serial = Some(serial.clone());
        s.cpu.model = model.clone();
        s.disks[0].path = path.clone();
        s.disks[0].name = disk_name;
        s.disks[1].serial = Some(disk_serial);
        let args: Vec<String> = command_line(&s, &RunDir::default())
            .into_iter()
            .map(|a| a.into_string().unwrap())
            .collect();
        prop_assert_eq!(args.len(), plain.len());
        let value_of = |option: &str, nth: usize| {
            let at = args.iter().enumerate().filter(|(_, a)| *a == option).nth(nth).unwrap().0;
            args[at + 1].clone()
        };
        prop_assert_eq!(&args[0], "-name");
        prop_assert_eq!(pairs(&args[1]), vec![format!("guest={name}"), "debug-threads=on".to_owned()]);
        let smbios_at = args.iter().position(|a| a.starts_with("type=1,")).unwrap();
        let smbios = pairs(&args[smbios_at]);
        prop_assert_eq!(smbios.len(), 6);
        prop_assert_eq!(smbios.last().unwrap(), &format!("serial={serial}"));
        let cpu_at = plain.iter().position(|a| a == "-cpu").unwrap();
        prop_assert_eq!(pairs(&args[cpu_at + 1]), vec![model]);
        if path != "-blockdev" && name != "-blockdev" {
            let node: Value = serde_json::from_str(&value_of("-blockdev", 0)).unwrap();
            prop_assert_eq!(node["filename"].as_str().unwrap(), path);
            prop_assert_eq!(node.as_object().unwrap().len(), 6);
        }
    }
}
