//! CustomResourceDefinitions of the platform's kinds, made from the types.
//!
//! The derive gives the shape; [`tune`] makes of it what KubeVirt's own definitions are: no `null` where the
//! original has none, no defaults that would change stored objects (those are admission's), no formats that
//! only Rust knows. `crates/api/crds/*.yaml` shows the result, and a test keeps it so.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::cdi::DataVolume;
use crate::kubevirt::{VirtualMachine, VirtualMachineInstance};
use crate::preflight::VMRuntimePreflightCheck;
use crate::vmruntime::VMRuntime;

/// Label of everything that belongs to the platform.
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "ferrovirt");

/// All of them, in the order in which they are best installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        tuned(VMRuntime::crd(), Nulls::InSpec),
        with_optional_spec(tuned(VMRuntimePreflightCheck::crd(), Nulls::Nowhere)),
        tuned(DataVolume::crd(), Nulls::Nowhere),
        tuned(VirtualMachine::crd(), Nulls::Nowhere),
        tuned(VirtualMachineInstance::crd(), Nulls::Nowhere),
    ]
    .into()
}

/// A manifest need not have a spec when there is nothing to specify (G-35); the stored object has one.
fn with_optional_spec(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        let Some(schema) = schema.and_then(|s| s.open_api_v3_schema.as_mut()) else {
            continue;
        };
        schema.required = None;
        let spec = schema.properties.iter_mut().flatten();
        for (_, part) in spec.filter(|(name, _)| *name == "spec") {
            part.default = Some(JSON(json!({})));
        }
    }
    crd
}

/// Where an explicit `null` is a value of its own.
#[derive(Clone, Copy, PartialEq)]
enum Nulls {
    Nowhere,
    InSpec,
}

fn tuned(mut crd: CustomResourceDefinition, nulls: Nulls) -> CustomResourceDefinition {
    crd.metadata
        .labels
        .get_or_insert_default()
        .insert(PART_OF.0.into(), PART_OF.1.into());
    for version in &mut crd.spec.versions {
        let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        let Ok(mut value) = serde_json::to_value(&*schema) else {
            continue;
        };
        for (name, part) in properties(&mut value) {
            tune(part, nulls == Nulls::InSpec && name == "spec");
        }
        if nulls == Nulls::InSpec {
            settings_object(&mut value);
        }
        if let Ok(tuned) = serde_json::from_value(value) {
            *schema = tuned;
        }
    }
    crd
}

fn properties(schema: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    schema
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
}

/// An object that exists from the start, with nothing set and nothing ready (G-01, G-04).
fn settings_object(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        map.remove("required");
    }
    if let Some(status) = schema.pointer_mut("/properties/status") {
        status["default"] = json!({"ready": false});
        status["properties"]["ready"]["default"] = json!(false);
    }
}

fn tune(schema: &mut Value, keep_null: bool) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    let opaque = map.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if !keep_null && !opaque {
        map.remove("nullable");
        if let Some(values) = map.get_mut("enum").and_then(Value::as_array_mut) {
            values.retain(|v| !v.is_null());
        }
    }
    map.remove("default");
    if map
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|f| f.starts_with("uint"))
    {
        map.remove("format");
        map.remove("minimum");
    }
    for (_, child) in properties(schema) {
        tune(child, keep_null);
    }
    for word in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(word) {
            tune(child, keep_null);
        }
    }
}

/// The schema of a kind's only version, for the walk in [`crate::fields`].
pub(crate) fn schema_of(crd: &CustomResourceDefinition) -> Value {
    crd.spec
        .versions
        .first()
        .and_then(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref())
        .and_then(|s| serde_json::to_value(s).ok())
        .unwrap_or_else(|| Value::Object(Map::new()))
}

#[cfg(test)]
mod tests;
