//! One served kind in one version.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::gvk::{GroupKind, GroupResource, GroupVersionKind};
use apimachinery::jsonpath::JsonPath;
use cel::rules::CompiledRules;
use schema::Schema;

use super::CrdSchema;
use crate::conversion::Conversion;

/// Verbs of a resource.
pub(crate) type Verbs = &'static [&'static str];

/// A kind as it is served in one version.
#[derive(Debug)]
pub struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Verbs,
    pub(crate) subresources: Vec<SubresourceInfo>,
    /// Begin of its keys in the store: `/<group or core>/<resource>/`.
    pub(crate) prefix: String,
    /// Version that objects are stored in; equal to `version` for all kinds but CRDs with several.
    pub(crate) storage_version: String,
    pub(crate) schema: SchemaSource,
    pub(crate) behaviour: Behaviour,
    pub(crate) crd: Option<Arc<CrdDetails>>,
}

/// Traits of a kind that the generic registry must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// Status is written through `/status` only.
    pub status: bool,
    /// `metadata.generation` counts changes outside metadata and status.
    pub generation: bool,
    /// PUT of an absent object creates it.
    pub create_on_update: bool,
    /// An update may leave out the resourceVersion.
    pub unconditional_update: bool,
    /// Deletion waits `gracePeriodSeconds` (Pods).
    pub graceful: bool,
    /// Nothing is stored: the request is computed (`create` only).
    pub is_virtual: bool,
    /// Objects of `events.k8s.io`, which are stored as core events.
    pub new_event: bool,
}

/// A subresource in discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubresourceInfo {
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

/// Where a kind's schema comes from.
#[derive(Clone, Debug)]
pub(crate) enum SchemaSource {
    /// The generated definitions; parsed when first needed.
    Builtin,
    /// The structural schema of a CRD's version.
    Crd(Arc<CrdSchema>),
}

/// What a CRD says beyond names and schema.
#[derive(Debug)]
pub(crate) struct CrdDetails {
    pub columns: Vec<PrinterColumn>,
    pub scale: Option<Scale>,
    pub selectable_fields: Vec<(String, JsonPath)>,
    pub deprecation_warning: Option<String>,
    pub terminating: bool,
    /// The schemas of all versions, served or not.
    pub schemas: Arc<BTreeMap<String, Arc<CrdSchema>>>,
    /// The webhook between versions; without, they differ in their name only.
    pub conversion: Option<Arc<Conversion>>,
}

/// Paths of the scale subresource.
#[derive(Debug)]
pub(crate) struct Scale {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    pub label_selector: Option<Vec<String>>,
}

/// A column of a CRD.
#[derive(Debug)]
pub(crate) struct PrinterColumn {
    pub column: Column,
    pub path: JsonPath,
}

/// The definition of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    pub ty: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
}

impl Kind {
    /// API group; empty for core.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// API version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The kind's name.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The plural resource name.
    #[must_use]
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// Whether objects lie in namespaces.
    #[must_use]
    pub fn is_namespaced(&self) -> bool {
        self.namespaced
    }

    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    pub(crate) fn storage_api_version(&self) -> String {
        api_version(&self.group, &self.storage_version)
    }

    pub(crate) fn group_resource(&self) -> GroupResource {
        GroupResource {
            group: self.group.clone(),
            resource: self.plural.clone(),
        }
    }

    pub(crate) fn group_kind(&self) -> GroupKind {
        GroupKind {
            group: self.group.clone(),
            kind: self.kind.clone(),
        }
    }

    pub(crate) fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }

    pub(crate) fn is_crd(&self) -> bool {
        self.crd.is_some()
    }

    /// The verbs in discovery: of a kind that ends, only those that read and delete.
    pub(crate) fn shown_verbs(&self) -> Verbs {
        const ENDING: Verbs = &["delete", "deletecollection", "get", "list", "watch"];
        if self.crd.as_ref().is_some_and(|crd| crd.terminating) {
            ENDING
        } else {
            self.verbs
        }
    }

    /// Whether this is the built-in kind of that group and resource.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// Group, version and kind of the bodies that a subresource takes, where those are another kind's.
    pub(crate) fn body_of(&self, subresource: &str) -> Option<(&str, &str, &str)> {
        if !matches!(subresource, "binding" | "eviction" | "scale") {
            return None;
        }
        let info = self.subresources.iter().find(|s| s.name == subresource)?;
        let (group, version) = match info.version.as_str() {
            "" => (self.group.as_str(), self.version.as_str()),
            version => (info.group.as_str(), version),
        };
        Some((group, version, &info.kind))
    }

    /// What every answer about a deprecated built-in kind warns of.
    pub(crate) fn deprecation(&self) -> Option<&'static str> {
        self.is("", "endpoints").then_some(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        )
    }

    /// The schema, if one is known.
    pub(crate) fn schema(&self) -> Option<Arc<Schema>> {
        match &self.schema {
            SchemaSource::Builtin => schema::builtin::schema(&self.gvk()),
            SchemaSource::Crd(schema) => Some(schema.get()),
        }
    }

    /// The rules of a custom resource's schema.
    pub(crate) fn rules(&self) -> Option<Arc<CompiledRules>> {
        match &self.schema {
            SchemaSource::Builtin => None,
            SchemaSource::Crd(schema) => Some(schema.rules()),
        }
    }

    /// The key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        let namespace = if namespace.is_empty() { "-" } else { namespace };
        format!("{}{namespace}/{name}", self.prefix)
    }

    /// The begin of the keys in a namespace, or of all keys.
    pub(crate) fn scope_prefix(&self, namespace: &str) -> String {
        if namespace.is_empty() {
            self.prefix.clone()
        } else {
            format!("{}{namespace}/", self.prefix)
        }
    }
}

pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

pub(crate) fn store_prefix(group: &str, plural: &str) -> String {
    format!(
        "/{}/{plural}/",
        if group.is_empty() { "core" } else { group }
    )
}
