//! PersistentVolumes: capacity, one source, and where it can be reached.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use apimachinery::time::format_time;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{child, default_text, text};
use super::spot::{Faults, IMMUTABLE, NOT_POSITIVE, Spot};
use super::volume_claims::{access_modes, protect};
use super::{node_selector, pod_volume_defaults, volume_sources};
use crate::strategy::{Context, Strategy};

pub(super) struct Volume;

/// In the order in which upstream looks for them: of several, the first counts.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn complete(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_text(spec, "volumeMode", "Filesystem");
        pod_volume_defaults::legacy(spec);
    }
}

#[async_trait]
impl Strategy for Volume {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        protect(object, "kubernetes.io/pv-protection");
        complete(object);
        let now = format_time(cx.now);
        object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource.is_empty() {
            complete(object);
            return Ok(());
        }
        const CHANGED: &str = "lastPhaseTransitionTime";
        let told = object.pointer("/status/lastPhaseTransitionTime")
            != old.pointer("/status/lastPhaseTransitionTime");
        if text(object, "/status/phase") != text(old, "/status/phase")
            && !told
            && let Some(status) = child(object, "status")
        {
            status.insert(CHANGED.to_owned(), json!(format_time(cx.now)));
        }
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        if cx.subresource != "status" {
            volume(&Spot::of(object, "spec"), &mut faults);
            if let Some(old) = old {
                unchanged(object, old, &mut faults);
            }
        }
        Ok(faults.0)
    }
}

fn volume(spec: &Spot<'_>, faults: &mut Faults) {
    access_modes(spec, "", faults);
    capacity(spec, faults);
    faults.choice_if_given(
        spec,
        "persistentVolumeReclaimPolicy",
        &["Delete", "Recycle", "Retain"],
    );
    if let Some(affinity) = spec.given("nodeAffinity") {
        match affinity.given("required") {
            Some(required) => node_selector::selector(&required, faults),
            None => {
                let detail = "must specify required node constraints";
                faults.required(&affinity.at("required"), detail);
            }
        }
    }
    source(spec, faults);
    let path = spec.child("hostPath").text("path").to_owned();
    let is_root = path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "."));
    if is_root && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        faults.forbidden(&spec.at("persistentVolumeReclaimPolicy"), detail);
    }
    faults.named_if_given(spec, "storageClassName", name::dns1123_subdomain);
    faults.choice_if_given(spec, "volumeMode", &["Block", "Filesystem"]);
    const CLASS: &str = "volumeAttributesClassName";
    if spec.has(CLASS) {
        if spec.text(CLASS).is_empty() {
            faults.required(&spec.at(CLASS), "an empty string is disallowed");
        } else {
            faults.named(&spec.at(CLASS), spec.text(CLASS), name::dns1123_subdomain);
        }
        if !spec.has("csi") {
            let detail = "has to be specified when using volumeAttributesClassName";
            faults.required(&spec.at("csi"), detail);
        }
    }
}

fn capacity(spec: &Spot<'_>, faults: &mut Faults) {
    let all = spec.child("capacity");
    let count = spec.count("capacity");
    if count == 0 {
        faults.required(&all.path, "");
    }
    if !all.has("storage") || count > 1 {
        faults.not_supported(&all.path, all.value.clone(), &["storage"]);
    }
    for (_, amount) in spec.entries("capacity") {
        let given = amount.quantity().unwrap_or_default();
        if given.is_negative() {
            let detail = "must be a valid resource quantity";
            faults.invalid(&amount.path, amount.value.clone(), detail);
        }
        if given <= Quantity::default() {
            faults.invalid(&amount.path, amount.value.clone(), NOT_POSITIVE);
        }
    }
}

