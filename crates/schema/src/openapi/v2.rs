//! The OpenAPI v2 (Swagger 2.0) document: all groups and versions in one.
//!
//! ```text
//! v3 document of a group/version ──► part: members of `paths`, definitions by name ─┐
//! v3 document of another         ──► part                                          ─┴─► document
//! ```
//! Parts are kept as text, so that a change of one kind makes one part anew and joins the others as they are.
//!
//! Swagger 2.0 says less than v3, and its readers break on more: there are no junctors (`allOf`, `anyOf`, `oneOf`,
//! `not`) but the one that wraps a reference, nothing is nullable, and kubectl does not validate what is both
//! described and open. What cannot be said is left out, as kube-apiserver leaves it out, so a document is never
//! stricter than the server.

use std::collections::BTreeMap;

use apimachinery::gvk::GroupVersion;
use serde_json::{Map, Value, json};

use super::{KindDoc, v3_document};
use crate::builtin::{self, REFERENCE_PREFIX};

pub(super) const DEFINITIONS: &str = "#/definitions/";

/// What one group and version adds to the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct V2Part {
    /// Members of `paths`, as JSON text without the braces.
    pub(super) paths: String,
    /// Definitions by name, as JSON text.
    pub(super) definitions: BTreeMap<String, String>,
}

/// Makes the part of a group and version.
#[must_use]
pub fn v2_part(gv: &GroupVersion, kinds: &[KindDoc]) -> V2Part {
    let mut document = v3_document(gv, kinds);
    let mut take = |pointer: &str| match document.pointer_mut(pointer).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let paths: Vec<String> = take("/paths")
        .into_iter()
        .map(|(path, item)| member(&path, &path_item(item)))
        .collect();
    let definitions = take("/components/schemas")
        .into_iter()
        .map(|(name, definition)| {
            let text = definition_v2(&name, definition).to_string();
            (name, text)
        })
        .collect();
    V2Part {
        paths: paths.join(","),
        definitions,
    }
}

/// Joins parts to the document, as JSON text. Of definitions that several parts have by one name and that are not the
/// same, the later ones get other names.
#[must_use]
pub fn v2_document<'p>(parts: impl IntoIterator<Item = &'p V2Part>) -> String {
    let mut definitions: BTreeMap<String, String> = BTreeMap::new();
    let mut paths = Vec::new();
    for part in parts {
        let part = part.renamed(&definitions);
        if !part.paths.is_empty() {
            paths.push(part.paths);
        }
        definitions.extend(part.definitions);
    }
    let size = paths.iter().map(String::len).sum::<usize>()
        + definitions.values().map(|d| d.len() + 100).sum::<usize>();
    let mut out = String::with_capacity(size + 512);
    out.push_str(
        r#"{"swagger":"2.0","info":{"title":"Kubernetes","version":"unversioned"},"paths":{"#,
    );
    out.push_str(&paths.join(","));
    out.push_str(r#"},"definitions":{"#);
    for (index, (name, definition)) in definitions.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name).to_string());
        out.push(':');
        out.push_str(&definition);
    }
    out.push_str(r#"},"securityDefinitions":{"BearerToken":{"description":"Bearer Token authentication","type":"apiKey","name":"authorization","in":"header"}},"security":[{"BearerToken":[]}]}"#);
    out
}

pub(super) fn member(name: &str, value: &Value) -> String {
    format!("{}:{value}", Value::from(name))
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else {
        return item;
    };
    let convert = |(key, value): (String, Value)| {
        let value = match key.as_str() {
            "parameters" => parameters(value),
            _ => operation(value),
        };
        (key, value)
    };
    item.into_iter().map(convert).collect::<Map<_, _>>().into()
}

/// A parameter that is not the body has its type beside its name.
fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else {
        return json!([]);
    };
    let flat = |mut parameter: Value| {
        if let Some(map) = parameter.as_object_mut()
            && let Some(Value::Object(schema)) = map.remove("schema")
        {
            map.extend(schema);
        }
        parameter
    };
    list.into_iter().map(flat).collect::<Vec<_>>().into()
}

