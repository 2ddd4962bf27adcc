use std::path::PathBuf;

use super::*;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("crds/{name}.yaml"))
}

/// `FERROVIRT_BLESS=1` writes the files anew.
#[test]
fn definitions_are_as_checked_in() {
    for crd in crds() {
        let name = crd.metadata.name.clone().unwrap();
        let value = serde_json::to_value(&crd).unwrap();
        let text = serde_saphyr::to_string(&value).unwrap();
        if std::env::var_os("FERROVIRT_BLESS").is_some() {
            std::fs::write(golden(&name), &text).unwrap();
        }
        let kept = std::fs::read_to_string(golden(&name)).unwrap_or_default();
        assert!(
            kept == text,
            "{name}: crates/api/crds is out of date; run the test with FERROVIRT_BLESS=1 and look at the difference"
        );
        let read: Value = serde_saphyr::from_str(&kept).unwrap();
        assert_eq!(read, value, "{name}: the file reads back as the definition");
    }
}

#[test]
fn names_and_columns_are_those_of_the_originals() {
    let names: Vec<String> = crds()
        .iter()
        .map(|c| c.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "vmruntimes.vm.cluster.gke.io",
            "vmruntimepreflightchecks.vm.cluster.gke.io",
            "datavolumes.cdi.kubevirt.io",
            "virtualmachines.kubevirt.io",
            "virtualmachineinstances.kubevirt.io",
        ]
    );
    for crd in crds() {
        let version = &crd.spec.versions[0];
        assert!(version.served && version.storage);
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        let columns: Vec<&str> = version
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|c| c.name.as_str())
            .collect();
        let expected: &[&str] = match crd.spec.names.kind.as_str() {
            "VMRuntime" => &["Age", "Enabled", "Ready", "PreflightCheck"],
            "VMRuntimePreflightCheck" => &["Pass", "Age"],
            "DataVolume" => &["Phase", "Progress", "Restarts", "Age"],
            "VirtualMachine" => &["Age", "Status", "Ready"],
            _ => &[
                "Age",
                "Phase",
                "IP",
                "NodeName",
                "Ready",
                "Live-Migratable",
                "Paused",
            ],
        };
        assert_eq!(columns, expected);
    }
}

#[test]
fn schemas_are_structural_enough_to_be_served() {
    fn walk(schema: &Value, path: &str) {
        let map = schema.as_object().unwrap();
        assert!(!map.contains_key("$ref"), "{path}: no references");
        let typed = map.contains_key("type")
            || map.get("x-kubernetes-int-or-string") == Some(&json!(true))
            || map.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
        assert!(typed, "{path}: has a type: {schema}");
        for (name, child) in map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            walk(child, &format!("{path}.{name}"));
        }
        for word in ["items", "additionalProperties"] {
            if let Some(child) = map.get(word).filter(|c| c.is_object()) {
                walk(child, &format!("{path}.{word}"));
            }
        }
    }
    for crd in crds() {
        walk(&schema_of(&crd), &crd.spec.names.kind);
    }
}

#[test]
fn every_field_of_the_platform_is_described() {
    fn walk(schema: &Value, path: &str, bare: &mut Vec<String>) {
        for (name, child) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = format!("{path}.{name}");
            if child.get("description").is_none() {
                bare.push(path.clone());
            }
            walk(child, &path, bare);
            if let Some(items) = child.get("items") {
                walk(items, &path, bare);
            }
        }
    }
    let mut bare = Vec::new();
    for crd in crds() {
        let mut schema = schema_of(&crd);
        schema["properties"]
            .as_object_mut()
            .unwrap()
            .remove("metadata");
        walk(&schema, &crd.spec.names.kind, &mut bare);
    }
    bare.retain(|p| !p.ends_with(".apiVersion") && !p.ends_with(".kind"));
    assert_eq!(bare, Vec::<String>::new());
}
