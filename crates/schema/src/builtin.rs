//! The schemas of Kubernetes' own kinds.
//!
//! `cargo xtask schemas` writes `data/definitions.tsv`: one definition a line, as name, group, version,
//! kind (empty for parts of kinds) and its OpenAPI schema as JSON. Nothing of it is parsed at start:
//! the first look-up indexes the names, and a definition becomes a [`Schema`] when somebody looks at it.
//! Parsed definitions live as long as the process and are shared by all kinds that refer to them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use apimachinery::field::FieldPath;
use apimachinery::gvk::GroupVersionKind;
use serde_json::{Map, Value};

use crate::decode::{self, Origin};
use crate::model::{Schema, SchemaRef};

static DATA: &str = include_str!("data/definitions.tsv");

/// Prefix of references among definitions, as in an OpenAPI v3 document.
pub const REFERENCE_PREFIX: &str = "#/components/schemas/";
/// Name of the definition of `ObjectMeta`.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Name of the definition of `ListMeta`.
pub const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
/// What Kubernetes says about `apiVersion`.
pub(crate) const API_VERSION_DESCRIPTION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
/// What Kubernetes says about `kind`.
pub(crate) const KIND_DESCRIPTION: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// One built-in definition: a kind, or a type that kinds are made of.
#[derive(Clone, Copy)]
pub struct Definition {
    id: DefinitionId,
}

impl Definition {
    /// The name in OpenAPI documents, such as `io.k8s.api.core.v1.Pod`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.id.name()
    }

    /// The kind which this definition describes, if it is one of an API object.
    #[must_use]
    pub fn gvk(&self) -> Option<GroupVersionKind> {
        let entry = self.id.entry();
        (!entry.kind.is_empty()).then(|| GroupVersionKind {
            group: entry.group.to_owned(),
            version: entry.version.to_owned(),
            kind: entry.kind.to_owned(),
        })
    }

    /// The OpenAPI schema as JSON text.
    #[must_use]
    pub fn json(&self) -> &'static str {
        self.id.entry().json
    }

    /// The OpenAPI schema, with documentation; parsed anew by every call.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.id.value()
    }

    /// The schema, shared.
    #[must_use]
    pub fn schema(&self) -> Arc<Schema> {
        Arc::clone(self.id.schema())
    }

    /// The schema as a child of another.
    #[must_use]
    pub fn reference(&self) -> SchemaRef {
        SchemaRef::definition(self.id)
    }
}

/// All built-in definitions, by name.
pub fn definitions() -> impl Iterator<Item = Definition> {
    (0..REGISTRY.entries.len()).map(|index| Definition {
        id: DefinitionId(index),
    })
}

/// The definition of that name.
#[must_use]
pub fn definition(name: &str) -> Option<Definition> {
    let entries = &REGISTRY.entries;
    let found = entries.binary_search_by(|entry| entry.name.cmp(name));
    found.ok().map(|index| Definition {
        id: DefinitionId(index),
    })
}

/// The definition of a kind.
#[must_use]
pub fn definition_of(gvk: &GroupVersionKind) -> Option<Definition> {
    let key = (&*gvk.group, &*gvk.version, &*gvk.kind);
    REGISTRY.kinds.get(&key).map(|&id| Definition { id })
}

/// The schema of a built-in kind.
#[must_use]
pub fn schema(gvk: &GroupVersionKind) -> Option<Arc<Schema>> {
    definition_of(gvk).map(|definition| definition.schema())
}

/// A child schema that stands for the definition of that name.
#[must_use]
pub fn reference(name: &str) -> Option<SchemaRef> {
    definition(name).map(|definition| definition.reference())
}

/// The schema of the metadata of every object.
pub(crate) fn object_meta() -> Option<SchemaRef> {
    reference(OBJECT_META)
}

/// The JSON form of a reference to a definition.
#[must_use]
pub fn reference_value(name: &str) -> Value {
    let mut out = Map::new();
    out.insert("$ref".into(), format!("{REFERENCE_PREFIX}{name}").into());
    Value::Object(out)
}

/// Index of a definition in the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DefinitionId(usize);

impl DefinitionId {
    fn entry(self) -> &'static Entry {
        &REGISTRY.entries[self.0]
    }

    pub(crate) fn name(self) -> &'static str {
        self.entry().name
    }

    fn value(self) -> Value {
        let entry = self.entry();
        serde_json::from_str(entry.json)
            .unwrap_or_else(|error| panic!("built-in schema of {} is no JSON: {error}", entry.name))
    }

    pub(crate) fn schema(self) -> &'static Arc<Schema> {
        self.entry().schema.get_or_init(|| {
            let mut errors = Vec::new();
            let path = FieldPath::new(self.name());
            let schema = decode::decode(&self.value(), &path, Origin::Builtin, &mut errors);
            if let Some(error) = errors.first() {
                panic!("built-in schema is malformed: {error}");
            }
            Arc::new(schema)
        })
    }
}

struct Entry {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    json: &'static str,
    schema: OnceLock<Arc<Schema>>,
}

struct Registry {
    /// Sorted by name, as they are in the file.
    entries: Vec<Entry>,
    kinds: HashMap<(&'static str, &'static str, &'static str), DefinitionId>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut entries = Vec::new();
    let mut kinds = HashMap::new();
    for line in DATA.lines() {
        let mut columns = line.splitn(5, '\t');
        let mut next = || columns.next().unwrap_or_default();
        let (name, group, version, kind, json) = (next(), next(), next(), next(), next());
        if !kind.is_empty() {
            kinds.insert((group, version, kind), DefinitionId(entries.len()));
        }
        entries.push(Entry {
            name,
            group,
            version,
            kind,
            json,
            schema: OnceLock::new(),
        });
    }
    Registry { entries, kinds }
});

/// The definition which a JSON schema refers to, with what the schema says beside the reference.
///
/// A description beside a reference is documentation of the place and stays in the JSON; everything
/// else changes the meaning, so then the result is a schema of its own.
pub(crate) fn resolve(value: &Value) -> Option<SchemaRef> {
    let object = value.as_object()?;
    let direct = object.get("$ref");
    let wrapped = || match object.get("allOf")?.as_array()?.as_slice() {
        [only] => only.get("$ref"),
        _ => None,
    };
    let target = direct.or_else(wrapped)?.as_str()?;
    let name = target.strip_prefix(REFERENCE_PREFIX)?;
    let definition = definition(name)?;
    let overlay: Map<String, Value> = object
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "$ref" | "allOf" | "description"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if overlay.is_empty() {
        return Some(definition.reference());
    }
    let mut merged = definition.to_value();
    merged.as_object_mut()?.extend(overlay);
    let mut errors = Vec::new();
    let path = FieldPath::new(name);
    let schema = decode::decode(&merged, &path, Origin::Builtin, &mut errors);
    errors.is_empty().then(|| schema.into())
}
