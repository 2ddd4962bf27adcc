//! Between the version that an object is stored in and the version of the request.
//!
//! ```text
//! stored ─► [foreign? defaults of its version ─► conversion webhook] ─► codec::decode ─► object
//! object ─► [the storage version is another? conversion ─► pruning] ─► codec::encode ─► stored
//!                                                    └─► back again: what the client is shown
//! ```
//! Reading is done on entries, before anything is decoded: what is decoded after this is in the version of the
//! request, or differs from it in the name of its version only (conversion strategy `None`).

use std::borrow::Cow;

use apimachinery::status::ApiError;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use store::{Entry, Event};

use super::{Call, Registry};
use crate::conversion::{self, Conversion};
use crate::kinds::{CrdDetails, Kind, api_version};

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "apiVersion", default)]
    api_version: Cow<'a, str>,
}

fn version_of(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let typed: Typed<'_> = serde_json::from_slice(bytes).ok()?;
    Some(typed.api_version)
}

/// The webhook that converts objects of a kind.
fn webhook(kind: &Kind) -> Option<(&CrdDetails, &Conversion)> {
    let crd = kind.crd.as_deref()?;
    Some((crd, crd.conversion.as_deref()?))
}

/// Brings what is stored in other versions into that of `kind`.
pub(crate) async fn entries(
    registry: &Registry,
    kind: &Kind,
    entries: &mut [Entry],
) -> Result<(), ApiError> {
    let values = entries
        .iter_mut()
        .map(|entry| (&*entry.key, &mut entry.value))
        .collect();
    convert(registry, kind, values).await
}

/// The same for one entry.
pub(crate) async fn entry(
    registry: &Registry,
    kind: &Kind,
    mut entry: Entry,
) -> Result<Entry, ApiError> {
    convert(registry, kind, vec![(&*entry.key, &mut entry.value)]).await?;
    Ok(entry)
}

/// The same for what a change made of an object, and for what the object was before.
pub(crate) async fn event(
    registry: &Registry,
    kind: &Kind,
    event: &mut Event,
) -> Result<(), ApiError> {
    let before = event.previous.as_mut().map(|entry| &mut entry.value);
    let values = event.value.as_mut().into_iter().chain(before);
    let values = values.map(|value| (&*event.key, value)).collect();
    convert(registry, kind, values).await
}

async fn convert(
    registry: &Registry,
    kind: &Kind,
    values: Vec<(&str, &mut Bytes)>,
) -> Result<(), ApiError> {
    let Some((crd, webhook)) = webhook(kind) else {
        return Ok(());
    };
    let wanted = kind.api_version();
    let (mut places, mut objects) = (Vec::new(), Vec::new());
    for (key, value) in values {
        // What cannot be read at all is the decoder's to report.
        let Ok(plain) = registry.sealing.open(key, value) else {
            continue;
        };
        let stored = match version_of(&plain) {
            Some(stored) if stored != wanted => stored.into_owned(),
            _ => continue,
        };
        let Ok(mut object) = serde_json::from_slice::<Value>(&plain) else {
            continue;
        };
        complete(crd, &stored, &mut object);
        places.push((key, value));
        objects.push(object);
    }
    if objects.is_empty() {
        return Ok(());
    }
    let converted = conversion::convert(registry, webhook, objects, &wanted).await?;
    for ((key, value), object) in places.into_iter().zip(converted) {
        // As it would be if it was stored in this version: the decoder opens it.
        let sealed = registry.sealing.seal(key, object.to_string().into_bytes());
        *value = sealed.map_err(|e| ApiError::internal(format!("converting {key}: {e}")))?;
    }
    Ok(())
}

/// Prunes and defaults a stored object by the schema of its version, as far as there is still one.
pub(super) fn complete(crd: &CrdDetails, stored: &str, object: &mut Value) {
    let version = stored.rsplit('/').next().unwrap_or_default();
    let Some(schema) = crd.schemas.get(version).map(|schema| schema.get()) else {
        return;
    };
    let _ = schema::prune(&schema, object);
    if schema::default(&schema, object).is_err() {
        tracing::warn!(
            version,
            "the defaults of a CRD are too large; an object is served without all of them"
        );
    }
}

/// An object in the version to store, and as it will be read back.
pub(crate) struct Stored {
    pub stored: Value,
    pub shown: Value,
}

/// The two forms of an object of the request's version; `None` when that is the version to store.
pub(crate) async fn stored(call: &Call<'_>, object: &Value) -> Result<Option<Stored>, ApiError> {
    let kind = call.kind;
    let Some(crd) = kind
        .crd
        .as_deref()
        .filter(|_| kind.storage_version != kind.version)
    else {
        return Ok(None);
    };
    let storage = kind.storage_api_version();
    let mut stored = turn(call, object.clone(), &storage).await?;
    if let Some(schema) = crd.schemas.get(&kind.storage_version) {
        let _ = schema::prune(&schema.get(), &mut stored);
    }
    let mut shown = stored.clone();
    complete(crd, &storage, &mut shown);
    let mut shown = turn(call, shown, &kind.api_version()).await?;
    if let Some(schema) = kind.schema() {
        let _ = schema::prune(&schema, &mut shown);
    }
    Ok(Some(Stored { stored, shown }))
}

/// An object in another version.
async fn turn(call: &Call<'_>, mut object: Value, to: &str) -> Result<Value, ApiError> {
    let Some((_, webhook)) = webhook(call.kind) else {
        object["apiVersion"] = Value::from(to);
        return Ok(object);
    };
    let converted = conversion::convert(call.registry, webhook, vec![object], to).await?;
    converted
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::internal("the conversion webhook returned no object"))
}

/// Whether an entry is not in the version to store, so that writing it back unchanged is a migration.
pub(super) fn is_stale(registry: &Registry, kind: &Kind, entry: &Entry) -> bool {
    if kind.crd.as_ref().is_none_or(|crd| crd.schemas.len() < 2) {
        return false;
    }
    let storage = api_version(&kind.group, &kind.storage_version);
    let plain = registry.sealing.open(&entry.key, &entry.value);
    plain.is_ok_and(|plain| version_of(&plain).is_none_or(|version| version != storage))
}

/// An object as it would be read back if it was stored now, for dry runs.
pub(super) async fn shown(call: &Call<'_>, object: Value) -> Result<Value, ApiError> {
    Ok(match stored(call, &object).await? {
        Some(forms) => forms.shown,
        None => object,
    })
}
