//! OpenAPI documents: v3, one per group and version, and the index that names them; [v2](v2_document), made from them.
//!
//! ```text
//! kinds of a group/version ──► paths (operations)  ─┐
//!                          └─► schemas, and all     ├─► document ──hash──► index entry
//!                              they refer to       ─┘
//! ```
//!
//! Clients read from it what they may do: `kubectl explain` finds the kind of a resource by its path and
//! the documentation by the kind; `kubectl apply` looks for `fieldValidation` and `dryRun` at the PATCH
//! operation of a kind (at every such operation, status included, because it stops at the first it
//! meets); strategic merge patches take merge keys from the schemas.
//! Documents are named by a hash of their content, so a client may keep one for ever.

mod foreign;
mod gnostic;
mod operations;
mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use apimachinery::gvk::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::builtin::{self, REFERENCE_PREFIX};
use crate::model::Schema;

pub use foreign::v2_foreign_part;
pub use gnostic::v2_protobuf;
pub use v2::{V2Part, v2_document, v2_part};

/// Everything that documents need to know about a served resource.
#[derive(Debug, Clone)]
pub struct KindDoc {
    /// `ConfigMap`
    pub kind: String,
    /// `ConfigMapList`
    pub list_kind: String,
    /// `configmaps`
    pub resource: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs as in discovery: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection`.
    pub verbs: Vec<String>,
    /// The schema of a custom resource; built-in kinds have their own.
    pub schema: Option<Arc<Schema>>,
    /// Subresources, such as `status`.
    pub subresources: Vec<SubresourceDoc>,
}

/// What documents need to know about a subresource.
#[derive(Debug, Clone)]
pub struct SubresourceDoc {
    /// `status`
    pub name: String,
    /// `get`, `update`, `patch`, `create`, ...
    pub verbs: Vec<String>,
    /// The kind it speaks, where that is not the resource's (`autoscaling/v1 Scale`).
    pub kind: Option<GroupVersionKind>,
}

/// The document of one group and version.
#[must_use]
pub fn v3_document(gv: &GroupVersion, kinds: &[KindDoc]) -> Value {
    let mut paths = Map::new();
    let mut schemas = BTreeMap::new();
    for kind in kinds {
        let gvk = gv.with_kind(&kind.kind);
        let name = schema_name(&gvk, kind);
        operations::add(&mut paths, gv, kind, &name);
        schemas.insert(format!("{name}List"), list_schema(gv, kind, &name));
        let schema = custom_schema(&gvk, kind);
        let schema = schema.or_else(|| Some(builtin::definition_of(&gvk)?.to_value()));
        schemas.insert(name, schema.unwrap_or_else(|| unknown_schema(&gvk)));
    }
    let mut wanted = BTreeSet::new();
    for value in paths.values() {
        references(value, &mut wanted);
    }
    for value in schemas.values() {
        references(value, &mut wanted);
    }
    complete(&mut schemas, wanted);
    let schemas: Map<String, Value> = schemas.into_iter().collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "BearerToken": {
                    "type": "apiKey",
                    "description": "Bearer Token authentication",
                    "name": "authorization",
                    "in": "header",
                },
            },
        },
    })
}

/// Where a group and version's document lies below `/openapi/v3/`: `api/v1` or `apis/apps/v1`.
#[must_use]
pub fn document_path(gv: &GroupVersion) -> String {
    if gv.group.is_empty() {
        format!("api/{}", gv.version)
    } else {
        format!("apis/{}/{}", gv.group, gv.version)
    }
}

/// The hash that names a version of a document, from its bytes as served.
#[must_use]
pub fn document_hash(bytes: &[u8]) -> String {
    let mut hash = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02X}");
    }
    hash
}

/// The index at `/openapi/v3`, from the documents' groups and hashes.
///
/// A request that carries the current hash may be answered with immutable caching; one with an old
/// hash is redirected to the current.
#[must_use]
pub fn v3_index<'a>(documents: impl IntoIterator<Item = (&'a GroupVersion, &'a str)>) -> Value {
    let entry = |(gv, hash): (&GroupVersion, &str)| {
        let path = document_path(gv);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        (path, json!({"serverRelativeURL": url}))
    };
    let paths: Map<String, Value> = documents.into_iter().map(entry).collect();
    json!({"paths": paths})
}

/// The name of a kind's schema: a built-in definition's, else the group reversed, version and kind.
fn schema_name(gvk: &GroupVersionKind, kind: &KindDoc) -> String {
    let builtin = builtin::definition_of(gvk).filter(|_| kind.schema.is_none());
    match builtin {
        Some(definition) => definition.name().to_owned(),
        None => {
            let mut labels: Vec<&str> = gvk.group.rsplit('.').collect();
            labels.extend([gvk.version.as_str(), gvk.kind.as_str()]);
            labels.join(".")
        }
    }
}

fn custom_schema(gvk: &GroupVersionKind, kind: &KindDoc) -> Option<Value> {
    let schema = (**kind.schema.as_ref()?).clone();
    // Restrictions on metadata are validated, not documented: the reference below stands for it all.
    let mut schema = schema.into_resource();
    schema
        .logic
        .edit()
        .all_of
        .retain(|rule| !rule.properties.contains_key("metadata"));
    let mut value = schema.to_value();
    let metadata = json!({
        "description": METADATA_DESCRIPTION,
        "allOf": [builtin::reference_value(builtin::OBJECT_META)],
    });
    let object = value.as_object_mut()?;
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("metadata".into(), metadata);
    }
    object.insert(
        "x-kubernetes-group-version-kind".into(),
        json!([gvk_value(gvk)]),
    );
    Some(value)
}

const METADATA_DESCRIPTION: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA_DESCRIPTION: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

fn unknown_schema(gvk: &GroupVersionKind) -> Value {
    json!({
        "type": "object",
        "x-kubernetes-group-version-kind": [gvk_value(gvk)],
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn list_schema(gv: &GroupVersion, kind: &KindDoc, item: &str) -> Value {
    let gvk = gv.with_kind(&kind.list_kind);
    json!({
        "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": builtin::API_VERSION_DESCRIPTION, "type": "string"},
            "kind": {"description": builtin::KIND_DESCRIPTION, "type": "string"},
            "items": {
                "description": format!("List of {}.", kind.resource),
                "type": "array",
                "items": builtin::reference_value(item),
            },
            "metadata": {
                "description": LIST_METADATA_DESCRIPTION,
                "allOf": [builtin::reference_value(builtin::LIST_META)],
            },
        },
        "x-kubernetes-group-version-kind": [gvk_value(&gvk)],
    })
}

fn gvk_value(gvk: &GroupVersionKind) -> Value {
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}

/// Collects the names of definitions that a value refers to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let target = object.get("$ref").and_then(Value::as_str);
            if let Some(name) = target.and_then(|target| target.strip_prefix(REFERENCE_PREFIX)) {
                found.insert(name.to_owned());
            }
            object.values().for_each(|child| references(child, found));
        }
        Value::Array(items) => items.iter().for_each(|child| references(child, found)),
        _ => {}
    }
}

/// Adds every built-in definition that is referred to, directly or through another.
fn complete(schemas: &mut BTreeMap<String, Value>, mut wanted: BTreeSet<String>) {
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        if let Some(definition) = builtin::definition(&name) {
            let value = definition.to_value();
            references(&value, &mut wanted);
            schemas.insert(name, value);
        }
    }
}
