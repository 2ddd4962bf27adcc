use serde_json::json;

use super::*;

fn context() -> Context<'static> {
    Context {
        now: "2026-11-21T09:00:00Z".parse().unwrap(),
        new_uuid: &|| "11111111-2222-3333-4444-555555555555".to_owned(),
        internal: false,
    }
}

fn vmi(domain: Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "guest", "namespace": "default"},
        "spec": {"domain": domain},
    })
}

fn fields_of(kind: Kind, object: &Value) -> Vec<String> {
    match admit_create(kind, object, &context()) {
        Ok(_) => Vec::new(),
        Err(causes) => causes.into_iter().map(|c| c.field).collect(),
    }
}

fn vmi_fields(domain: Value) -> Vec<String> {
    fields_of(Kind::VirtualMachineInstance, &vmi(domain))
}

#[test]
fn impossible_processors_are_refused() {
    let with =
        |cpu: Value| vmi_fields(json!({"devices": {}, "memory": {"guest": "64Mi"}, "cpu": cpu}));
    assert_eq!(with(json!({"cores": 0})), ["spec.domain.cpu.cores"]);
    assert_eq!(with(json!({"cores": 513})), ["spec.domain.cpu"]);
    let huge = json!({"cores": u32::MAX, "sockets": u32::MAX, "threads": u32::MAX});
    assert_eq!(with(huge), ["spec.domain.cpu"]);
    assert_eq!(with(json!({"model": "a,b=c"})), ["spec.domain.cpu.model"]);
    assert_eq!(
        with(json!({"cores": 64, "sockets": 4, "threads": 2})),
        Vec::<String>::new()
    );
}

#[test]
fn impossible_memory_is_refused() {
    for guest in ["0", "1023Ki", "-1Gi", "17Ti", "1048577500m", "1Gx", ""] {
        assert_eq!(
            vmi_fields(json!({"devices": {}, "memory": {"guest": guest}})),
            ["spec.domain.memory.guest"],
            "{guest}"
        );
    }
    for guest in ["1Mi", "1G", "16Ti", "134217728"] {
        assert_eq!(
            vmi_fields(json!({"devices": {}, "memory": {"guest": guest}})),
            Vec::<String>::new()
        );
    }
}

#[test]
fn wrong_types_are_a_cause_and_not_a_panic() {
    for domain in [
        json!(null),
        json!([]),
        json!({"memory": 1}),
        json!({"devices": {"disks": {}}}),
        json!({"cpu": "x"}),
    ] {
        assert!(!vmi_fields(domain).is_empty());
    }
    for object in [
        json!(null),
        json!(1),
        json!({}),
        json!({"spec": []}),
        json!({"metadata": {}, "spec": null}),
    ] {
        for kind in Kind::ALL {
            assert!(
                admit_create(kind, &object, &context()).is_err(),
                "{kind:?} {object}"
            );
        }
    }
}

#[test]
fn smbios_strings_are_plain() {
    let with = |firmware: Value| {
        vmi_fields(json!({"devices": {}, "memory": {"guest": "64Mi"}, "firmware": firmware}))
    };
    assert_eq!(with(json!({"uuid": "x"})), ["spec.domain.firmware.uuid"]);
    assert_eq!(
        with(json!({"serial": "a\u{0}b"})),
        ["spec.domain.firmware.serial"]
    );
    assert_eq!(
        with(json!({"bootloader": {"efi": {}}})),
        ["spec.domain.firmware.bootloader.efi"]
    );
    assert_eq!(
        with(json!({"bootloader": {"bios": {}}, "serial": "a, b=c"})),
        Vec::<String>::new()
    );
}

#[test]
fn networks_are_refused_until_they_are_built() {
    let mut object =
        vmi(json!({"devices": {"interfaces": [{"name": "default"}]}, "memory": {"guest": "64Mi"}}));
    object["spec"]["networks"] = json!([{"name": "default", "pod": {}}]);
    assert_eq!(
        fields_of(Kind::VirtualMachineInstance, &object),
        ["spec.domain.devices.interfaces", "spec.networks"]
    );
    let pod = json!({"devices": {"autoattachPodInterface": true}, "memory": {"guest": "64Mi"}});
    assert_eq!(
        vmi_fields(pod),
        ["spec.domain.devices.autoattachPodInterface"]
    );
    let none = json!({"devices": {"autoattachPodInterface": false}, "memory": {"guest": "64Mi"}});
    assert_eq!(vmi_fields(none), Vec::<String>::new());
}

