//! PersistentVolumeClaims and PersistentVolumes.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::name;
use apimachinery::quantity::Quantity;
use apimachinery::selector::label_selector_errors;
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

/// `dataSource` and `dataSourceRef` say the same where the first can say it: of claims and snapshots.
fn data_sources(object: &mut Value) {
    let of_old_form = |source: &Value| {
        matches!(
            (text(source, "/apiGroup"), text(source, "/kind")),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    let Some(spec) = child(object, "spec") else {
        return;
    };
    match (
        spec.get("dataSource").cloned(),
        spec.get("dataSourceRef").cloned(),
    ) {
        (Some(source), None) if of_old_form(&source) => {
            spec.insert("dataSourceRef".to_owned(), source);
        }
        // What the old form cannot say is ignored, as it always was.
        (Some(_), None) => {
            spec.remove("dataSource");
        }
        (None, Some(source)) if text(&source, "/namespace").is_empty() && of_old_form(&source) => {
            spec.insert("dataSource".to_owned(), source);
        }
        _ => {}
    }
}

/// A claim may ask for more only of a class that can grow its volumes.
async fn growth(cx: &Context<'_>, object: &Value, old: &Value) -> Result<(), ApiError> {
    let asked = "/spec/resources/requests/storage";
    if size(object, asked) <= size(old, asked) || text(old, "/status/phase") != "Bound" {
        return Ok(());
    }
    let class = text(object, "/spec/storageClassName");
    let class = cx
        .reader
        .get("storage.k8s.io", "storageclasses", "", class)
        .await?;
    if class.is_some_and(|c| c.get("allowVolumeExpansion") == Some(&Value::Bool(true))) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        &cx.kind.group_resource(),
        cx.name,
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}

fn claim_details(object: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    let modes: Vec<&str> = list(object, "/spec/accessModes")
        .filter_map(Value::as_str)
        .collect();
    if modes.len() > 1 && modes.contains(&"ReadWriteOncePod") {
        errors.push(FieldError::forbidden(
            &spec.child("accessModes"),
            "may not use ReadWriteOncePod with other access modes",
        ));
    }
    if let Some(selector) = object.pointer("/spec/selector") {
        errors.extend(label_selector_errors(selector, &spec.child("selector")));
    }
    let class = text(object, "/spec/storageClassName");
    for detail in name::dns1123_subdomain(class)
        .into_iter()
        .filter(|_| !class.is_empty())
    {
        errors.push(FieldError::invalid(
            &spec.child("storageClassName"),
            class,
            detail,
        ));
    }
    for field in ["dataSource", "dataSourceRef"] {
        let Some(source) = object.pointer(&format!("/spec/{field}")) else {
            continue;
        };
        let at = spec.child(field);
        for key in ["name", "kind"] {
            if text(source, &format!("/{key}")).is_empty() {
                errors.push(FieldError::required(&at.child(key), ""));
            }
        }
        if text(source, "/apiGroup").is_empty() && text(source, "/kind") != "PersistentVolumeClaim"
        {
            errors.push(FieldError::invalid(
                &at,
                text(source, "/kind"),
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ));
        }
    }
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
        data_sources(object);
        object["status"] = json!({"phase": "Pending"});
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource.is_empty() {
            // What the server filled in at creation stays when a client leaves it out.
            data_sources(object);
            if let Some(spec) = child(object, "spec") {
                default_text(spec, "volumeMode", "Filesystem");
            }
            growth(cx, object, old).await?;
        }
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
        claim_details(object, &spec, &mut errors);
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
                    // Only a bound claim grows.
                    if text(object, "/status/phase") == "Bound"
                        && let Some(requests) = map
                            .get_mut("resources")
                            .and_then(|r| r.get_mut("requests"))
                            .and_then(Value::as_object_mut)
                    {
                        requests.remove("storage");
                    }
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
                && size(old, "/status/capacity/storage").unwrap_or_default() >= now
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
            if let Some(path) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
                path.entry("type").or_insert_with(|| json!(""));
            }
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
        source_details(object, &spec, &mut errors);
        if let Some(old) = old {
            let source = |value: &Value| {
                let mut spec = value.get("spec").cloned().unwrap_or_default();
                if let Some(map) = spec.as_object_mut() {
                    map.retain(|key, _| !PLAIN.contains(&key.as_str()));
                }
                spec
            };
            if source(object) != source(old) {
                errors.push(FieldError::forbidden(
                    &spec,
                    "spec.persistentvolumesource is immutable after creation",
                ));
            }
            immutable(object, old, &["/spec/volumeMode"], &mut errors);
        }
        Ok(errors)
    }
}

/// What each kind of volume must say.
fn source_details(object: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    const REQUIRED: [(&str, &[&str]); 4] = [
        ("csi", &["driver", "volumeHandle"]),
        ("hostPath", &["path"]),
        ("local", &["path"]),
        ("nfs", &["server", "path"]),
    ];
    for (source, fields) in REQUIRED {
        let Some(given) = object.pointer(&format!("/spec/{source}")) else {
            continue;
        };
        for field in fields {
            if text(given, &format!("/{field}")).is_empty() {
                errors.push(FieldError::required(&spec.child(source).child(field), ""));
            }
        }
        if matches!(source, "hostPath" | "local")
            && text(given, "/path").split('/').any(|p| p == "..")
        {
            errors.push(FieldError::invalid(
                &spec.child(source).child("path"),
                text(given, "/path"),
                "must not contain '..'",
            ));
        }
    }
    if object.pointer("/spec/local").is_some() && object.pointer("/spec/nodeAffinity").is_none() {
        errors.push(FieldError::required(
            &spec.child("nodeAffinity"),
            "Local volume requires node affinity",
        ));
    }
}
