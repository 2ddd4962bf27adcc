//! Reads `facts.txt` and writes its facts into the definitions.
//!
//! ```text
//! core.v1.PodSpec                         a definition (`io.k8s.api.` may be left out) ...
//!   volumes: map name; patch merge,retainKeys name      ... and facts about its fields
//!   nodeSelector: atomic
//! core.v1.NodeSelector: atomic            a fact about the definition itself
//! rbac.v1.RoleRef: optional apiGroup      the API server does not ask for this field
//! ```

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::{Definitions, drop_required};

const FACTS: &str = include_str!("facts.txt");

/// Adds all facts to the definitions.
///
/// # Errors
/// When a fact is malformed or speaks of something that does not exist.
pub fn apply(definitions: &mut Definitions) -> Result<()> {
    let mut current = String::new();
    for (number, line) in FACTS.lines().enumerate() {
        let text = line.split('#').next().unwrap_or_default().trim_end();
        if text.is_empty() {
            continue;
        }
        let context = || format!("facts.txt line {}: {line}", number + 1);
        let (subject, facts) = text.trim().split_once(": ").unwrap_or((text.trim(), ""));
        let is_field = text.starts_with(' ');
        if !is_field {
            current = full_name(subject);
        }
        let schema = definitions
            .get_mut(&current)
            .map(|definition| &mut definition.schema)
            .context("no such definition")
            .with_context(context)?;
        let target = if is_field {
            schema.pointer_mut(&format!("/properties/{subject}"))
        } else {
            Some(schema)
        };
        let target = target
            .and_then(Value::as_object_mut)
            .context("no such field")
            .with_context(context)?;
        for fact in facts.split("; ").filter(|fact| !fact.is_empty()) {
            add(target, fact).with_context(context)?;
        }
    }
    Ok(())
}

fn full_name(short: &str) -> String {
    for (alias, prefix) in [
        ("meta.v1.", "io.k8s.apimachinery.pkg.apis.meta.v1."),
        (
            "apiextensions.v1.",
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.",
        ),
        (
            "apiregistration.v1.",
            "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.",
        ),
    ] {
        if let Some(rest) = short.strip_prefix(alias) {
            return format!("{prefix}{rest}");
        }
    }
    format!("io.k8s.api.{short}")
}

fn add(schema: &mut Map<String, Value>, fact: &str) -> Result<()> {
    let is_array = schema.get("type") == Some(&json!("array"));
    let words: Vec<&str> = fact.split(' ').collect();
    let extend = |schema: &mut Map<String, Value>, key: &str, value: Value| {
        schema.insert(format!("x-kubernetes-{key}"), value);
    };
    match words[..] {
        ["atomic"] if is_array => extend(schema, "list-type", "atomic".into()),
        ["atomic"] => extend(schema, "map-type", "atomic".into()),
        ["granular"] if !is_array => extend(schema, "map-type", "granular".into()),
        ["set"] if is_array => extend(schema, "list-type", "set".into()),
        ["map", ref keys @ ..] if is_array && !keys.is_empty() => {
            extend(schema, "list-type", "map".into());
            extend(schema, "list-map-keys", json!(keys));
        }
        ["patch", strategy] => extend(schema, "patch-strategy", strategy.into()),
        ["patch", strategy, key] => {
            extend(schema, "patch-strategy", strategy.into());
            extend(schema, "patch-merge-key", key.into());
        }
        ["optional"] => {
            schema.remove("required");
        }
        ["optional", field] => drop_required(schema, field),
        ["default", text] => {
            schema.insert("default".into(), text.into());
        }
        _ => bail!("`{fact}` does not fit this schema"),
    }
    Ok(())
}
