//! Validation and conditions of APIServices.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::strategy::{Context, Operation, Strategy};

pub(crate) struct ApiServices;

#[async_trait]
impl Strategy for ApiServices {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        prepare(cx, object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource == "status" {
            return Ok(());
        }
        prepare(cx, object);
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(if cx.subresource == "status" {
            Vec::new()
        } else {
            judge(object)
        })
    }
}

fn prepare(cx: &Context<'_>, object: &mut Value) {
    if let Some(service) = object
        .pointer_mut("/spec/service")
        .and_then(Value::as_object_mut)
    {
        service.entry("port").or_insert_with(|| json!(443));
    }
    if super::is_remote(object) {
        // Found out by `crate::aggregation`.
        if cx.operation == Operation::Create {
            object["status"] = json!({});
        }
    } else {
        set_condition(
            object,
            "Local",
            "Local APIServices are always available",
            cx.now,
        );
    }
}

/// Sets the condition; its time moves only when its status changes.
pub(super) fn set_condition(object: &mut Value, reason: &str, message: &str, now: Timestamp) {
    let status = if matches!(reason, "Local" | "Passed") {
        "True"
    } else {
        "False"
    };
    let before = object.pointer("/status/conditions/0");
    let since = before
        .filter(|c| c["status"] == status)
        .map(|c| c["lastTransitionTime"].clone())
        .filter(Value::is_string)
        .unwrap_or_else(|| json!(apimachinery::time::format_time(now)));
    object["status"] = json!({"conditions": [{
        "type": "Available",
        "status": status,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }]});
}

fn judge(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (group, version) = (text("/spec/group"), text("/spec/version"));
    let expected = super::name(group, version);
    let name = meta::name(object).unwrap_or_default();
    let spec = FieldPath::new("spec");
    if name != expected {
        errors.push(FieldError::invalid(
            &FieldPath::new("metadata").child("name"),
            name,
            format!("must be `spec.version+\".\"+spec.group`: {expected:?}"),
        ));
    }
    if version.is_empty() {
        errors.push(FieldError::required(&spec.child("version"), ""));
    }
    for (key, low, high) in [
        ("groupPriorityMinimum", 1, 20_000),
        ("versionPriority", 1, 1000),
    ] {
        let value = object
            .pointer(&format!("/spec/{key}"))
            .and_then(Value::as_i64);
        let value = value.unwrap_or_default();
        if !(low..=high).contains(&value) {
            errors.push(FieldError::invalid(
                &spec.child(key),
                value,
                format!("must be positive and less than or equal to {high}"),
            ));
        }
    }
    let insecure = object.pointer("/spec/insecureSkipTLSVerify") == Some(&Value::Bool(true));
    let has_bundle = !text("/spec/caBundle").is_empty();
    if super::is_remote(object) {
        for key in ["namespace", "name"] {
            if text(&format!("/spec/service/{key}")).is_empty() {
                errors.push(FieldError::required(&spec.child("service").child(key), ""));
            }
        }
        if insecure && has_bundle {
            errors.push(FieldError::invalid(
                &spec.child("insecureSkipTLSVerify"),
                true,
                "may not be true if caBundle is present",
            ));
        }
    } else {
        if has_bundle {
            let at = spec.child("caBundle");
            errors.push(FieldError::invalid(
                &at,
                "",
                "local APIServices may not have a caBundle",
            ));
        }
        if insecure {
            let at = spec.child("insecureSkipTLSVerify");
            errors.push(FieldError::invalid(
                &at,
                true,
                "local APIServices may not have insecureSkipTLSVerify",
            ));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_group_and_version() {
        let object = |name: &str| {
            json!({"metadata": {"name": name}, "spec": {"group": "a.b", "version": "v1",
                "groupPriorityMinimum": 10, "versionPriority": 10}})
        };
        assert!(judge(&object("v1.a.b")).is_empty());
        assert_eq!(judge(&object("wrong"))[0].path.to_string(), "metadata.name");
    }

    #[test]
    fn the_time_of_a_condition_stays_with_its_status() {
        let mut object = json!({});
        set_condition(&mut object, "ServiceNotFound", "a", Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(10).unwrap();
        set_condition(&mut object, "FailedDiscoveryCheck", "b", later);
        let condition = &object["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(condition["reason"], "FailedDiscoveryCheck");
    }
}
