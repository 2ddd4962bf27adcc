//! Defaults of volumes: modes of files, and what legacy sources assume.

use serde_json::{Map, Value, json};

use super::fields::{default, default_text};
use super::pod_defaults::{field_reference, pull_policy};

/// Fills in a volume of a Pod.
pub(super) fn volume(volume: &mut Map<String, Value>) {
    // A volume that says nothing is an empty directory.
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    const MODE: i64 = 0o644;
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", MODE);
        }
    }
    downward(volume.get_mut("downwardAPI"));
    for source in list(volume.get_mut("projected"), "sources") {
        downward(source.get_mut("downwardAPI"));
        if let Some(token) = source
            .get_mut("serviceAccountToken")
            .and_then(Value::as_object_mut)
        {
            default(token, "expirationSeconds", 3600);
        }
    }
    if let Some(claim) = volume
        .get_mut("ephemeral")
        .and_then(|e| e.get_mut("volumeClaimTemplate"))
    {
        if let Some(claim) = claim.as_object_mut() {
            default(claim, "metadata", json!({}));
        }
        if let Some(spec) = claim.get_mut("spec").and_then(Value::as_object_mut) {
            default_text(spec, "volumeMode", "Filesystem");
        }
    }
    if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
        let policy = pull_policy(image.get("reference"));
        default_text(image, "pullPolicy", policy);
    }
    legacy(volume);
}

/// Sources that Pods and PersistentVolumes have in common.
pub(super) fn legacy(volume: &mut Map<String, Value>) {
    let texts: [(&str, &[(&str, &str)]); 4] = [
        (
            "azureDisk",
            &[
                ("cachingMode", "ReadWrite"),
                ("kind", "Shared"),
                ("fsType", "ext4"),
            ],
        ),
        ("iscsi", &[("iscsiInterface", "default")]),
        (
            "rbd",
            &[
                ("pool", "rbd"),
                ("user", "admin"),
                ("keyring", "/etc/ceph/keyring"),
            ],
        ),
        (
            "scaleIO",
            &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")],
        ),
    ];
    for (source, defaults) in texts {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            for (key, value) in defaults {
                default_text(source, key, value);
            }
        }
    }
    if let Some(disk) = volume.get_mut("azureDisk").and_then(Value::as_object_mut) {
        default(disk, "readOnly", false);
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(path, "type", "");
    }
}

fn list<'a>(
    parent: Option<&'a mut Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    parent
        .and_then(|p| p.get_mut(key))
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

fn downward(source: Option<&mut Value>) {
    for file in list(source, "items") {
        field_reference(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_get_their_defaults() {
        for (given, expected) in [
            (json!({"name": "v"}), json!({"name": "v", "emptyDir": {}})),
            (
                json!({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
                json!({"downwardAPI": {"defaultMode": 420, "items": [
                    {"path": "a", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
                ]}}),
            ),
            (
                json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
                json!({"projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                ]}}),
            ),
            (
                json!({"iscsi": {"lun": 0}}),
                json!({"iscsi": {"lun": 0, "iscsiInterface": "default"}}),
            ),
            (
                json!({"image": {"reference": "r/i:1"}}),
                json!({"image": {"reference": "r/i:1", "pullPolicy": "IfNotPresent"}}),
            ),
        ] {
            let mut map = given.as_object().cloned().unwrap();
            volume(&mut map);
            assert_eq!(Value::Object(map), expected);
        }
    }
}
