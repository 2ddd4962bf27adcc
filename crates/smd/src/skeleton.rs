//! The object before it was created.
//!
//! A create is tracked as an update of the empty object. kube-apiserver's empty object of a built-in kind is a Go
//! value, whose structs exist even when empty; so creating a Deployment adds no field `.spec.template`, but one
//! `.spec.template.spec.dnsPolicy`. The structs that exist are listed here. Custom resources have none.

use apimachinery::gvk::{GroupVersion, GroupVersionKind};
use schema::{MapType, Schema, SchemaType};
use serde_json::{Map, Value};

const STRUCTS: &[&str] = &[
    "jobTemplate",
    "loadBalancer",
    "metadata",
    "names",
    "spec",
    "status",
    "strategy",
    "template",
    "updateStrategy",
];
/// Lists that are null rather than absent.
const LISTS: &[&str] = &["containers"];

/// The empty object of the kind of `object`.
pub(crate) fn skeleton(object: &Value, schema: &Schema) -> Value {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("kind");
    let built_in = GroupVersion::parse(text("apiVersion")).ok().and_then(|gv| {
        schema::builtin::definition_of(&GroupVersionKind {
            group: gv.group,
            version: gv.version,
            kind: kind.to_owned(),
        })
    });
    let extra: &[&str] = match kind {
        "PersistentVolumeClaim" => &["resources"],
        "Event" => &["source", "involvedObject"],
        _ => &[],
    };
    let mut out = match built_in {
        Some(_) => structs(schema, extra, 0),
        None => Map::new(),
    };
    for key in ["apiVersion", "kind"] {
        if let Some(value) = object.get(key) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(out)
}

fn structs(schema: &Schema, extra: &[&str], depth: usize) -> Map<String, Value> {
    let mut out = Map::new();
    // spec.jobTemplate.spec.template.spec is the deepest.
    if depth > 5 {
        return out;
    }
    for name in STRUCTS.iter().chain(extra) {
        let Some(property) = schema.properties.get(*name) else {
            continue;
        };
        let is_struct =
            !property.properties.is_empty() && property.map_type != Some(MapType::Atomic);
        if is_struct {
            let below = structs(property, extra, depth + 1);
            out.insert((*name).to_owned(), Value::Object(below));
        }
    }
    for name in LISTS {
        let property = schema.properties.get(*name);
        if property.is_some_and(|p| p.ty == Some(SchemaType::Array)) {
            out.insert((*name).to_owned(), Value::Null);
        }
    }
    out
}
