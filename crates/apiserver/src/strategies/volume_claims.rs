//! PersistentVolumeClaims: what is asked for, and what of it may change.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::name;
use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{child, default_text, text};
use super::spot::{Faults, NOT_POSITIVE, Spot};
use crate::strategy::{Context, Strategy};

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

pub(super) struct Claim;

/// `accessModes` of a claim or a volume; `detail` says that one is missing.
pub(super) fn access_modes(spec: &Spot<'_>, detail: &str, faults: &mut Faults) {
    let at = spec.at("accessModes");
    if spec.count("accessModes") == 0 {
        faults.required(&at, detail);
    }
    let (mut alone, mut others) = (false, false);
    for mode in spec.items("accessModes") {
        let given = mode.as_text();
        if !MODES.contains(&given) {
            faults.not_supported(&at, given, &MODES);
        } else if given == "ReadWriteOncePod" {
            alone = true;
        } else {
            others = true;
        }
    }
    if alone && others {
        let detail = "may not use ReadWriteOncePod with other access modes";
        faults.forbidden(&at, detail);
    }
}

/// The specification of a claim, or of a template of one.
pub(super) fn claim(spec: &Spot<'_>, faults: &mut Faults) {
    access_modes(spec, "at least 1 access mode is required", faults);
    faults.selector(spec, "selector");
    let at = spec.at("resources").key("storage");
    let asked = spec.child("resources").child("requests").child("storage");
    match asked.quantity() {
        None => faults.required(&at, ""),
        Some(size) if size <= Quantity::default() => {
            faults.invalid(&at, asked.value.clone(), NOT_POSITIVE);
        }
        Some(_) => {}
    }
    faults.named_if_given(spec, "storageClassName", name::dns1123_subdomain);
    faults.named_if_given(spec, "volumeAttributesClassName", name::dns1123_subdomain);
    faults.choice_if_given(spec, "volumeMode", &["Block", "Filesystem"]);
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.given(field) {
            data_source(&source, faults);
        }
    }
    let (source, reference) = (spec.child("dataSource"), spec.child("dataSourceRef"));
    if !spec.has("dataSource") || !spec.has("dataSourceRef") {
        return;
    }
    let same = ["apiGroup", "kind", "name"]
        .iter()
        .all(|field| source.text(field) == reference.text(field));
    if !reference.text("namespace").is_empty() {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        faults.invalid(&spec.path, source.path.as_str(), detail);
    } else if !same {
        faults.invalid(&spec.path, source.path.as_str(), "must match dataSourceRef");
    }
}

fn data_source(source: &Spot<'_>, faults: &mut Faults) {
    faults.demanded(source, &["name", "kind"]);
    if source.text("apiGroup").is_empty() && source.text("kind") != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        faults.invalid(&source.path, source.text("kind"), detail);
    }
    faults.named_if_given(source, "apiGroup", name::dns1123_subdomain);
    faults.named_if_given(source, "namespace", name::dns1123_label);
}

fn size(object: &Value, pointer: &str) -> Option<Quantity> {
    object.pointer(pointer)?.as_str()?.parse().ok()
}

/// Adds the finalizer that holds an object in use.
pub(super) fn protect(object: &mut Value, finalizer: &str) {
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .into_iter()
        .map(str::to_owned)
        .collect();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
    meta::set_finalizers(object, finalizers);
}

