//! `cargo xtask schemas`: the schemas of Kubernetes' own kinds, as data for `crates/schema`.
//!
//! ```text
//! k8s-openapi types ──JsonSchema──► definitions ──► fit ──► enrich(facts.txt) ──► definitions.tsv
//! ```
//!
//! k8s-openapi knows fields, types and documentation, but neither list types nor patch strategies, which
//! server-side apply and strategic merge patches need. Those are facts of the Kubernetes API, written
//! down in `facts.txt`; a fact about a field that does not exist is an error.

mod facts;
mod kinds;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// What to do with the generated data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Write the file.
    Write,
    /// Fail if the file would change.
    Check,
}

/// A definition and the kind it describes, if it is that of an API object.
struct Definition {
    gvk: Option<(String, String, String)>,
    schema: Value,
}

type Definitions = BTreeMap<String, Definition>;

/// Generates the data file of `crates/schema`.
///
/// # Errors
/// When a fact does not fit the types, the file cannot be written, or (checking) is out of date.
pub fn run(mode: Mode) -> Result<()> {
    let mut definitions = kinds::collect();
    for (name, definition) in &mut definitions {
        fit(name, definition);
    }
    facts::apply(&mut definitions)?;
    let text = render(&definitions)?;
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/schema/src/data/definitions.tsv");
    match mode {
        Mode::Write => {
            std::fs::write(&path, &text)
                .with_context(|| format!("write the definitions to {}", path.display()))?;
            println!("{} definitions, {} bytes", definitions.len(), text.len());
        }
        Mode::Check => {
            let current = std::fs::read_to_string(&path)
                .with_context(|| format!("read the definitions in {}", path.display()))?;
            if current != text {
                bail!(
                    "{} is out of date; run `cargo xtask schemas`",
                    path.display()
                );
            }
        }
    }
    Ok(())
}

fn render(definitions: &Definitions) -> Result<String> {
    let mut text = String::new();
    for (name, definition) in definitions {
        let (group, version, kind) = definition.gvk.clone().unwrap_or_default();
        let json = serde_json::to_string(&definition.schema)
            .with_context(|| format!("encode the schema of {name}"))?;
        writeln!(text, "{name}\t{group}\t{version}\t{kind}\t{json}")?;
    }
    Ok(text)
}

/// Brings one definition into the form in which kube-apiserver publishes it.
fn fit(name: &str, definition: &mut Definition) {
    let last = name.rsplit('.').next().unwrap_or_default();
    let description = definition.schema.get("description").cloned();
    let replacement = match last {
        "IntOrString" => Some(json!({
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": true,
        })),
        "Quantity" => Some(json!({
            "format": "quantity",
            "oneOf": [{"type": "string"}, {"type": "number"}],
        })),
        "JSON"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrStringArray" => {
            Some(json!({"x-kubernetes-preserve-unknown-fields": true}))
        }
        _ => None,
    };
    if let Some(replacement) = replacement {
        definition.schema = replacement;
        if let (Some(description), Some(object)) = (description, definition.schema.as_object_mut())
        {
            object.insert("description".into(), description);
        }
    }
    if let Some(object) = definition.schema.as_object_mut() {
        // The types always carry metadata; requests need not.
        if definition.gvk.is_some() {
            drop_required(object, "metadata");
        }
        // A status is written by controllers, in parts; the API server never asks for all of it.
        if last.ends_with("Status") {
            object.remove("required");
        }
        if let Some((group, version, kind)) = &definition.gvk {
            let gvk = json!([{"group": group, "version": version, "kind": kind}]);
            object.insert("x-kubernetes-group-version-kind".into(), gvk);
        }
    }
    fit_schema(&mut definition.schema);
}

/// The API server does not ask for this field, whatever the types say.
fn drop_required(object: &mut Map<String, Value>, name: &str) {
    let Some(required) = object.get_mut("required").and_then(Value::as_array_mut) else {
        return;
    };
    required.retain(|entry| entry != name);
    if required.is_empty() {
        object.remove("required");
    }
}

fn fit_schema(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(fit_schema);
    }
    for child in ["items", "additionalProperties"] {
        if let Some(child) = object.get_mut(child) {
            fit_schema(child);
        }
    }
    // OpenAPI 3.0 ignores what stands beside a reference.
    if object.len() > 1
        && let Some(reference) = object.remove("$ref")
    {
        object.insert("allOf".into(), json!([{"$ref": reference}]));
        return;
    }
    let free_form = match object.get("type").and_then(Value::as_str) {
        Some("object") => {
            !object.contains_key("properties") && !object.contains_key("additionalProperties")
        }
        Some(_) => false,
        None => !["$ref", "allOf", "oneOf"]
            .iter()
            .any(|key| object.contains_key(*key)),
    };
    if free_form {
        object.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
}
