//! Defaults and rules of CRD objects.

use apimachinery::field::FieldError;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::validate;
use crate::strategy::{Context, Strategy};

/// The strategy of `customresourcedefinitions`.
pub(crate) struct CrdStrategy;

fn complete(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let conversion = spec
        .entry("conversion")
        .or_insert_with(|| json!({"strategy": "None"}));
    if let Some(service) = conversion
        .pointer_mut("/webhook/clientConfig/service")
        .and_then(Value::as_object_mut)
    {
        service.entry("port").or_insert(json!(443));
    }
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let fill = |names: &mut Map<String, Value>, key: &str, value: String| {
            if names
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
            {
                names.insert(key.to_owned(), Value::String(value));
            }
        };
        if !kind.is_empty() {
            fill(names, "singular", kind.to_lowercase());
            fill(names, "listKind", format!("{kind}List"));
        }
    }
    if spec.get("preserveUnknownFields") == Some(&Value::Bool(false)) {
        spec.remove("preserveUnknownFields");
    }
}

/// The storage version joins those that objects may be stored in.
fn stored_versions(object: &mut Value) {
    let storage = object
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .and_then(|versions| {
            versions
                .iter()
                .find(|v| v.get("storage") == Some(&Value::Bool(true)))
        })
        .and_then(|v| v.get("name"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let (Some(storage), Some(map)) = (storage, object.as_object_mut()) else {
        return;
    };
    let status = map.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else {
        return;
    };
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Some(list) = stored.as_array_mut()
        && !list.iter().any(|v| *v == storage)
    {
        list.push(Value::String(storage));
    }
}

#[async_trait]
impl Strategy for CrdStrategy {
    fn warnings(&self, _cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        // Whoever changes something else was told before.
        if old.is_some_and(|old| old.pointer("/spec/versions") == object.pointer("/spec/versions"))
        {
            return Vec::new();
        }
        super::formats::warnings(object)
    }

    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete(object);
        stored_versions(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete(object);
        if cx.subresource != "status" {
            stored_versions(object);
        }
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        if cx.subresource == "status" || apimachinery::meta::is_deleting(object) {
            return Ok(Vec::new());
        }
        Ok(validate::crd(object, old))
    }
}
