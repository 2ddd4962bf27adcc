use serde_json::json;

use super::*;

fn messages(kind: Kind, object: &Value) -> Vec<String> {
    refused(kind, object)
        .into_iter()
        .map(|c| c.message)
        .collect()
}

#[test]
fn a_field_of_kubevirt_is_named_as_not_honoured() {
    let object = json!({"spec": {
        "runStrategy": "Halted",
        "instancetype": {"name": "u1.small"},
        "template": {"spec": {
            "domain": {"devices": {"tpm": {}, "disks": [{"name": "a", "lun": {}}]}},
            "volumes": [{"name": "a", "containerDisk": {"image": "x"}}],
        }},
        "dataVolumeTemplates": [{"metadata": {"name": "d"}, "spec": {"source": {"s3": {"url": "x"}}}}],
    }});
    let causes = refused(Kind::VirtualMachine, &object);
    let fields: Vec<&str> = causes.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.dataVolumeTemplates[0].spec.source.s3",
            "spec.instancetype",
            "spec.template.spec.domain.devices.disks[0].lun",
            "spec.template.spec.domain.devices.tpm",
            "spec.template.spec.volumes[0].containerDisk",
        ]
    );
    assert_eq!(
        causes[3].message,
        "spec.template.spec.domain.devices.tpm is not honoured by this version of Ferrovirt; remove it"
    );
}

#[test]
fn a_field_of_nobody_is_unknown() {
    let object =
        json!({"spec": {"domain": {"devices": {"flux": {"x": 1}}}, "speling": true}, "extra": 1});
    assert_eq!(
        messages(Kind::VirtualMachineInstance, &object),
        [
            "unknown field \"extra\"",
            "unknown field \"spec.domain.devices.flux\"",
            "unknown field \"spec.speling\"",
        ]
    );
}

#[test]
fn what_asks_for_nothing_is_let_through() {
    let object = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "x", "anything": 1},
        "spec": {"networks": [], "domain": {"devices": {"interfaces": [], "tpm": null}}},
        "status": {"whatever": true},
    });
    assert_eq!(
        messages(Kind::VirtualMachineInstance, &object),
        Vec::<String>::new()
    );
    let template = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}});
    assert_eq!(
        messages(Kind::VirtualMachine, &template),
        Vec::<String>::new()
    );
}

#[test]
fn the_vm_runtime_knows_its_later_fields() {
    let object = json!({"spec": {"enabled": true, "haPolicy": {}, "vmimageformat": "raw"}});
    assert_eq!(
        messages(Kind::VMRuntime, &object),
        [
            "spec.haPolicy is not honoured by this version of Ferrovirt; remove it",
            "unknown field \"spec.vmimageformat\"",
        ]
    );
}

#[test]
fn schemas_are_paired_with_their_kinds() {
    for (kind, crd) in Kind::ALL.into_iter().zip(crds()) {
        let (group, resource) = kind.group_resource();
        assert_eq!(crd.metadata.name.unwrap(), format!("{resource}.{group}"));
    }
}

/// No honoured field may be missing from the lists, or a typing error in one of ours would go unseen.
#[test]
fn honoured_fields_of_the_instance_are_kubevirts() {
    fn walk(schema: &Value, path: &str, missing: &mut Vec<String>) {
        for (name, child) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = format!("{path}.{name}");
            if path.starts_with("spec.affinity") {
                continue;
            }
            if !Kind::VirtualMachineInstance.is_known(&path) {
                missing.push(path.clone());
            }
            walk(child, &path, missing);
            if let Some(items) = child.get("items") {
                walk(items, &path, missing);
            }
        }
    }
    let crds = crds();
    let instance = crds
        .iter()
        .find(|c| c.spec.names.kind == "VirtualMachineInstance");
    let schema = schema_of(instance.unwrap());
    let mut missing = Vec::new();
    walk(&schema["properties"]["spec"], "spec", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}
