//! What kind of object a call writes: that of its resource, or of a subresource that is an object of its own.

use std::sync::Arc;

use apimachinery::gvk::GroupVersionKind;
use schema::builtin::Definition;
use schema::{Schema, SchemaRef};
use serde_json::Value;

use crate::kinds::api_version;
use crate::registry::{Call, conform_to};
use crate::strategy::Operation;

/// See the module.
pub(crate) struct Form {
    api_version: String,
    kind: String,
    /// `None` when nothing is known of it.
    pub schema: Option<Arc<Schema>>,
    /// Of built-in kinds.
    typed: Option<SchemaRef>,
}

impl Form {
    /// Of the object of a call.
    pub(crate) fn of(call: &Call<'_>) -> Form {
        let own = call.kind;
        let definition = |gvk: &GroupVersionKind| schema::builtin::definition_of(gvk);
        if let Some((group, version, kind)) = own.body_of(call.subresource) {
            let found = definition(&GroupVersionKind::new(group, version, kind));
            return Form {
                api_version: api_version(group, version),
                kind: kind.to_owned(),
                schema: found.as_ref().map(Definition::schema),
                typed: found.as_ref().map(Definition::reference),
            };
        }
        Form {
            api_version: own.api_version(),
            kind: own.kind.clone(),
            schema: own.schema(),
            typed: if own.is_crd() {
                None
            } else {
                definition(&own.gvk()).as_ref().map(Definition::reference)
            },
        }
    }

    /// Says of an object what it is.
    pub(crate) fn name(&self, object: &mut Value) {
        object["apiVersion"] = Value::String(self.api_version.clone());
        object["kind"] = Value::String(self.kind.clone());
    }

    /// An object after a patch, pruned and defaulted anew; what names it is not the patch's to change. Gives the
    /// unknown fields that were pruned, too.
    pub(crate) fn settle(
        &self,
        call: &Call<'_>,
        operation: Operation,
        before: &Value,
        mut changed: Value,
    ) -> Result<(Value, Vec<String>), String> {
        if !changed.get("metadata").is_some_and(Value::is_object) {
            return Err("the patch leaves an object without metadata".to_owned());
        }
        // The version may be another's.
        self.name(&mut changed);
        for key in ["name", "namespace", "uid", "resourceVersion"] {
            match before["metadata"].get(key) {
                Some(value) => changed["metadata"][key] = value.clone(),
                None => {
                    if let Some(meta) = apimachinery::meta::metadata_mut(&mut changed) {
                        meta.remove(key);
                    }
                }
            }
        }
        let unknown = match &self.schema {
            None => Vec::new(),
            Some(schema) => {
                conform_to(schema, self.typed.as_ref(), &mut changed).map_err(|e| e.to_string())?
            }
        };
        if call.kind.body_of(call.subresource).is_none() {
            let cx = call.context(operation, call.name);
            for strategy in call.registry.strategies(call.kind) {
                strategy.complete(&cx, &mut changed);
            }
        }
        Ok((changed, unknown))
    }
}
