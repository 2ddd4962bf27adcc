//! The command line against the real QEMU: every argument is accepted, up to an answer over QMP.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use ferrovirt_machine::{
    Accelerator, CacheMode, CpuSpec, DiskBacking, DiskBus, DiskSpec, Firmware, ImageFormat,
    MachineSpec, RunDir, command_line,
};
use serde_json::{Value, json};

/// Ends the process that this test started, however the test ends.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn disk(name: &str, bus: DiskBus, boot_index: Option<u32>) -> DiskSpec {
    DiskSpec {
        name: name.into(),
        path: format!("{name}.img"),
        format: ImageFormat::Raw,
        backing: DiskBacking::File,
        bus,
        serial: Some(format!("serial-{name}")),
        boot_index,
        read_only: false,
        cdrom: false,
        cache: CacheMode::WriteBack,
    }
}

fn machine_of(disks: Vec<DiskSpec>) -> MachineSpec {
    MachineSpec {
        name: "default_guest,with=comma".into(),
        uid: "0".into(),
        uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".into(),
        serial: Some("a serial, with=commas".into()),
        cpu: CpuSpec {
            model: "max".into(),
            features: Vec::new(),
            sockets: 1,
            cores: 2,
            threads: 1,
        },
        memory_bytes: 64 << 20,
        machine_type: "q35".into(),
        accelerator: Accelerator::Tcg,
        firmware: Firmware::Bios,
        acpi: true,
        disks,
        serial_console: true,
        graphics: true,
        rng: true,
        balloon: true,
        guest_agent: true,
    }
}

/// Starts QEMU and asks each question over QMP; returns the answers.
fn ask(dir: &Path, spec: &MachineSpec, questions: &[Value]) -> Vec<Value> {
    let log = File::create(dir.join("qemu.log")).unwrap();
    let child = Command::new("qemu-system-x86_64")
        .args(command_line(spec, &RunDir::default()))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut qemu = Qemu(child);
    let deadline = Instant::now() + Duration::from_secs(60);
    let stream = loop {
        if let Ok(stream) = UnixStream::connect(dir.join("qmp.sock")) {
            break stream;
        }
        let ended = qemu.0.try_wait().unwrap();
        if ended.is_some() || Instant::now() > deadline {
            let mut said = String::new();
            File::open(dir.join("qemu.log"))
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("QEMU is not there: {ended:?}: {said}");
        }
        yield_now();
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert!(next().get("QMP").is_some(), "a greeting");
    let mut answers = Vec::new();
    let mut questions = questions.to_vec();
    questions.insert(0, json!({"execute": "qmp_capabilities"}));
    for question in questions {
        writeln!(writer, "{question}").unwrap();
        answers.push(loop {
            let answer = next();
            if answer.get("event").is_none() {
                break answer;
            }
        });
    }
    answers.remove(0);
    answers
}

fn image(dir: &Path, disk: &DiskSpec) {
    let file = File::create(dir.join(&disk.path)).unwrap();
    match disk.format {
        ImageFormat::Raw => file.set_len(4 << 20).unwrap(),
        ImageFormat::Qcow2 => (&file).write_all(&empty_qcow2()).unwrap(),
    }
}

/// A qcow2 image of 4 MiB with nothing in it (version 3; docs/interop/qcow2.txt of QEMU).
fn empty_qcow2() -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    let mut image = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &(4_u64 << 20).to_be_bytes());
    put(36, &1_u32.to_be_bytes()); // L1 entries
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes()); // refcount table
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes()); // 16-bit refcounts
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..4 {
        put(2 * CLUSTER + 2 * cluster, &1_u16.to_be_bytes());
    }
    image
}

#[test]
fn every_argument_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let mut disks = vec![
        disk("root", DiskBus::Virtio, Some(1)),
        disk("cloud", DiskBus::Sata, None),
        disk("data", DiskBus::Scsi, Some(2)),
    ];
    disks[0].format = ImageFormat::Qcow2;
    let mut cd = disk("cd", DiskBus::Sata, Some(3));
    (cd.cdrom, cd.read_only, cd.serial) = (true, true, None);
    let mut scsi_cd = disk("scsicd", DiskBus::Scsi, None);
    (scsi_cd.cdrom, scsi_cd.read_only) = (true, true);
    let mut read_only = disk("ro", DiskBus::Virtio, None);
    (read_only.read_only, read_only.cache) = (true, CacheMode::WriteThrough);
    let mut comma = disk("comma", DiskBus::Virtio, None);
    comma.path = "a,b=c,,\"d\".img".into();
    disks.extend([cd, scsi_cd, read_only, comma]);
    for d in &disks {
        image(dir.path(), d);
    }
    let answers = ask(
        dir.path(),
        &machine_of(disks),
        &[
            json!({"execute": "query-status"}),
            json!({"execute": "query-named-block-nodes", "arguments": {"flat": true}}),
            json!({"execute": "query-cpus-fast"}),
            json!({"execute": "query-memory-size-summary"}),
            json!({"execute": "query-name"}),
            json!({"execute": "query-chardev"}),
            json!({"execute": "query-vnc"}),
            json!({"execute": "qom-get", "arguments": {"path": "/machine/peripheral/ua-root", "property": "bootindex"}}),
        ],
    );
    let of = |i: usize| {
        answers[i]
            .get("return")
            .unwrap_or_else(|| panic!("{}", answers[i]))
    };
    assert_eq!(of(0)["status"], "prelaunch");
    assert_eq!(of(1).as_array().unwrap().len(), 14);
    assert_eq!(of(2).as_array().unwrap().len(), 2);
    assert_eq!(of(3)["base-memory"], 64 << 20);
    assert_eq!(of(4)["name"], "default_guest,with=comma");
    assert_eq!(of(5).as_array().unwrap().len(), 3);
    assert_eq!(of(6)["enabled"], true);
    assert_eq!(of(7), 1);
    for name in [
        "qmp.sock",
        "serial0.sock",
        "serial0.log",
        "vnc.sock",
        "qga.sock",
    ] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_machine_with_nothing_and_one_with_many_disks() {
    let bare = MachineSpec {
        serial: None,
        serial_console: false,
        graphics: false,
        rng: false,
        balloon: false,
        guest_agent: false,
        acpi: false,
        ..machine_of(Vec::new())
    };
    let many = (0..20)
        .map(|i| disk(&format!("v{i}"), DiskBus::Virtio, Some(i + 1)))
        .chain((0..18).map(|i| disk(&format!("s{i}"), DiskBus::Sata, None)))
        .chain((0..20).map(|i| disk(&format!("c{i}"), DiskBus::Scsi, None)))
        .collect();
    for spec in [bare, machine_of(many)] {
        let dir = tempfile::tempdir().unwrap();
        for d in &spec.disks {
            image(dir.path(), d);
        }
        let answers = ask(dir.path(), &spec, &[json!({"execute": "query-status"})]);
        assert_eq!(answers[0]["return"]["status"], "prelaunch");
    }
}