fn source(spec: &Spot<'_>, faults: &mut Faults) {
    let mut found = false;
    for kind in SOURCES {
        let Some(source) = spec.given(kind) else {
            continue;
        };
        if found {
            // The spelling is upstream's.
            let at = if kind == "cephfs" { "cephFS" } else { kind };
            faults.forbidden(&spec.at(at), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        let source = Spot::new(source.value, spec.at(volume_sources::path_of(kind)));
        volume_sources::common(&source, kind, faults);
        match kind {
            "csi" => {
                volume_sources::csi_driver(&source, "driver", faults);
                faults.demanded(&source, &["volumeHandle"]);
                for reference in [
                    "controllerPublishSecretRef",
                    "controllerExpandSecretRef",
                    "nodePublishSecretRef",
                    "nodeExpandSecretRef",
                ] {
                    if let Some(secret) = source.given(reference) {
                        volume_sources::secret_reference(&secret, faults);
                    }
                }
            }
            "local" if !spec.has("nodeAffinity") => {
                let detail = "Local volume requires node affinity";
                faults.required(&spec.at("nodeAffinity"), detail);
            }
            "cinder" | "iscsi" | "storageos" => {
                if let Some(secret) = source.given("secretRef") {
                    let demanded: &[&str] = if kind == "iscsi" {
                        &["name"]
                    } else {
                        &["name", "namespace"]
                    };
                    faults.demanded(&secret, demanded);
                }
            }
            _ => {}
        }
    }
    if !found {
        faults.required(&spec.path, "must specify a volume type");
    }
}

/// The source of a specification, without the one part of it that can be added later.
fn fixed(spec: &Spot<'_>, before: &Spot<'_>) -> Value {
    let mut all = spec.value.as_object().cloned().unwrap_or_default();
    all.retain(|key, _| SOURCES.contains(&key.as_str()));
    const LATER: &str = "controllerExpandSecretRef";
    if !before.child("csi").has(LATER)
        && let Some(csi) = all.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove(LATER);
    }
    Value::Object(all)
}

fn unchanged(object: &Value, old: &Value, faults: &mut Faults) {
    let (spec, before) = (Spot::of(object, "spec"), Spot::of(old, "spec"));
    if fixed(&spec, &before) != fixed(&before, &before) {
        let at = spec.at("persistentvolumesource");
        let detail = "spec.persistentvolumesource is immutable after creation";
        faults.forbidden(&at, detail);
    }
    // Upstream tells these without `spec`.
    let mode = Spot::new(spec.child("volumeMode").value, FieldPath::new("volumeMode"));
    faults.immutable(&mode, &before.child("volumeMode"));
    let affinity = spec.child("nodeAffinity");
    if before.has("nodeAffinity") && affinity.value != before.child("nodeAffinity").value {
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        let at = FieldPath::new("nodeAffinity");
        faults.invalid(&at, affinity.value.clone(), detail);
    }
    const CLASS: &str = "volumeAttributesClassName";
    if before.has(CLASS) && !spec.has(CLASS) {
        let detail = "update from non-nil value to nil is forbidden";
        faults.forbidden(&spec.at(CLASS), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;

    fn of(more: Value) -> Value {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        spec
    }

    #[test]
    fn a_volume_is_judged_by_field() {
        let csi = json!({"driver": "csi.example.com", "volumeHandle": "h"});
        for (more, expected) in [
            (json!({"csi": csi}), vec![]),
            (json!({}), vec!["spec Required"]),
            (
                json!({"csi": csi, "capacity": {"cpu": "1", "storage": "0"}}),
                vec![
                    "spec.capacity NotSupported",
                    "spec.capacity[storage] Invalid",
                ],
            ),
            (
                json!({"hostPath": {"path": "/"}, "csi": csi, "persistentVolumeReclaimPolicy": "Recycle"}),
                vec![
                    "spec.csi Forbidden",
                    "spec.persistentVolumeReclaimPolicy Forbidden",
                ],
            ),
            (
                json!({"local": {"path": "/x"}}),
                vec!["spec.nodeAffinity Required"],
            ),
            (
                json!({"local": {"path": "/x"}, "nodeAffinity": {}}),
                vec!["spec.nodeAffinity.required Required"],
            ),
            (
                json!({"csi": {"driver": "a_", "nodePublishSecretRef": {"name": "B_"}}, "volumeMode": "Odd", "storageClassName": "_"}),
                vec![
                    "spec.csi.driver Invalid",
                    "spec.csi.nodePublishSecretRef.name Invalid",
                    "spec.csi.nodePublishSecretRef.namespace Required",
                    "spec.csi.volumeHandle Required",
                    "spec.storageClassName Invalid",
                    "spec.volumeMode NotSupported",
                ],
            ),
            (
                json!({"nfs": {"server": "s", "path": "/x"}, "volumeAttributesClassName": ""}),
                vec![
                    "spec.csi Required",
                    "spec.volumeAttributesClassName Required",
                ],
            ),
        ] {
            let spec = of(more);
            let spot = Spot::new(&spec, FieldPath::new("spec"));
            assert_eq!(judged(|faults| volume(&spot, faults)), expected, "{spec}");
        }
    }

    #[test]
    fn the_source_of_a_volume_stays() {
        let csi = json!({"driver": "csi.example.com", "volumeHandle": "h"});
        let old = json!({"spec": of(json!({"csi": csi, "nodeAffinity": {"required": {}}}))});
        let change = |more: Value| {
            let new = json!({"spec": of(more)});
            judged(|faults| unchanged(&new, &old, faults))
        };
        let mut extended = csi.clone();
        extended["controllerExpandSecretRef"] = json!({"name": "s", "namespace": "n"});
        let affinity = json!({"required": {}});
        assert!(
            change(
                json!({"csi": extended, "nodeAffinity": affinity, "capacity": {"storage": "2Gi"}})
            )
            .is_empty()
        );
        assert_eq!(
            change(json!({"hostPath": {"path": "/x"}, "volumeMode": "Block"})),
            [
                "nodeAffinity Invalid",
                "spec.persistentvolumesource Forbidden",
                "volumeMode Invalid",
            ]
        );
    }
}
