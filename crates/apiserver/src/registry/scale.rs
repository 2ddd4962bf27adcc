//! The `scale` subresource: `autoscaling/v1` Scale over the paths that a CRD (or a built-in workload) names.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use super::patch::{self, PatchType};
use super::{Call, read, update_with};
use crate::decode::Decoded;
use crate::kinds::Scale;
use crate::limits;
use crate::strategy::Operation;

fn paths(call: &Call<'_>) -> (Vec<String>, Vec<String>, Option<Vec<String>>) {
    let own = |s: &str| s.split('.').map(str::to_owned).collect::<Vec<_>>();
    match call.kind.crd.as_ref().and_then(|crd| crd.scale.as_ref()) {
        Some(Scale {
            spec_replicas,
            status_replicas,
            label_selector,
        }) => (
            spec_replicas.clone(),
            status_replicas.clone(),
            label_selector.clone(),
        ),
        None => (own("spec.replicas"), own("status.replicas"), None),
    }
}

fn lookup<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

fn to_scale(call: &Call<'_>, object: &Value) -> Result<Value, ApiError> {
    let (spec, status, selector) = paths(call);
    let meta = |field: &str| object.pointer(&format!("/metadata/{field}")).cloned();
    let mut metadata = serde_json::Map::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = meta(field) {
            metadata.insert(field.to_owned(), value);
        }
    }
    let replicas = lookup(object, &spec).and_then(Value::as_i64);
    if replicas.is_none() && call.kind.is_crd() {
        return Err(ApiError::internal(format!(
            "the spec replicas field \".{}\" does not exist",
            spec.join(".")
        )));
    }
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": replicas.unwrap_or(0)},
        "status": {"replicas": lookup(object, &status).and_then(Value::as_i64).unwrap_or(0)},
    });
    if replicas == Some(0) {
        scale["spec"] = json!({});
    }
    let text = match &selector {
        Some(path) => lookup(object, path)
            .and_then(Value::as_str)
            .map(str::to_owned),
        None => object
            .pointer("/spec/selector/matchLabels")
            .and_then(Value::as_object)
            .map(|labels| {
                labels
                    .iter()
                    .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
                    .collect::<Vec<_>>()
                    .join(",")
            }),
    };
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        scale["status"]["selector"] = Value::String(text);
    }
    Ok(scale)
}

/// GET.
pub(crate) async fn scale_get(call: &Call<'_>) -> Result<Value, ApiError> {
    let object = read::get(call.registry, call.kind, call.namespace, call.name).await?;
    to_scale(call, &object)
}

/// PUT.
pub(crate) async fn scale_update(call: &Call<'_>, decoded: Decoded) -> Result<Value, ApiError> {
    apply(call, &|_| Ok(decoded.value.clone())).await
}

/// PATCH, of the Scale.
pub(crate) async fn scale_patch(
    call: &Call<'_>,
    ty: PatchType,
    decoded: Decoded,
) -> Result<Value, ApiError> {
    if ty == PatchType::Apply {
        let applied = of_parent(call, decoded)?;
        let outcome = patch::apply(call, applied).await?;
        return to_scale(call, &outcome.object);
    }
    apply(call, &|mut scale| {
        let done = if ty == PatchType::Json {
            apimachinery::patch::json_patch(&mut scale, &decoded.value)
        } else {
            apimachinery::patch::merge_patch(&mut scale, &decoded.value)
        };
        done.map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
        Ok(scale)
    })
    .await
}

/// An applied Scale as what it says of the object itself: its replicas, and nothing else.
fn of_parent(call: &Call<'_>, decoded: Decoded) -> Result<Decoded, ApiError> {
    let scale = &decoded.value;
    let given = |key: &str| scale.get(key).and_then(Value::as_str).unwrap_or_default();
    if (given("apiVersion"), given("kind")) != ("autoscaling/v1", "Scale") {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {} {}, expected: autoscaling/v1 Scale",
            given("apiVersion"),
            given("kind")
        )));
    }
    let mut applied = json!({
        "apiVersion": call.kind.api_version(), "kind": call.kind.kind, "metadata": scale.get("metadata"),
    });
    if let Some(replicas) = scale.pointer("/spec/replicas").and_then(Value::as_i64) {
        set(&mut applied, &paths(call).0, checked(call, replicas)?);
    }
    Ok(Decoded {
        value: applied,
        ..decoded
    })
}

/// A number of replicas that may be asked for.
fn checked(call: &Call<'_>, replicas: i64) -> Result<Value, ApiError> {
    if replicas >= 0 {
        return Ok(replicas.into());
    }
    let path = FieldPath::new("spec").child("replicas");
    let error = FieldError::invalid(&path, replicas, "should be a non-negative integer");
    // Of a custom resource upstream names the resource's kind here, else that of the body.
    let named = if call.kind.is_crd() {
        call.kind.group_kind()
    } else {
        apimachinery::gvk::GroupKind::new("autoscaling", "Scale")
    };
    Err(ApiError::invalid(&named, call.name, vec![error]))
}

async fn apply(
    call: &Call<'_>,
    change: &(dyn Fn(Value) -> Result<Value, ApiError> + Sync),
) -> Result<Value, ApiError> {
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let present = read::get(call.registry, call.kind, call.namespace, call.name).await?;
        let before = to_scale(call, &present)?;
        let mut after = change(before.clone())?;
        let version = meta::resource_version(&present);
        if let Some(demanded) = meta::resource_version(&after)
            && Some(demanded) != version
        {
            return Err(ApiError::modified(&call.kind.group_resource(), call.name));
        }
        crate::admission::subresource(call, Operation::Update, &mut after, Some(&before)).await?;
        match store(call, version, &after).await {
            // Somebody was quicker: what was admitted was made of another state.
            Err(e) if e.is_conflict() => {}
            Err(e) => return Err(e),
            Ok(object) => return to_scale(call, &object),
        }
    }
    Err(ApiError::modified(&call.kind.group_resource(), call.name))
}

/// Sets the number of a Scale in the object, while that is at `version`.
async fn store(call: &Call<'_>, version: Option<&str>, scale: &Value) -> Result<Value, ApiError> {
    let (spec, _, _) = paths(call);
    update_with(call, |object| {
        if meta::resource_version(object) != version {
            return Err(ApiError::modified(&call.kind.group_resource(), call.name));
        }
        let replicas = scale.pointer("/spec/replicas");
        let replicas = replicas.and_then(Value::as_i64).unwrap_or(0);
        set(object, &spec, checked(call, replicas)?);
        Ok(())
    })
    .await
}

fn set(object: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut at = object;
    for key in parents {
        let Some(map) = at.as_object_mut() else {
            return;
        };
        at = map.entry(key.clone()).or_insert_with(|| json!({}));
    }
    if let Some(map) = at.as_object_mut() {
        map.insert(last.clone(), value);
    }
}
