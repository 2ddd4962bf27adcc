//! Every field is honoured or refused.
//!
//! ```text
//! object --walk along the served schema--> a path the schema does not have
//!                                             |-- in the list of KubeVirt's and CDI's fields: "is not honoured by this version"
//!                                             `-- nowhere: "unknown field"
//! ```
//!
//! A field that is `null` or an empty list asks for nothing and is let through. `apiVersion`, `kind`,
//! `metadata` and `status` are the API server's. The lists beside this file hold the field paths of
//! KubeVirt v1.9 and its CDI, list indices left out; they shrink in effect, not in text, as the types grow.

use std::sync::LazyLock;

use apimachinery::field::FieldPath;
use serde_json::Value;

use crate::admission::Cause;
use crate::crds::{crds, schema_of};

/// Fields of a VirtualMachineInstance's spec.
const INSTANCE: &str = include_str!("fields/instance.txt");
/// Fields of a VirtualMachine's spec, without the template.
const MACHINE: &str = include_str!("fields/machine.txt");
/// Fields of a DataVolume's spec.
const DATA_VOLUME: &str = include_str!("fields/datavolume.txt");
/// Fields of a VMRuntime's spec that are not honoured in any form (G-X01).
const VM_RUNTIME: &str = include_str!("fields/vmruntime.txt");

/// Objects are at most this deep; the API server refuses deeper ones before.
const MAX_DEPTH: usize = 64;

/// The kinds with an admission of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `vmruntimes.vm.cluster.gke.io`
    VMRuntime,
    /// `vmruntimepreflightchecks.vm.cluster.gke.io`
    VMRuntimePreflightCheck,
    /// `datavolumes.cdi.kubevirt.io`
    DataVolume,
    /// `virtualmachines.kubevirt.io`
    VirtualMachine,
    /// `virtualmachineinstances.kubevirt.io`
    VirtualMachineInstance,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::VMRuntime,
        Self::VMRuntimePreflightCheck,
        Self::DataVolume,
        Self::VirtualMachine,
        Self::VirtualMachineInstance,
    ];

    /// API group and plural, the name of the CustomResourceDefinition reversed.
    pub fn group_resource(self) -> (&'static str, &'static str) {
        match self {
            Self::VMRuntime => (crate::vmruntime::GROUP, "vmruntimes"),
            Self::VMRuntimePreflightCheck => (crate::vmruntime::GROUP, crate::preflight::PLURAL),
            Self::DataVolume => (crate::cdi::GROUP, "datavolumes"),
            Self::VirtualMachine => (crate::kubevirt::GROUP, "virtualmachines"),
            Self::VirtualMachineInstance => (crate::kubevirt::GROUP, "virtualmachineinstances"),
        }
    }

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VMRuntime => "VMRuntime",
            Self::VMRuntimePreflightCheck => "VMRuntimePreflightCheck",
            Self::DataVolume => "DataVolume",
            Self::VirtualMachine => "VirtualMachine",
            Self::VirtualMachineInstance => "VirtualMachineInstance",
        }
    }

    /// From API group and plural.
    pub fn of(group: &str, resource: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|k| k.group_resource() == (group, resource))
    }

    /// Whether the original product has a field at this path, indices left out.
    fn is_known(self, path: &str) -> bool {
        let Some(path) = path.strip_prefix("spec.") else {
            return false;
        };
        let has = |list: &str, path: &str| list.lines().any(|line| line == path);
        match self {
            Self::VMRuntime => has(VM_RUNTIME, path),
            Self::VMRuntimePreflightCheck => false,
            Self::DataVolume => has(DATA_VOLUME, path),
            Self::VirtualMachineInstance => has(INSTANCE, path),
            Self::VirtualMachine => {
                if let Some(path) = path.strip_prefix("template.spec.") {
                    has(INSTANCE, path)
                } else if let Some(path) = path.strip_prefix("dataVolumeTemplates.spec.") {
                    has(DATA_VOLUME, path)
                } else {
                    has(MACHINE, path)
                }
            }
        }
    }
}

/// Served schemas, in the order of [`Kind::ALL`].
static SCHEMAS: LazyLock<Vec<Value>> = LazyLock::new(|| crds().iter().map(schema_of).collect());

/// One cause for each field of `object` that is not honoured. Must see the object before it is pruned.
pub fn refused(kind: Kind, object: &Value) -> Vec<Cause> {
    let mut walk = Walk {
        kind,
        causes: Vec::new(),
    };
    let schema = Kind::ALL
        .iter()
        .zip(SCHEMAS.iter())
        .find_map(|(k, s)| (*k == kind).then_some(s));
    if let (Some(schema), Some(map)) = (schema, object.as_object()) {
        for (name, value) in map {
            match name.as_str() {
                "apiVersion" | "kind" | "metadata" | "status" => {}
                _ => walk.field(schema, name, value, &FieldPath::root(), "", 0),
            }
        }
    }
    walk.causes
}

/// What a field that is known but not honoured is refused with.
pub(crate) fn not_honoured(path: &FieldPath) -> Cause {
    Cause::not_supported(
        path,
        format!("{path} is not honoured by this version of Ferrovirt; remove it"),
    )
}

struct Walk {
    kind: Kind,
    causes: Vec<Cause>,
}

impl Walk {
    /// One field: `path` and `plain` are those of its parent, the latter without indices.
    fn field(
        &mut self,
        schema: &Value,
        name: &str,
        value: &Value,
        path: &FieldPath,
        plain: &str,
        depth: usize,
    ) {
        let path = path.child(name);
        let plain = match plain {
            "" => name.to_owned(),
            _ => format!("{plain}.{name}"),
        };
        let child = schema.get("properties").and_then(|p| p.get(name));
        let any = schema
            .get("additionalProperties")
            .filter(|schema| schema.is_object());
        match child.or(any) {
            Some(schema) => self.value(schema, value, &path, &plain, depth + 1),
            None if asks_for_nothing(value) => {}
            None if self.kind.is_known(&plain) => self.causes.push(not_honoured(&path)),
            None => self
                .causes
                .push(Cause::invalid(&path, format!("unknown field \"{path}\""))),
        }
    }

    fn value(
        &mut self,
        schema: &Value,
        value: &Value,
        path: &FieldPath,
        plain: &str,
        depth: usize,
    ) {
        let opaque = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        if opaque || depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    self.field(schema, name, value, path, plain, depth);
                }
            }
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    for (i, item) in items.iter().enumerate() {
                        self.value(schema, item, &path.index(i), plain, depth + 1);
                    }
                }
            }
            // A scalar where an object belongs is the schema's to refuse.
            _ => {}
        }
    }
}

fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
