//! Kinds with little that is special.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupResource;
use apimachinery::selector::label_selector_errors;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{default, default_text, immutable, text};
use crate::strategy::{Context, Strategy};

pub(super) struct Lease;
pub(super) struct Budget;
pub(super) struct PriorityClass;

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
        if let Some(selector) = object.pointer("/spec/selector") {
            errors.extend(label_selector_errors(selector, &spec.child("selector")));
        }
        if let Some(policy) = object
            .pointer("/spec/unhealthyPodEvictionPolicy")
            .and_then(Value::as_str)
        {
            const KNOWN: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];
            if !KNOWN.contains(&policy) {
                errors.push(FieldError::not_supported(
                    &spec.child("unhealthyPodEvictionPolicy"),
                    policy,
                    &KNOWN,
                ));
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
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let value = object.get("value").and_then(Value::as_i64).unwrap_or(0);
        const SYSTEM: [(&str, i64); 2] = [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ];
        if old.is_some() {
            // The value of a class that exists does not change, and was judged before.
        } else if cx.name.starts_with("system-") {
            if !SYSTEM.contains(&(cx.name, value)) {
                errors.push(FieldError::forbidden(
                    &FieldPath::new("metadata").child("name"),
                    "priority class names with 'system-' prefix are reserved for system use only",
                ));
            }
        } else if value > 1_000_000_000 {
            errors.push(FieldError::forbidden(
                &FieldPath::new("value"),
                "maximum allowed value of a user defined priority is 1000000000",
            ));
        }
        let policy = text(object, "/preemptionPolicy");
        if !matches!(policy, "PreemptLowerPriority" | "Never") {
            errors.push(FieldError::not_supported(
                &FieldPath::new("preemptionPolicy"),
                policy,
                &["Never", "PreemptLowerPriority"],
            ));
        }
        if let Some(old) = old {
            if old.get("value") != object.get("value") {
                errors.push(FieldError::forbidden(
                    &FieldPath::new("value"),
                    "may not be changed in an update.",
                ));
            }
            immutable(object, old, &["/preemptionPolicy"], &mut errors);
        }
        if object.get("globalDefault") == Some(&Value::Bool(true)) {
            let others = cx
                .reader
                .list("scheduling.k8s.io", "priorityclasses", "")
                .await?;
            if let Some(other) = others.iter().find(|c| {
                c.get("globalDefault") == Some(&Value::Bool(true))
                    && apimachinery::meta::name(c) != Some(cx.name)
            }) {
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
