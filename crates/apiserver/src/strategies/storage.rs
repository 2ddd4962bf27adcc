//! StorageClasses and CSIDrivers: defaults, and parts that are fixed once volumes depend on them.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{child, default, default_text, immutable, list, text};
use crate::strategy::{Context, Strategy};

pub(super) struct StorageClass;
pub(super) struct CsiDriver;

#[async_trait]
impl Strategy for StorageClass {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object.as_object_mut() {
            default_text(map, "reclaimPolicy", "Delete");
            default_text(map, "volumeBindingMode", "Immediate");
        }
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        self.prepare_create(cx, object).await
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let provisioner = text(object, "/provisioner");
        let at = FieldPath::new("provisioner");
        if provisioner.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else {
            for detail in name::qualified_name(&provisioner.to_lowercase()) {
                errors.push(FieldError::invalid(&at, provisioner, detail));
            }
        }
        parameters(object, &mut errors);
        for (field, known) in [
            ("reclaimPolicy", ["Delete", "Retain"]),
            ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
        ] {
            let given = text(object, &format!("/{field}"));
            if !known.contains(&given) {
                errors.push(FieldError::not_supported(
                    &FieldPath::new(field),
                    given,
                    &known,
                ));
            }
        }
        if let Some(old) = old {
            immutable(
                object,
                old,
                &[
                    "/parameters",
                    "/provisioner",
                    "/reclaimPolicy",
                    "/volumeBindingMode",
                ],
                &mut errors,
            );
        }
        Ok(errors)
    }
}

fn parameters(object: &Value, errors: &mut Vec<FieldError>) {
    const COUNT: usize = 512;
    const SIZE: usize = 256 * 1024;
    let at = FieldPath::new("parameters");
    let Some(map) = object.get("parameters").and_then(Value::as_object) else {
        return;
    };
    if map.len() > COUNT {
        errors.push(FieldError::too_long(&at, COUNT));
        return;
    }
    let mut size = 0;
    for (key, value) in map {
        if key.is_empty() {
            errors.push(FieldError::invalid(&at, "", "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > SIZE {
        errors.push(FieldError::too_long(&at, SIZE));
    }
}

fn complete_driver(object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    default(spec, "attachRequired", true);
    default(spec, "podInfoOnMount", false);
    default(spec, "storageCapacity", false);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    default(spec, "requiresRepublish", false);
    default(spec, "seLinuxMount", false);
    default(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

#[async_trait]
impl Strategy for CsiDriver {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_driver(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_driver(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        const MODES: [&str; 2] = ["Ephemeral", "Persistent"];
        const GROUPS: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
        let mut errors = Vec::new();
        let spec = FieldPath::new("spec");
        let policy = text(object, "/spec/fsGroupPolicy");
        if !GROUPS.contains(&policy) {
            errors.push(FieldError::not_supported(
                &spec.child("fsGroupPolicy"),
                policy,
                &GROUPS,
            ));
        }
        for mode in list(object, "/spec/volumeLifecycleModes").filter_map(Value::as_str) {
            if !MODES.contains(&mode) {
                errors.push(FieldError::not_supported(
                    &spec.child("volumeLifecycleModes"),
                    mode,
                    &MODES,
                ));
            }
        }
        if let Some(old) = old {
            immutable(
                object,
                old,
                &["/spec/attachRequired", "/spec/volumeLifecycleModes"],
                &mut errors,
            );
        }
        Ok(errors)
    }
}
