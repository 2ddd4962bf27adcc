//! Kinds with little that is special.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{default, default_text, immutable, list, text};
use crate::strategy::{Context, Strategy};

pub(super) struct Node;
pub(super) struct Event;
pub(super) struct Lease;
pub(super) struct Budget;
pub(super) struct PriorityClass;
pub(super) struct StorageClass;

#[async_trait]
impl Strategy for Node {
    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        let conditions = object.pointer_mut("/status/conditions");
        for condition in conditions
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            for key in ["lastHeartbeatTime", "lastTransitionTime"] {
                condition.entry(key).or_insert(Value::Null);
            }
        }
        Ok(())
    }

    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object.as_object_mut() {
            map.entry("spec").or_insert_with(|| json!({}));
            let status = map.entry("status").or_insert_with(|| json!({}));
            // What is there may be used until the node says otherwise.
            if let (None, Some(capacity)) =
                (status.get("allocatable"), status.get("capacity").cloned())
            {
                status["allocatable"] = capacity;
            }
            if let Some(status) = status.as_object_mut() {
                status
                    .entry("daemonEndpoints")
                    .or_insert_with(|| json!({"kubeletEndpoint": {"Port": 0}}));
                status.entry("nodeInfo").or_insert_with(|| {
                    json!({
                        "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "",
                        "osImage": "", "containerRuntimeVersion": "", "kubeletVersion": "",
                        "kubeProxyVersion": "", "operatingSystem": "", "architecture": "",
                    })
                });
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec").child("taints");
        for (index, taint) in list(object, "/spec/taints").enumerate() {
            let at = path.index(index);
            for detail in apimachinery::name::qualified_name(text(taint, "/key")) {
                errors.push(FieldError::invalid(
                    &at.child("key"),
                    text(taint, "/key"),
                    detail,
                ));
            }
            if !matches!(
                text(taint, "/effect"),
                "NoSchedule" | "PreferNoSchedule" | "NoExecute"
            ) {
                errors.push(FieldError::not_supported(
                    &at.child("effect"),
                    text(taint, "/effect"),
                    &["NoSchedule", "PreferNoSchedule", "NoExecute"],
                ));
            }
        }
        if let Some(old) = old
            && !text(old, "/spec/providerID").is_empty()
        {
            immutable(object, old, &["/spec/providerID"], &mut errors);
        }
        Ok(errors)
    }
}

#[async_trait]
impl Strategy for Event {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object
            .as_object_mut()
            .filter(|_| cx.kind.group().is_empty())
        {
            map.entry("eventTime").or_insert(Value::Null);
            for key in ["reportingComponent", "reportingInstance"] {
                default(map, key, "");
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let (field, pointer) = if cx.kind.group().is_empty() {
            ("involvedObject", "/involvedObject/namespace")
        } else {
            ("regarding", "/regarding/namespace")
        };
        let about = text(object, pointer);
        // Events about cluster-wide objects lie in "default".
        if (about.is_empty() && cx.namespace != "default")
            || (!about.is_empty() && about != cx.namespace)
        {
            let path = FieldPath::new(field).child("namespace");
            errors.push(FieldError::invalid(
                &path,
                about,
                "does not match event.namespace",
            ));
        }
        Ok(errors)
    }
}

#[async_trait]
impl Strategy for Lease {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let spec = FieldPath::new("spec");
        if let Some(seconds) = object
            .pointer("/spec/leaseDurationSeconds")
            .and_then(Value::as_i64)
            .filter(|s| *s <= 0)
        {
            errors.push(FieldError::invalid(
                &spec.child("leaseDurationSeconds"),
                seconds,
                "must be greater than 0",
            ));
        }
        if let Some(count) = object
            .pointer("/spec/leaseTransitions")
            .and_then(Value::as_i64)
            .filter(|s| *s < 0)
        {
            errors.push(FieldError::invalid(
                &spec.child("leaseTransitions"),
                count,
                "must be greater than or equal to 0",
            ));
        }
        Ok(errors)
    }
}

#[async_trait]
impl Strategy for Budget {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        object["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let spec = FieldPath::new("spec");
        if object.pointer("/spec/minAvailable").is_some()
            && object.pointer("/spec/maxUnavailable").is_some()
        {
            errors.push(FieldError::invalid(
                &spec,
                object["spec"].clone(),
                "minAvailable and maxUnavailable cannot be both set",
            ));
        }
        for field in ["minAvailable", "maxUnavailable"] {
            let path = spec.child(field);
            match object.pointer(&format!("/spec/{field}")) {
                Some(Value::Number(n)) if n.as_i64().unwrap_or(-1) < 0 => {
                    errors.push(FieldError::invalid(
                        &path,
                        n.as_i64().unwrap_or(-1),
                        "must be greater than or equal to 0",
                    ));
                }
                Some(Value::String(given))
                    if !given
                        .strip_suffix('%')
                        .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 100)) =>
                {
                    errors.push(FieldError::invalid(&path, given.as_str(), "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"));
                }
                _ => {}
            }
        }
        Ok(errors)
    }
}

#[async_trait]
impl Strategy for PriorityClass {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object.as_object_mut() {
            default_text(map, "preemptionPolicy", "PreemptLowerPriority");
            default(map, "value", 0);
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
        let value = object.get("value").and_then(Value::as_i64).unwrap_or(0);
        if value > 1_000_000_000 && !cx.name.starts_with("system-") {
            errors.push(FieldError::forbidden(
                &FieldPath::new("value"),
                "maximum allowed value of a user defined priority is 1000000000",
            ));
        }
        if let Some(old) = old {
            immutable(object, old, &["/value", "/preemptionPolicy"], &mut errors);
        } else if object.get("globalDefault") == Some(&Value::Bool(true)) {
            let others = cx
                .reader
                .list("scheduling.k8s.io", "priorityclasses", "")
                .await?;
            if let Some(other) = others
                .iter()
                .find(|c| c.get("globalDefault") == Some(&Value::Bool(true)))
            {
                let name = apimachinery::meta::name(other).unwrap_or_default();
                let why = format!(
                    "PriorityClass {name} is already marked as default. Only one default can exist"
                );
                return Err(ApiError::forbidden(
                    &GroupResource::new("scheduling.k8s.io", "priorityclasses"),
                    cx.name,
                    why,
                ));
            }
        }
        Ok(errors)
    }
}

#[async_trait]
impl Strategy for StorageClass {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object.as_object_mut() {
            default_text(map, "reclaimPolicy", "Delete");
            default_text(map, "volumeBindingMode", "Immediate");
        }
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        if text(object, "/provisioner").is_empty() {
            errors.push(FieldError::required(
                &FieldPath::new("provisioner"),
                text(object, "/provisioner"),
            ));
        }
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
            for pointer in [
                "/parameters",
                "/provisioner",
                "/reclaimPolicy",
                "/volumeBindingMode",
            ] {
                if object.pointer(pointer) != old.pointer(pointer) {
                    let path = FieldPath::new(pointer.trim_start_matches('/'));
                    errors.push(FieldError::invalid(
                        &path,
                        object.pointer(pointer).cloned().unwrap_or(Value::Null),
                        "field is immutable",
                    ));
                }
            }
        }
        Ok(errors)
    }
}