/// `dataSource` and `dataSourceRef` say the same. What the older form cannot say was always ignored there: it knows
/// claims and snapshots only.
fn data_sources(object: &mut Value, is_new: bool) {
    let of_old_form = |source: &Value| {
        matches!(
            (text(source, "/apiGroup"), text(source, "/kind")),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    let Some(spec) = child(object, "spec") else {
        return;
    };
    if is_new && spec.get("dataSource").is_some_and(|s| !of_old_form(s)) {
        spec.remove("dataSource");
    }
    match (
        spec.get("dataSource").cloned(),
        spec.get("dataSourceRef").cloned(),
    ) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".to_owned(), source);
        }
        (None, Some(mut source)) if text(&source, "/namespace").is_empty() => {
            if let Some(map) = source.as_object_mut() {
                map.remove("namespace");
            }
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
        data_sources(object, true);
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
            data_sources(object, false);
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
        let mut faults = Faults::default();
        if cx.subresource == "status" {
            status(object, &mut faults);
            return Ok(faults.0);
        }
        claim(&Spot::of(object, "spec"), &mut faults);
        if let Some(old) = old {
            unchanged(object, old, &mut faults);
        }
        Ok(faults.0)
    }
}

/// The specification without what may change.
fn masked(value: &Value, bound: bool, old: &Value) -> Value {
    let mut spec = value.get("spec").cloned().unwrap_or_default();
    if let Some(map) = spec.as_object_mut() {
        // Only a bound claim grows, or gets other attributes.
        if bound {
            if let Some(requests) = map
                .get_mut("resources")
                .and_then(|r| r.get_mut("requests"))
                .and_then(Value::as_object_mut)
            {
                requests.remove("storage");
            }
            map.remove("volumeAttributesClassName");
        }
        if text(old, "/spec/volumeName").is_empty() {
            map.remove("volumeName");
        }
        if old.pointer("/spec/storageClassName").is_none() {
            map.remove("storageClassName");
        }
    }
    spec
}

fn unchanged(object: &Value, old: &Value, faults: &mut Faults) {
    let bound = text(object, "/status/phase") == "Bound";
    let spec = FieldPath::new("spec");
    if masked(object, bound, old) != masked(old, bound, old) {
        faults.forbidden(
            &spec,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    let asked = "/spec/resources/requests/storage";
    let capacity = size(old, "/status/capacity/storage").unwrap_or_default();
    if let (Some(now), Some(before)) = (size(object, asked), size(old, asked))
        && now < before
        && now <= capacity
    {
        let at = spec.child("resources").child("requests").child("storage");
        faults.forbidden(&at, "field can not be less than status.capacity");
    }
    let (new, before) = (Spot::of(object, "spec"), Spot::of(old, "spec"));
    let mode = Spot::new(new.child("volumeMode").value, FieldPath::new("volumeMode"));
    faults.immutable(&mode, &before.child("volumeMode"));
    const CLASS: &str = "volumeAttributesClassName";
    if before.has(CLASS) && new.text(CLASS).is_empty() {
        let what = if new.has(CLASS) {
            "an empty string"
        } else {
            "nil"
        };
        let detail = format!("update from non-nil value to {what} is forbidden");
        faults.forbidden(&new.at(CLASS), detail);
    }
}

fn status(object: &Value, faults: &mut Faults) {
    let status = Spot::of(object, "status");
    for (_, amount) in status.entries("capacity") {
        if amount.quantity().is_some_and(|q| q.is_negative()) {
            let detail = "must be a valid resource quantity";
            faults.invalid(&amount.path, amount.value.clone(), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;

    fn asking(more: Value) -> Value {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": "2Gi"}},
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        spec
    }

    #[test]
    fn a_claim_is_judged_by_field() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"], "volumeMode": "Odd"}),
                vec!["spec.accessModes Forbidden", "spec.volumeMode NotSupported"],
            ),
            (
                json!({"accessModes": ["Odd"], "resources": {"requests": {"storage": "0"}}, "storageClassName": "A_"}),
                vec![
                    "spec.accessModes NotSupported",
                    "spec.resources[storage] Invalid",
                    "spec.storageClassName Invalid",
                ],
            ),
            (
                json!({"accessModes": [], "resources": {}}),
                vec![
                    "spec.accessModes Required",
                    "spec.resources[storage] Required",
                ],
            ),
            (
                json!({"dataSource": {"kind": "Pod", "name": "p"}, "dataSourceRef": {"apiGroup": "a.b", "kind": "X"}}),
                vec![
                    "spec Invalid",
                    "spec.dataSource Invalid",
                    "spec.dataSourceRef.name Required",
                ],
            ),
        ] {
            let spec = asking(more);
            let spot = Spot::new(&spec, FieldPath::new("spec"));
            assert_eq!(judged(|faults| claim(&spot, faults)), expected, "{spec}");
        }
    }

    #[test]
    fn only_a_bound_claim_grows() {
        let old = |phase: &str| json!({"spec": asking(json!({})), "status": {"phase": phase, "capacity": {"storage": "1Gi"}}});
        let sized = |size: &str| json!({"resources": {"requests": {"storage": size}}});
        for (phase, more, expected) in [
            ("Bound", sized("3Gi"), vec![]),
            (
                "Bound",
                json!({"volumeAttributesClassName": "gold"}),
                vec![],
            ),
            (
                "Pending",
                json!({"volumeName": "v", "storageClassName": "c"}),
                vec![],
            ),
            ("Pending", sized("3Gi"), vec!["spec Forbidden"]),
            (
                "Bound",
                sized("1Gi"),
                vec!["spec.resources.requests.storage Forbidden"],
            ),
            (
                "Bound",
                json!({"volumeMode": "Block"}),
                vec!["spec Forbidden", "volumeMode Invalid"],
            ),
        ] {
            let old = old(phase);
            let mut new = old.clone();
            new["spec"] = asking(more);
            assert_eq!(
                judged(|faults| unchanged(&new, &old, faults)),
                expected,
                "{new}"
            );
        }
    }

    #[test]
    fn both_forms_of_a_source_say_the_same() {
        let snapshot =
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
        let other = json!({"apiGroup": "example.com", "kind": "Populator", "name": "p"});
        for (given, expected) in [
            (
                json!({"dataSource": snapshot}),
                json!({"dataSource": snapshot, "dataSourceRef": snapshot}),
            ),
            (
                json!({"dataSourceRef": other}),
                json!({"dataSource": other, "dataSourceRef": other}),
            ),
            (json!({"dataSource": other}), json!({})),
        ] {
            let mut object = json!({"spec": given});
            data_sources(&mut object, true);
            assert_eq!(object["spec"], expected);
        }
    }
}