fn operation(value: Value) -> Value {
    let Value::Object(mut operation) = value else {
        return value;
    };
    let mut given = match parameters(operation.remove("parameters").unwrap_or_default()) {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let mut consumes = vec!["*/*".to_owned()];
    if let Some(mut body) = operation.remove("requestBody") {
        let (schema, media) = content(&mut body);
        given.insert(
            0,
            json!({"name": "body", "in": "body", "required": body["required"] == true, "schema": schema}),
        );
        consumes = media;
    }
    let mut produces = Vec::new();
    let responses = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(|map| map.values_mut()) {
        if response.get("content").is_none() {
            continue;
        }
        let (schema, media) = content(response);
        produces = media;
        if let Some(map) = response.as_object_mut() {
            map.remove("content");
            map.insert("schema".to_owned(), schema);
        }
    }
    operation.insert("consumes".to_owned(), json!(consumes));
    operation.insert("produces".to_owned(), json!(produces));
    operation.insert("schemes".to_owned(), json!(["https"]));
    if !given.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(given));
    }
    operation.into()
}

/// The schema of a body, which is the same in all its media types, and those.
fn content(body: &mut Value) -> (Value, Vec<String>) {
    let map = body.get_mut("content").and_then(Value::as_object_mut);
    let mut media = Vec::new();
    let mut schema = Value::Null;
    for (name, value) in map.into_iter().flatten() {
        media.push(name.clone());
        if schema.is_null() {
            schema = schema_v2(value["schema"].take(), Of::Builtin);
        }
    }
    (schema, media)
}

/// Whose schema it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Builtin,
    /// A custom resource.
    Custom,
    /// A part of a custom resource.
    CustomPart,
}

fn definition_v2(name: &str, definition: Value) -> Value {
    let of = match builtin::definition(name) {
        Some(_) => Of::Builtin,
        None => Of::Custom,
    };
    schema_v2(definition, of)
}

/// What `allOf` around a single reference refers to.
fn wrapped(schema: &Map<String, Value>) -> Option<&Value> {
    match schema.get("allOf")?.as_array()?.as_slice() {
        [only] => only.get("$ref"),
        _ => None,
    }
}

/// A schema in the words of v2.
fn schema_v2(schema: Value, of: Of) -> Value {
    let Value::Object(mut schema) = schema else {
        return schema;
    };
    if let Some(target) = schema
        .get("$ref")
        .or_else(|| wrapped(&schema))
        .and_then(Value::as_str)
    {
        let name = target.strip_prefix(REFERENCE_PREFIX).unwrap_or(target);
        let mut out = Map::new();
        if let Some(description) = schema.get("description") {
            out.insert("description".to_owned(), description.clone());
        }
        out.insert("$ref".to_owned(), format!("{DEFINITIONS}{name}").into());
        return out.into();
    }
    if schema.contains_key("oneOf") && of == Of::Builtin {
        // Quantities and ports: numbers or texts of a format, which readers of v2 take for texts.
        schema.insert("type".to_owned(), "string".into());
        schema.remove("x-kubernetes-int-or-string");
    }
    for word in ["allOf", "anyOf", "oneOf", "not"] {
        schema.remove(word);
    }
    if of != Of::Builtin {
        simplify(&mut schema, of);
    }
    let part = match of {
        Of::Builtin => Of::Builtin,
        Of::Custom | Of::CustomPart => Of::CustomPart,
    };
    if let Some(Value::Object(properties)) = schema.remove("properties") {
        let converted: Map<String, Value> = properties
            .into_iter()
            .map(|(name, property)| (name, schema_v2(property, part)))
            .collect();
        schema.insert("properties".to_owned(), converted.into());
    }
    for word in ["items", "additionalProperties"] {
        if let Some(child) = schema.remove(word) {
            schema.insert(word.to_owned(), schema_v2(child, part));
        }
    }
    schema.into()
}

/// Leaves out of a custom schema what readers of v2 take for stricter than it is.
fn simplify(schema: &mut Map<String, Value>, of: Of) {
    if schema.remove("nullable").is_some_and(|n| n == true) {
        for word in ["type", "items", "properties"] {
            schema.remove(word);
        }
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        schema.remove("items");
        match schema.get_mut("properties").and_then(Value::as_object_mut) {
            Some(own) if of == Of::Custom => {
                own.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
            }
            _ => {
                schema.remove("properties");
            }
        }
    }
    let Some(Value::Array(mut required)) = schema.remove("required") else {
        return;
    };
    // What may be null or has a default need not be given.
    required.retain(|name| {
        let property = name
            .as_str()
            .and_then(|name| schema.get("properties")?.get(name));
        property.is_none_or(|p| {
            p.get("nullable") != Some(&Value::Bool(true)) && p.get("default").is_none()
        })
    });
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
}
