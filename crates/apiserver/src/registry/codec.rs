//! Between stored bytes and served objects.
//!
//! Stored: the object in its storage version, without `resourceVersion`. Served: in the version of the
//! request, with the revision of its last change. CRD objects are pruned and defaulted on the way out, so a
//! changed schema shows at once, as in Kubernetes.

use apimachinery::status::ApiError;
use bytes::Bytes;
use serde_json::Value;
use store::{Entry, Revision};

use super::event_form;
use super::stored_form::Stored;
use crate::kinds::Kind;

/// An entry as an object of `kind`.
pub(crate) fn decode(kind: &Kind, entry: &Entry) -> Result<Value, ApiError> {
    decode_bytes(kind, &entry.value, entry.modified)
        .map_err(|e| ApiError::internal(format!("decoding {}: {e}", entry.key)))
}

/// Stored bytes as an object that last changed at `revision`.
pub(crate) fn decode_bytes(
    kind: &Kind,
    bytes: &[u8],
    revision: Revision,
) -> Result<Value, serde_json::Error> {
    let mut object: Value = serde_json::from_slice(bytes)?;
    if kind.behaviour.new_event {
        event_form::to_new(&mut object);
    }
    if let Some(map) = object.as_object_mut() {
        if kind.storage_version != kind.version {
            map.insert("apiVersion".to_owned(), Value::String(kind.api_version()));
        }
        if let Some(meta) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.insert(
                "resourceVersion".to_owned(),
                Value::String(revision.0.to_string()),
            );
        }
    }
    if kind.is_crd()
        && let Some(schema) = kind.schema()
    {
        let _ = schema::prune(&schema, &mut object);
        if schema::default(&schema, &mut object).is_err() {
            tracing::warn!(kind = %kind.kind, "the defaults of a CRD are too large; an object is served without all of them");
        }
    }
    Ok(object)
}

/// The bytes to store for an object, in the order of [`super::stored_form`].
pub(crate) fn encode(kind: &Kind, object: &Value) -> Result<Bytes, ApiError> {
    let bytes = match object {
        Value::Object(_) if kind.behaviour.new_event => {
            let mut core = object.clone();
            event_form::to_core(&mut core);
            match &core {
                Value::Object(map) => to_vec(&Stored {
                    object: map,
                    api_version: None,
                }),
                other => serde_json::to_vec(other),
            }
        }
        Value::Object(map) => to_vec(&Stored {
            object: map,
            api_version: Some(&kind.storage_api_version()),
        }),
        other => serde_json::to_vec(other),
    };
    bytes
        .map(Bytes::from)
        .map_err(|e| ApiError::internal(format!("encoding an object: {e}")))
}

/// As long as needed: what is stored stays in memory.
fn to_vec(object: &Stored<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(object)?;
    bytes.shrink_to_fit();
    Ok(bytes)
}
