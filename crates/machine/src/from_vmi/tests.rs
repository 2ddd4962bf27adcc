use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::facts::{HostCpu, MachineType};
use crate::spec::{Accelerator, DiskBacking, ImageFormat};

fn host() -> HostFacts {
    let volume = |path: &str| VolumeFacts {
        path: path.into(),
        format: ImageFormat::Raw,
        backing: DiskBacking::File,
        direct_io: true,
        read_only: false,
    };
    HostFacts {
        accelerator: Accelerator::Tcg,
        machine_types: vec![
            MachineType {
                name: "pc-q35-7.1".into(),
                alias: None,
                max_cpus: 288,
            },
            MachineType {
                name: "pc-q35-7.2".into(),
                alias: Some("q35".into()),
                max_cpus: 288,
            },
        ],
        cpu_models: vec!["max".into(), "qemu64".into(), "Nehalem".into()],
        host_cpu: Some(HostCpu {
            model: "host".into(),
            features: vec![("arch-capabilities".into(), false)],
        }),
        volumes: BTreeMap::from([
            ("root".to_owned(), volume("volumes/root/disk.img")),
            ("data".to_owned(), volume("volumes/data/disk.img")),
        ]),
    }
}

fn vmi(domain: &Value) -> VirtualMachineInstance {
    let mut object = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "guest", "namespace": "default", "uid": "u1"},
        "spec": {"domain": {
            "devices": {}, "memory": {"guest": "128Mi"},
            "firmware": {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223"},
        }},
    });
    json_merge(&mut object["spec"]["domain"], domain);
    serde_json::from_value(object).unwrap()
}

fn json_merge(into: &mut Value, from: &Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(into), Some(from)) => {
            for (key, value) in from {
                json_merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        _ => *into = from.clone(),
    }
}

fn resolved(domain: &Value) -> MachineSpec {
    from_vmi(&vmi(domain), &host()).unwrap()
}

fn refused(domain: &Value) -> Vec<String> {
    from_vmi(&vmi(domain), &host())
        .unwrap_err()
        .into_iter()
        .map(|e| e.to_string())
        .collect()
}

#[test]
fn a_minimal_machine() {
    let spec = resolved(&json!({}));
    assert_eq!(spec.name, "default_guest");
    assert_eq!(spec.machine_type, "pc-q35-7.2");
    assert_eq!(spec.cpu.model, "max", "emulation gives what it has");
    assert_eq!(spec.memory_bytes, 128 << 20);
    assert!(spec.serial_console && spec.graphics && spec.balloon && spec.acpi && !spec.rng);
}

#[test]
fn host_models_come_from_the_probe() {
    let mut host = host();
    host.accelerator = Accelerator::Kvm;
    let spec = from_vmi(&vmi(&json!({"cpu": {"model": "host-passthrough"}})), &host).unwrap();
    assert_eq!(spec.cpu.model, "host");
    assert_eq!(spec.cpu.features, [("arch-capabilities".to_owned(), false)]);
    host.host_cpu = None;
    assert!(
        from_vmi(&vmi(&json!({})), &host).is_err(),
        "no probe, no host model"
    );
    let direct = from_vmi(&vmi(&json!({"cpu": {"model": "host"}})), &host);
    assert!(direct.is_err(), "not around the probe");
}

#[test]
fn memory_is_rounded_up_to_whole_mebibytes() {
    let spec = resolved(&json!({"memory": {"guest": "1G"}}));
    assert_eq!(spec.memory_bytes, 954 << 20);
}

#[test]
fn what_the_host_does_not_have_is_named() {
    assert_eq!(
        refused(&json!({"machine": {"type": "pc-q35-99.0"}, "cpu": {"model": "Neverland"}})),
        [
            "spec.domain.cpu.model: the node cannot give a CPU model 'Neverland'; use host-model, or a model of its QEMU",
            "spec.domain.machine.type: QEMU on this node has no machine type 'pc-q35-99.0'; use q35",
        ]
    );
    assert_eq!(
        refused(&json!({"cpu": {"cores": 300}})),
        ["spec.domain.cpu: 300 CPUs are more than the 288 of machine type pc-q35-7.2"]
    );
    assert_eq!(
        refused(&json!({"devices": {"disks": [{"name": "nowhere"}]}})),
        ["spec.domain.devices.disks[0].name: the volume 'nowhere' is not on the node"]
    );
}

#[test]
fn boot_order_is_the_given_one_or_that_of_the_list() {
    let order = |disks: Value| -> Vec<Option<u32>> {
        let spec = resolved(&json!({"devices": {"disks": disks}}));
        spec.disks.iter().map(|d| d.boot_index).collect()
    };
    assert_eq!(
        order(json!([{"name": "root"}, {"name": "data"}])),
        [Some(1), Some(2)]
    );
    assert_eq!(
        order(json!([{"name": "root"}, {"name": "data", "bootOrder": 7}])),
        [None, Some(7)]
    );
}

#[test]
fn caches_follow_what_the_volume_can_do() {
    let mut host = host();
    let cache = |host: &HostFacts, cache: Value| {
        let disks = json!({"devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}, "cache": cache}]}});
        from_vmi(&vmi(&disks), host).map(|s| s.disks[0].cache)
    };
    assert_eq!(cache(&host, Value::Null), Ok(CacheMode::None));
    assert_eq!(cache(&host, json!("writeback")), Ok(CacheMode::WriteBack));
    host.volumes.get_mut("root").unwrap().direct_io = false;
    assert_eq!(cache(&host, Value::Null), Ok(CacheMode::WriteThrough));
    assert_eq!(
        cache(&host, json!("none")).unwrap_err()[0].field,
        "spec.domain.devices.disks[0].cache"
    );
}

#[test]
fn a_cdrom_is_read_only_and_never_virtio() {
    let spec = resolved(&json!({"devices": {"disks": [{"name": "root", "cdrom": {}}]}}));
    assert!(spec.disks[0].read_only && spec.disks[0].cdrom);
    assert_eq!(spec.disks[0].bus, DiskBus::Sata);
    refused(&json!({"devices": {"disks": [{"name": "root", "cdrom": {"bus": "virtio"}}]}}));
}
