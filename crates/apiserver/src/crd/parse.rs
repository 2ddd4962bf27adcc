//! A CRD object as kinds, one for each served version.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::jsonpath::JsonPath;
use apimachinery::meta;
use serde_json::{Value, json};

use crate::conversion::Conversion;
use crate::kinds::{
    Behaviour, Column, CrdDetails, CrdSchema, Kind, PrinterColumn, Scale, SchemaSource,
    SubresourceInfo, version_order,
};

const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn strings(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The kinds that a CRD defines.
pub(super) fn kinds(crd: &Value) -> Vec<Arc<Kind>> {
    let versions = crd
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let storage = versions
        .iter()
        .find(|v| v.get("storage") == Some(&Value::Bool(true)))
        .map(|v| text(v, "/name"))
        .unwrap_or_default();
    let schemas = schemas(versions);
    let conversion = Conversion::parse(crd).map(Arc::new);
    versions
        .iter()
        .filter(|v| v.get("served") == Some(&Value::Bool(true)))
        .map(|version| kind(crd, version, storage, &schemas, conversion.as_ref()))
        .map(Arc::new)
        .collect()
}

/// Kinds of all versions, each for the objects that are stored in it, taken as they are: for the end of a CRD, which
/// must not hang on a webhook that went first.
pub(super) fn stored(crd: &Value) -> Vec<Arc<Kind>> {
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let versions = versions.map(Vec::as_slice).unwrap_or_default();
    let schemas = schemas(versions);
    versions
        .iter()
        .map(|version| kind(crd, version, text(version, "/name"), &schemas, None))
        .map(Arc::new)
        .collect()
}

type Schemas = Arc<BTreeMap<String, Arc<CrdSchema>>>;

fn schemas(versions: &[Value]) -> Schemas {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let of = |version: &Value| {
        let document = version.pointer("/schema/openAPIV3Schema").unwrap_or(&open);
        let name = text(version, "/name").to_owned();
        (name, Arc::new(CrdSchema::new(document)))
    };
    Arc::new(versions.iter().map(of).collect())
}

fn kind(
    crd: &Value,
    version: &Value,
    storage: &str,
    schemas: &Schemas,
    conversion: Option<&Arc<Conversion>>,
) -> Kind {
    let name = text(version, "/name");
    let schema = schemas
        .get(name)
        .cloned()
        .unwrap_or_else(|| Arc::new(CrdSchema::new(&json!({}))));
    let status = version
        .pointer("/subresources/status")
        .is_some_and(Value::is_object);
    let scale = version
        .pointer("/subresources/scale")
        .filter(|s| s.is_object())
        .map(scale);
    let (group, plural) = (text(crd, "/spec/group"), text(crd, "/spec/names/plural"));
    let mut subresources = Vec::new();
    if status {
        subresources.push(subresource(
            "status",
            group,
            name,
            text(crd, "/spec/names/kind"),
        ));
    }
    if scale.is_some() {
        subresources.push(subresource("scale", "autoscaling", "v1", "Scale"));
    }
    let deprecated = version.get("deprecated") == Some(&Value::Bool(true));
    let warning = match text(version, "/deprecationWarning") {
        "" => deprecation(crd, name),

        text => text.to_owned(),
    };
    let or = |given: &str, alternative: String| {
        if given.is_empty() {
            alternative
        } else {
            given.to_owned()
        }
    };
    let kind_name = text(crd, "/spec/names/kind");
    Kind {
        group: group.to_owned(),
        version: name.to_owned(),
        kind: kind_name.to_owned(),
        list_kind: or(
            text(crd, "/spec/names/listKind"),
            format!("{kind_name}List"),
        ),
        plural: plural.to_owned(),
        singular: or(text(crd, "/spec/names/singular"), kind_name.to_lowercase()),
        short_names: strings(crd, "/spec/names/shortNames"),
        categories: strings(crd, "/spec/names/categories"),
        namespaced: text(crd, "/spec/scope") == "Namespaced",
        verbs: VERBS,
        subresources,
        prefix: format!("/{group}/{plural}/"),
        storage_version: storage.to_owned(),
        schema: SchemaSource::Crd(schema),
        behaviour: Behaviour {
            status,
            generation: true,
            ..Behaviour::default()
        },
        crd: Some(Arc::new(CrdDetails {
            columns: columns(version),
            scale,
            selectable_fields: selectable(version),
            deprecation_warning: deprecated.then_some(warning),
            terminating: meta::is_deleting(crd),
            schemas: Arc::clone(schemas),
            conversion: conversion.cloned(),
        })),
    }
}

/// The warning for a deprecated version, with the version to use instead if there is a better one.
fn deprecation(crd: &Value, version: &str) -> String {
    let (group, kind) = (text(crd, "/spec/group"), text(crd, "/spec/names/kind"));
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let better = versions
        .into_iter()
        .flatten()
        .filter(|v| {
            v.get("served") == Some(&Value::Bool(true))
                && v.get("deprecated") != Some(&Value::Bool(true))
        })
        .map(|v| text(v, "/name"))
        .max_by_key(|name| version_order(name))
        .filter(|name| version_order(name) > version_order(version));
    match better {
        Some(better) => {
            format!("{group}/{version} {kind} is deprecated; use {group}/{better} {kind}")
        }
        None => format!("{group}/{version} {kind} is deprecated"),
    }
}

fn subresource(name: &str, group: &str, version: &str, kind: &str) -> SubresourceInfo {
    SubresourceInfo {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
    }
}

/// `.spec.replicas` as steps.
fn steps(path: &str) -> Vec<String> {
    path.split('.')
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect()
}

fn scale(value: &Value) -> Scale {
    Scale {
        spec_replicas: steps(text(value, "/specReplicasPath")),
        status_replicas: steps(text(value, "/statusReplicasPath")),
        label_selector: Some(steps(text(value, "/labelSelectorPath"))).filter(|p| !p.is_empty()),
    }
}

fn selectable(version: &Value) -> Vec<(String, JsonPath)> {
    let list = version
        .pointer("/selectableFields")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|field| {
            let path = text(field, "/jsonPath");
            Some((
                path.trim_start_matches('.').to_owned(),
                JsonPath::parse(path).ok()?,
            ))
        })
        .collect()
}

fn columns(version: &Value) -> Vec<PrinterColumn> {
    let list = version
        .pointer("/additionalPrinterColumns")
        .and_then(Value::as_array)
        .filter(|l| !l.is_empty());
    let age = [
        json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        "description": "How long ago the object was created."}),
    ];
    let given = list.map_or(age.as_slice(), Vec::as_slice);
    // One path that cannot be read, and the kind is shown like one without columns.
    let columns: Option<Vec<_>> = given.iter().map(column).collect();
    columns.unwrap_or_else(|| age.iter().filter_map(column).collect())
}

fn column(column: &Value) -> Option<PrinterColumn> {
    let description = text(column, "/description");
    let path = text(column, "/jsonPath");
    Some(PrinterColumn {
        column: Column {
            name: text(column, "/name").to_owned(),
            ty: text(column, "/type").to_owned(),
            format: text(column, "/format").to_owned(),
            description: if description.is_empty() {
                format!("Custom resource definition column (in JSONPath format): {path}")
            } else {
                description.to_owned()
            },
            priority: column
                .get("priority")
                .and_then(Value::as_i64)
                .and_then(|p| p.try_into().ok())
                .unwrap_or(0),
        },
        path: JsonPath::parse(path).ok()?,
    })
}
