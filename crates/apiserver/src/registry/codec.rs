//! Between stored bytes and served objects.
//!
//! Stored: the object in its storage version, without `resourceVersion`. Served: in the version of the
//! request, with the revision of its last change. CRD objects are pruned and defaulted on the way out, so a
//! changed schema shows at once, as in Kubernetes. What an encryption configuration covers is sealed and opened
//! here, and nowhere else (`crate::sealing`).

use std::borrow::Cow;
use std::sync::Arc;

use apimachinery::status::ApiError;
use bytes::Bytes;
use serde_json::Value;
use store::{Entry, Revision, StoreError};

use super::stored_form::Stored;
use super::{event_form, versions};
use crate::kinds::Kind;
use crate::sealing::{Sealing, SealingError};

/// Why stored bytes are no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// They cannot be opened.
    #[error(transparent)]
    Sealed(#[from] SealingError),
    /// They are not JSON.
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
}

/// Why objects that the server itself acts on could not be loaded. To act on a part of them would be to let
/// through what the others refuse.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One cannot be read.
    #[error("decoding {0}: {1}")]
    Object(Arc<str>, DecodeError),
    /// There was no thread to compile one's expressions on.
    #[error("compiling {0}: {no_stack}", no_stack = crate::stack::NO_STACK)]
    NoStack(Arc<str>),
}

/// The entry with what was stored before it was sealed: itself, mostly.
pub(crate) fn open(sealing: &Sealing, entry: &Entry) -> Result<Entry, ApiError> {
    match sealing.open(&entry.key, &entry.value) {
        Ok(Cow::Borrowed(_)) => Ok(entry.clone()),
        Ok(Cow::Owned(plain)) => Ok(Entry {
            value: plain.into(),
            ..entry.clone()
        }),
        Err(e) => Err(ApiError::internal(format!("decoding {}: {e}", entry.key))),
    }
}

/// As [`read`], for an entry of a list.
pub(crate) fn read_entry(sealing: &Sealing, entry: &Entry) -> Result<Value, LoadError> {
    read(sealing, &entry.key, &entry.value)
        .map_err(|e| LoadError::Object(Arc::clone(&entry.key), e))
}

/// An entry as an object of `kind`.
pub(crate) fn decode(sealing: &Sealing, kind: &Kind, entry: &Entry) -> Result<Value, ApiError> {
    decode_bytes(sealing, kind, &entry.key, &entry.value, entry.modified)
        .map_err(|e| ApiError::internal(format!("decoding {}: {e}", entry.key)))
}

/// What is stored at `key`, as it is.
pub(crate) fn read(sealing: &Sealing, key: &str, bytes: &[u8]) -> Result<Value, DecodeError> {
    Ok(serde_json::from_slice(&sealing.open(key, bytes)?)?)
}

/// The bytes stored at `key` as an object that last changed at `revision`.
pub(crate) fn decode_bytes(
    sealing: &Sealing,
    kind: &Kind,
    key: &str,
    bytes: &[u8],
    revision: Revision,
) -> Result<Value, DecodeError> {
    let mut object = read(sealing, key, bytes)?;
    if kind.behaviour.new_event {
        event_form::to_new(&mut object);
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert(
            "resourceVersion".to_owned(),
            Value::String(revision.0.to_string()),
        );
    }
    if let Some(crd) = &kind.crd {
        let own = kind.api_version();
        let stored = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        // Defaults are those of the version that it is stored in.
        versions::complete(crd, &stored, &mut object);
        if stored != own
            && let Some(map) = object.as_object_mut()
        {
            map.insert("apiVersion".to_owned(), Value::String(own));
            if let Some(schema) = kind.schema() {
                let _ = schema::prune(&schema, &mut object);
            }
        }
    }
    Ok(object)
}

/// The bytes to store at `key` for an object, in the order of [`super::stored_form`].
pub(crate) fn encode(
    sealing: &Sealing,
    kind: &Kind,
    key: &str,
    object: &Value,
) -> Result<Bytes, ApiError> {
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
    let plain = bytes.map_err(|e| ApiError::internal(format!("encoding an object: {e}")))?;
    sealing
        .seal(key, plain)
        .map_err(|e| ApiError::internal(format!("encoding {key}: {e}")))
}

/// As long as needed: what is stored stays in memory.
fn to_vec(object: &Stored<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(object)?;
    bytes.shrink_to_fit();
    Ok(bytes)
}