#[test]
fn the_runtime_has_one_name() {
    let object = |name: &str| json!({"metadata": {"name": name}, "spec": {"enabled": true}});
    assert_eq!(
        fields_of(Kind::VMRuntime, &object("vmruntime")),
        Vec::<String>::new()
    );
    assert_eq!(
        fields_of(Kind::VMRuntime, &object("other")),
        ["metadata.name"]
    );
    let format = json!({"metadata": {"name": "vmruntime"}, "spec": {"vmImageFormat": "vmdk"}});
    assert_eq!(fields_of(Kind::VMRuntime, &format).len(), 1);
}

#[test]
fn settings_of_the_runtime_are_taken_where_they_ask_for_nothing() {
    let object = |spec: Value| json!({"metadata": {"name": "vmruntime"}, "spec": spec});
    let documented = json!({
        "enabled": true, "useEmulation": null, "vmImageFormat": "qcow2",
        "enableGPU": false, "installNvidiaDriver": false, "cdiUploadProxyVIP": "",
        "disableCDIUploadProxyVIP": true, "deployOnNestedVirtualization": true,
        "appArmorLauncherProfile": "", "haPolicy": null,
        "storage": {"defaultStorageClass": "local-shared", "defaultScratchSpaceStorageClass": ""},
        "evictionPolicy": {"evictionStrategy": "LiveMigrate", "maxMigrationAttemptsPerVM": 3,
            "migrationTargetInitializationTimeout": "1m30s"},
        "featureGates": {"VMPersistentState": "Enabled", "SomethingElse": "Disabled"},
    });
    assert_eq!(
        fields_of(Kind::VMRuntime, &object(documented)),
        Vec::<String>::new()
    );
    for (field, value) in [
        ("enableGPU", json!(true)),
        ("installNvidiaDriver", json!(true)),
        ("cdiUploadProxyVIP", json!("10.0.0.1")),
        ("appArmorLauncherProfile", json!("unconfined")),
        ("haPolicy", json!({"defaultRecoveryStrategy": "Reschedule"})),
    ] {
        assert_eq!(
            fields_of(Kind::VMRuntime, &object(json!({field: value}))),
            [format!("spec.{field}")]
        );
    }
    let class = json!({"storage": {"defaultStorageClass": "No Class"}});
    assert_eq!(
        fields_of(Kind::VMRuntime, &object(class)),
        ["spec.storage.defaultStorageClass"]
    );
}

#[test]
fn words_that_nobody_knows_and_words_of_later() {
    let vm = |strategy: &str, eviction: &str| {
        json!({"metadata": {"name": "vm"}, "spec": {"runStrategy": strategy, "template": {"spec": {
            "domain": {"devices": {}, "memory": {"guest": "64Mi"}}, "evictionStrategy": eviction,
        }}}})
    };
    let messages = |object: &Value| -> Vec<String> {
        let causes = admit_create(Kind::VirtualMachine, object, &context()).unwrap_err();
        causes.into_iter().map(|c| c.message).collect()
    };
    assert_eq!(
        messages(&vm("Nope", "Nope")),
        [
            "spec.template.spec.evictionStrategy is set with an unrecognized option: Nope",
            "Invalid RunStrategy (Nope)",
        ]
    );
    assert_eq!(
        messages(&vm("Always", "LiveMigrate")),
        [
            "spec.template.spec.evictionStrategy 'LiveMigrate' is not honoured by this version of Ferrovirt; use None"
        ]
    );
}

