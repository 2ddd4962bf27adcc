//! Volumes of Pods: their names, one source each, and what is projected into files.

use std::collections::{HashMap, HashSet};

use apimachinery::name;
use serde_json::Value;

use super::pod_env::{PROJECTED_FIELDS, field_reference, resource_reference};
use super::spot::{Faults, Spot};
use super::{volume_claims, volume_sources};

/// Volumes by name, each with the field of its source.
pub(super) type Volumes<'a> = HashMap<&'a str, &'a str>;

/// Judges the volumes and gives those that can be mounted. `pod` is the name of the Pod, empty in a template.
pub(super) fn volumes<'a>(spec: &Spot<'a>, pod: &str, faults: &mut Faults) -> Volumes<'a> {
    let mut good = Volumes::new();
    let created: HashSet<String> = spec
        .items("volumes")
        .filter(|v| v.has("ephemeral") && !pod.is_empty())
        .map(|v| format!("{pod}-{}", v.text("name")))
        .collect();
    for volume in spec.items("volumes") {
        let before = faults.0.len();
        let kind = source(&volume, pod, faults);
        let given = volume.text("name");
        if given.is_empty() {
            faults.required(&volume.at("name"), "");
        } else {
            faults.named(&volume.at("name"), given, name::dns1123_label);
        }
        if good.contains_key(given) {
            faults.duplicate(&volume.at("name"), given);
        }
        if faults.0.len() == before
            && let Some(kind) = kind
        {
            good.insert(given, kind);
        }
        let claim = volume.child("persistentVolumeClaim");
        if created.contains(claim.text("claimName")) {
            faults.invalid(
                &claim.at("claimName"),
                claim.text("claimName"),
                "must not reference a PVC that gets created for an ephemeral volume",
            );
        }
    }
    good
}

/// In the order in which upstream looks for them: of several, the first counts.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn source(volume: &Spot<'_>, pod: &str, faults: &mut Faults) -> Option<&'static str> {
    let mut first = None;
    for kind in SOURCES {
        let Some(source) = volume.given(kind) else {
            continue;
        };
        if first.is_some() {
            // The spellings are upstream's.
            let at = match kind {
                "downwardAPI" => "downwarAPI",
                "cephfs" => "cephFS",
                other => other,
            };
            faults.forbidden(&volume.at(at), "may not specify more than 1 volume type");
            continue;
        }
        first = Some(kind);
        let source = Spot::new(source.value, volume.at(volume_sources::path_of(kind)));
        volume_sources::common(&source, kind, faults);
        of_pods(&source, kind, volume, pod, faults);
    }
    if first.is_none() {
        faults.required(&volume.path, "must specify a volume type");
    }
    first
}

/// Sources that only Pods have, or that they judge in their own way.
fn of_pods(source: &Spot<'_>, kind: &str, volume: &Spot<'_>, pod: &str, faults: &mut Faults) {
    match kind {
        "emptyDir" => {
            let limit = source.child("sizeLimit");
            if limit.quantity().is_some_and(|size| size.is_negative()) {
                faults.forbidden(
                    &limit.path,
                    "SizeLimit field must be a valid resource quantity",
                );
            }
        }
        "secret" | "configMap" => {
            faults.mode(source, "defaultMode");
            for item in source.items("items") {
                key_to_path(&item, faults);
            }
        }
        "downwardAPI" => {
            faults.mode(source, "defaultMode");
            for file in source.items("items") {
                // Upstream tells them without their index.
                downward_file(&Spot::new(file.value, source.path.clone()), faults);
            }
        }
        "projected" => {
            faults.mode(source, "defaultMode");
            projections(source, faults);
        }
        "csi" => {
            volume_sources::csi_driver(source, "driver", faults);
            if let Some(secret) = source.given("nodePublishSecretRef") {
                faults.demanded(&secret, &["name"]);
                let given = secret.text("name");
                if !given.is_empty() {
                    faults.named(&source.at("name"), given, name::dns1123_subdomain);
                }
            }
        }
        "cinder" | "storageos" => {
            if let Some(secret) = source.given("secretRef") {
                faults.demanded(&secret, &["name"]);
            }
        }
        "ephemeral" => ephemeral(source, volume, pod, faults),
        "image" => {
            if !pod.is_empty() {
                faults.demanded(source, &["reference"]);
            }
            faults.choice(source, "pullPolicy", &["Always", "IfNotPresent", "Never"]);
        }
        _ => {}
    }
}

fn key_to_path(item: &Spot<'_>, faults: &mut Faults) {
    faults.demanded(item, &["key", "path"]);
    faults.unreserved(&item.at("path"), item.text("path"));
    faults.mode(item, "mode");
}

