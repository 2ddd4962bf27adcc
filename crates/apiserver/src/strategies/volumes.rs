//! PersistentVolumeClaims and PersistentVolumes.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{child, default_text, immutable, list, text};
use crate::strategy::{Context, Strategy};

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

pub(super) struct Claim;
pub(super) struct Volume;

fn access_modes(object: &Value, errors: &mut Vec<FieldError>) {
    let path = FieldPath::new("spec").child("accessModes");
    if list(object, "/spec/accessModes").next().is_none() {
        errors.push(FieldError::required(
            &path,
            "at least 1 access mode is required",
        ));
    }
    for mode in list(object, "/spec/accessModes").filter_map(Value::as_str) {
        if !MODES.contains(&mode) {
            errors.push(FieldError::not_supported(&path, mode, &MODES));
        }
    }
}

fn size(object: &Value, pointer: &str) -> Option<Quantity> {
    object.pointer(pointer)?.as_str()?.parse().ok()
}

fn protect(object: &mut Value, finalizer: &str) {
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .into_iter()
        .map(str::to_owned)
        .collect();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
    meta::set_finalizers(object, finalizers);
}

#[async_trait]
impl Strategy for Claim {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        protect(object, "kubernetes.io/pvc-protection");
        let default_class = if object.pointer("/spec/storageClassName").is_none() {
            let classes = cx
                .reader
                .list("storage.k8s.io", "storageclasses", "")
                .await?;
            let mut defaults: Vec<&Value> = classes
                .iter()
                .filter(|c| {
                    meta::annotation(c, "storageclass.kubernetes.io/is-default-class")
                        == Some("true")
                })
                .collect();
            // The newest default wins, as upstream.
            defaults.sort_by_key(|c| std::cmp::Reverse(meta::creation_timestamp(c)));
            defaults
                .first()
                .and_then(|c| meta::name(c))
                .map(str::to_owned)
        } else {
            None
        };
        if let Some(spec) = child(object, "spec") {
            default_text(spec, "volumeMode", "Filesystem");
            if let Some(class) = default_class {
                spec.insert("storageClassName".to_owned(), json!(class));
            }
        }
        object["status"] = json!({"phase": "Pending"});
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        if cx.subresource == "status" {
            return Ok(errors);
        }
        let spec = FieldPath::new("spec");
        access_modes(object, &mut errors);
        let path = spec.child("resources").key("storage");
        let asked = size(object, "/spec/resources/requests/storage");
        match &asked {
            None => errors.push(FieldError::required(&path, "")),
            Some(size) if *size <= Quantity::default() => {
                errors.push(FieldError::invalid(
                    &path,
                    text(object, "/spec/resources/requests/storage"),
                    "must be greater than zero",
                ));
            }
            Some(_) => {}
        }
        if !matches!(text(object, "/spec/volumeMode"), "Filesystem" | "Block") {
            errors.push(FieldError::not_supported(
                &spec.child("volumeMode"),
                text(object, "/spec/volumeMode"),
                &["Block", "Filesystem"],
            ));
        }
        if let Some(old) = old {
            let masked = |value: &Value| {
                let mut spec = value.get("spec").cloned().unwrap_or_default();
                if let Some(map) = spec.as_object_mut() {
                    map.remove("resources");
                    map.remove("volumeAttributesClassName");
                    if text(old, "/spec/volumeName").is_empty() {
                        map.remove("volumeName");
                    }
                    if old.pointer("/spec/storageClassName").is_none() {
                        map.remove("storageClassName");
                    }
                }
                spec
            };
            if masked(object) != masked(old) {
                errors.push(FieldError::forbidden(
                    &spec,
                    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
                ));
            }
            if let (Some(now), Some(before)) =
                (asked, size(old, "/spec/resources/requests/storage"))
                && now < before
            {
                let path = spec.child("resources").child("requests").child("storage");
                errors.push(FieldError::forbidden(
                    &path,
                    "field can not be less than status.capacity",
                ));
            }
        }
        Ok(errors)
    }
}

#[async_trait]
impl Strategy for Volume {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        protect(object, "kubernetes.io/pv-protection");
        let now = apimachinery::time::format_time(cx.now);
        if let Some(spec) = child(object, "spec") {
            default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            default_text(spec, "volumeMode", "Filesystem");
        }
        object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        if cx.subresource == "status" {
            return Ok(errors);
        }
        let spec = FieldPath::new("spec");
        access_modes(object, &mut errors);
        if size(object, "/spec/capacity/storage").is_none_or(|s| s <= Quantity::default()) {
            errors.push(FieldError::required(&spec.child("capacity"), ""));
            let capacity = object.pointer("/spec/capacity");
            if capacity
                .and_then(Value::as_object)
                .is_none_or(|c| c.len() != 1)
            {
                errors.push(FieldError::not_supported(
                    &spec.child("capacity"),
                    capacity.cloned().unwrap_or_default(),
                    &["storage"],
                ));
            }
        }
        const PLAIN: [&str; 9] = [
            "accessModes",
            "capacity",
            "claimRef",
            "mountOptions",
            "nodeAffinity",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "volumeAttributesClassName",
            "volumeMode",
        ];
        let sources = object
            .get("spec")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(k, _)| !PLAIN.contains(&k.as_str()))
            .count();
        match sources {
            0 => errors.push(FieldError::required(&spec, "must specify a volume type")),
            1 => {}
            _ => errors.push(FieldError::forbidden(
                &spec,
                "may not specify more than 1 volume type",
            )),
        }
        let policy = text(object, "/spec/persistentVolumeReclaimPolicy");
        if !matches!(policy, "Retain" | "Delete" | "Recycle") {
            errors.push(FieldError::not_supported(
                &spec.child("persistentVolumeReclaimPolicy"),
                policy,
                &["Delete", "Recycle", "Retain"],
            ));
        }
        if let Some(old) = old {
            immutable(object, old, &["/spec/volumeMode"], &mut errors);
        }
        Ok(errors)
    }
}