#[test]
fn data_volume_templates_are_judged_with_the_vm() {
    let object = json!({"metadata": {"name": "vm", "namespace": "default"}, "spec": {
        "runStrategy": "Always",
        "template": {"metadata": {"name": "x", "creationTimestamp": null}, "spec": {
            "domain": {"devices": {"disks": [{"name": "a"}]}, "memory": {"guest": "64Mi"}},
            "volumes": [{"name": "a", "dataVolume": {"name": "root"}}],
        }},
        "dataVolumeTemplates": [
            {"metadata": {"name": "root"}, "spec": {"source": {"http": {"url": "http://"}}, "storage": {}}},
            {"metadata": {"name": "root"}, "spec": {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": 1073741824}}}}},
        ],
    }});
    assert_eq!(
        fields_of(Kind::VirtualMachine, &object),
        [
            "spec.template.metadata.name",
            "spec.dataVolumeTemplate[0].source.HTTP.url",
            "spec.dataVolumeTemplates[0].spec.Storage.resources.requests.size",
            "spec.dataVolumeTemplates[1].metadata.name",
        ]
    );
}

#[test]
fn the_answer_names_every_cause() {
    let object = json!({"metadata": {"name": "vm"}, "spec": {"template": {"spec": {"domain": {"cpu": {"cores": 0}}}}}});
    let causes = admit_create(Kind::VirtualMachine, &object, &context()).unwrap_err();
    let status = denied(Kind::VirtualMachine, "vm", &causes).into_status();
    assert_eq!(
        serde_json::to_value(&status).unwrap(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Invalid", "code": 422,
            "message": "spec.template.spec.domain.cpu.cores must be at least 1, if specified, RunStrategy must be specified",
            "details": {"name": "vm", "group": "kubevirt.io", "kind": "VirtualMachine", "causes": [
                {"reason": "FieldValueInvalid", "field": "spec.template.spec.domain.cpu.cores",
                 "message": "spec.template.spec.domain.cpu.cores must be at least 1, if specified"},
                {"reason": "FieldValueInvalid", "field": "spec.running", "message": "RunStrategy must be specified"},
            ]},
        })
    );
}

#[test]
fn a_vm_being_deleted_is_let_go() {
    let object = json!({
        "metadata": {"name": "x", "deletionTimestamp": "2026-11-21T09:00:00Z"},
        "spec": {"template": {"spec": {"domain": {}}}},
    });
    assert!(admit_update(Kind::VirtualMachine, &object, &object, &context()).is_ok());
}

#[test]
fn warnings_name_what_has_no_effect() {
    let object = json!({"spec": {"running": true, "template": {"spec": {
        "domain": {"devices": {"disks": [{"name": "a"}]}}, "volumes": [{"name": "a"}, {"name": "b"}],
    }}}});
    assert_eq!(
        warnings(Kind::VirtualMachine, &object),
        [
            "spec.running is deprecated, please use spec.runStrategy instead.",
            "spec.template.spec.volumes[1] has no disk of the same name; the guest will not see it",
        ]
    );
}

#[test]
fn defaults_are_written_once() {
    let object = vmi(json!({"devices": {"disks": []}, "memory": {"guest": 134_217_728}}));
    let first = admit_create(Kind::VirtualMachineInstance, &object, &context()).unwrap();
    assert_eq!(
        first.pointer("/spec/domain/memory/guest").unwrap(),
        "134217728"
    );
    let mut again = first.clone();
    set_defaults(Kind::VirtualMachineInstance, None, &mut again, &context());
    assert_eq!(first, again);
}

mod never_panics {
    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = prop::sample::select(vec![
            "spec",
            "template",
            "domain",
            "cpu",
            "cores",
            "memory",
            "guest",
            "devices",
            "disks",
            "disk",
            "cdrom",
            "bus",
            "volumes",
            "name",
            "cloudInitNoCloud",
            "userData",
            "resources",
            "requests",
            "limits",
            "metadata",
            "dataVolumeTemplates",
            "source",
            "http",
            "url",
            "storage",
            "pvc",
            "runStrategy",
            "running",
            "firmware",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            Just(json!("1Gi")),
            Just(json!("Always")),
        ];
        leaf.prop_recursive(8, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| {
                    Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_sent(object in any_json(), old in any_json()) {
            for kind in Kind::ALL {
                let _ = admit_create(kind, &object, &context());
                let _ = admit_update(kind, &old, &object, &context());
                let _ = warnings(kind, &object);
            }
        }
    }
}