fn downward_file(file: &Spot<'_>, faults: &mut Faults) {
    faults.demanded(file, &["path"]);
    faults.unreserved(&file.at("path"), file.text("path"));
    match (file.given("fieldRef"), file.given("resourceFieldRef")) {
        (Some(field), other) => {
            field_reference(&field, PROJECTED_FIELDS, faults);
            if other.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                faults.invalid(&file.path, "resource", detail);
            }
        }
        (None, Some(resource)) => resource_reference(&resource, true, faults),
        (None, None) => {
            let detail = "one of fieldRef and resourceFieldRef is required";
            faults.required(&file.path, detail);
        }
    }
    faults.mode(file, "mode");
}

/// Paths of files, which several sources may not share.
struct Paths<'a> {
    seen: HashSet<&'a str>,
    volume: &'a Spot<'a>,
}

impl<'a> Paths<'a> {
    fn add(&mut self, path: &'a str, shown: &str, faults: &mut Faults) {
        if !path.is_empty() && !self.seen.insert(path) {
            faults.invalid(&self.volume.path, shown, "conflicting duplicate paths");
        }
    }
}

fn projections<'a>(volume: &'a Spot<'a>, faults: &mut Faults) {
    let mut paths = Paths {
        seen: HashSet::new(),
        volume,
    };
    for source in volume.items("sources") {
        let mut kinds = 0;
        for kind in ["secret", "configMap"] {
            let Some(from) = source.given(kind) else {
                continue;
            };
            kinds += 1;
            faults.demanded(&from, &["name"]);
            for item in from.items("items") {
                key_to_path(&item, faults);
                paths.add(item.text("path"), from.text("name"), faults);
            }
        }
        if let Some(from) = source.given("downwardAPI") {
            kinds += 1;
            for file in from.items("items") {
                let path = file.text("path");
                downward_file(&Spot::new(file.value, from.path.clone()), faults);
                paths.add(path, path, faults);
            }
        }
        if let Some(token) = source.given("serviceAccountToken") {
            kinds += 1;
            service_account_token(&token, volume, faults);
        }
        if let Some(bundle) = source.given("clusterTrustBundle") {
            kinds += 1;
            trust_bundle(&bundle, faults);
            let path = bundle.text("path");
            paths.add(path, path, faults);
        }
        if kinds > 1 {
            let detail = "may not specify more than 1 volume type per source";
            faults.forbidden(&source.path, detail);
        }
    }
}

fn service_account_token(token: &Spot<'_>, volume: &Spot<'_>, faults: &mut Faults) {
    const SHORTEST: i64 = 600;
    const LONGEST: i64 = 1 << 32;
    let seconds = token.int("expirationSeconds").unwrap_or(0);
    let at = token.at("expirationSeconds");
    if seconds < SHORTEST {
        let detail = "may not specify a duration less than 10 minutes";
        faults.invalid(&at, seconds, detail);
    }
    if seconds > LONGEST {
        let detail = "may not specify a duration larger than 2^32 seconds";
        faults.invalid(&at, seconds, detail);
    }
    // The path is told at the volume, as upstream does.
    let path = token.text("path");
    if path.is_empty() {
        faults.required(&volume.at("path"), "");
    } else {
        faults.unreserved(&volume.at("path"), path);
    }
}

fn trust_bundle(bundle: &Spot<'_>, faults: &mut Faults) {
    match (bundle.has("name"), bundle.has("signerName")) {
        (true, true) => faults.invalid(
            &bundle.path,
            bundle.value.clone(),
            "only one of name and signerName may be used",
        ),
        (true, false) => {
            faults.demanded(bundle, &["name"]);
            if bundle.has("labelSelector") {
                let detail = "labelSelector must be unset if name is specified";
                let given = bundle.child("labelSelector");
                faults.invalid(&given.path, given.value.clone(), detail);
            }
        }
        (false, true) => {
            faults.demanded(bundle, &["signerName"]);
            faults.selector(bundle, "labelSelector");
        }
        (false, false) => {
            let detail = "either name or signerName must be specified";
            faults.required(&bundle.path, detail);
        }
    }
    faults.demanded(bundle, &["path"]);
    faults.unreserved(&bundle.at("path"), bundle.text("path"));
}

fn ephemeral(source: &Spot<'_>, volume: &Spot<'_>, pod: &str, faults: &mut Faults) {
    let Some(template) = source.given("volumeClaimTemplate") else {
        faults.required(&source.at("volumeClaimTemplate"), "");
        return;
    };
    let metadata = template.child("metadata");
    faults.labels(&metadata, "labels");
    for (key, value) in metadata.value.as_object().into_iter().flatten() {
        let set = match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        };
        if set && !matches!(key.as_str(), "labels" | "annotations") {
            faults.forbidden(&metadata.at(key), "cannot be set");
        }
    }
    volume_claims::claim(&template.child("spec"), faults);
    let given = volume.text("name");
    if !pod.is_empty() && !given.is_empty() {
        let claim = format!("{pod}-{given}");
        for detail in name::dns1123_subdomain(&claim) {
            faults.invalid(
                &volume.at("name"),
                given,
                format!("PVC name {claim:?}: {detail}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::{FieldError, FieldPath};
    use serde_json::json;

    fn of(volume: &Value) -> Vec<String> {
        let spec = json!({"volumes": [volume]});
        judged(|faults| {
            volumes(&Spot::new(&spec, FieldPath::new("s")), "p", faults);
        })
    }

    #[test]
    fn a_volume_has_one_complete_source() {
        for (volume, expected) in [
            (json!({"name": "v", "emptyDir": {}}), vec![]),
            (json!({"name": "v"}), vec!["s.volumes[0] Required"]),
            (
                json!({"name": "V_", "emptyDir": {}}),
                vec!["s.volumes[0].name Invalid"],
            ),
            (
                json!({"name": "v", "emptyDir": {"sizeLimit": "-1"}}),
                vec!["s.volumes[0].emptyDir.sizeLimit Forbidden"],
            ),
            (
                json!({"name": "v", "emptyDir": {}, "hostPath": {"path": ""}}),
                vec!["s.volumes[0].hostPath Forbidden"],
            ),
            (
                json!({"name": "v", "secret": {"defaultMode": 512}}),
                vec![
                    "s.volumes[0].secret.defaultMode Invalid",
                    "s.volumes[0].secret.secretName Required",
                ],
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"path": "../x", "mode": -1}]}}),
                vec![
                    "s.volumes[0].configMap.items[0].key Required",
                    "s.volumes[0].configMap.items[0].mode Invalid",
                    "s.volumes[0].configMap.items[0].path Invalid",
                ],
            ),
            (
                json!({"name": "v", "downwardAPI": {"items": [{"path": "a"}, {"path": "..b", "fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}]}}),
                vec![
                    "s.volumes[0].downwardAPI Required",
                    "s.volumes[0].downwardAPI.fieldRef.fieldPath NotSupported",
                    "s.volumes[0].downwardAPI.path Invalid",
                ],
            ),
            (
                json!({"name": "v", "csi": {"driver": "a_b", "nodePublishSecretRef": {}}}),
                vec![
                    "s.volumes[0].csi.driver Invalid",
                    "s.volumes[0].csi.nodePublishSecretRef.name Required",
                ],
            ),
            (
                json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {}}}}),
                vec![
                    "s.volumes[0].ephemeral.volumeClaimTemplate.metadata.name Forbidden",
                    "s.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes Required",
                    "s.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage] Required",
                ],
            ),
            (
                json!({"name": "v", "image": {"pullPolicy": "Odd"}}),
                vec![
                    "s.volumes[0].image.pullPolicy NotSupported",
                    "s.volumes[0].image.reference Required",
                ],
            ),
        ] {
            assert_eq!(of(&volume), expected, "{volume}");
        }
    }

    #[test]
    fn projected_files_have_paths_of_their_own() {
        let projected = json!({"name": "v", "projected": {"sources": [
            {"secret": {"name": "a", "items": [{"key": "k", "path": "x"}]}},
            {"configMap": {"name": "b", "items": [{"key": "k", "path": "x"}]}},
            {"serviceAccountToken": {"expirationSeconds": 60}},
            {"secret": {"name": "a"}, "configMap": {"name": "b"}},
        ]}});
        assert_eq!(
            of(&projected),
            [
                "s.volumes[0].projected Invalid",
                "s.volumes[0].projected.path Required",
                "s.volumes[0].projected.sources[2].serviceAccountToken.expirationSeconds Invalid",
                "s.volumes[0].projected.sources[3] Forbidden",
            ]
        );
    }

    #[test]
    fn only_good_volumes_can_be_mounted() {
        let spec = json!({"volumes": [
            {"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}, {"name": "b", "secret": {}},
        ]});
        let mut faults = Faults::default();
        let good = volumes(&Spot::new(&spec, FieldPath::new("s")), "p", &mut faults);
        assert_eq!(good, Volumes::from([("a", "emptyDir")]));
        let kinds: Vec<&str> = faults.0.iter().map(FieldError::reason).collect();
        assert_eq!(kinds, ["FieldValueDuplicate", "FieldValueRequired"]);
    }
}
