//! Between the version that an object is stored in and the version of the request.
//!
//! ```text
//! stored ─► [foreign? defaults of its version ─► conversion webhook] ─► codec::decode ─► object
//! object ─► [the storage version is another? conversion ─► pruning] ─► codec::encode ─► stored
//!                                                    └─► back again: what the client is shown
//! ```
//! Reading is done on entries, before anything is decoded: what is decoded after this is in the version of the
//! request, or differs from it in the name of its version only (conversion strategy `None`). What was read once is
//! remembered (`crate::conversion::Cache`), and what many read at the same time is converted once.

use std::borrow::Cow;

use apimachinery::status::ApiError;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use store::{Entry, Event};

use super::{Call, Registry};
use crate::conversion::{self, Claim, Conversion, Flight, Key, Pending};
use crate::kinds::{CrdDetails, Kind, api_version};
use crate::limits;

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

/// A stored value that may be in another version.
struct Place<'a> {
    key: &'a str,
    revision: u64,
    value: &'a mut Bytes,
}

/// Brings what is stored in other versions into that of `kind`.
pub(crate) async fn entries(
    registry: &Registry,
    kind: &Kind,
    entries: &mut [Entry],
) -> Result<(), ApiError> {
    convert(registry, kind, entries.iter_mut().map(place).collect()).await
}

fn place(entry: &mut Entry) -> Place<'_> {
    Place {
        key: &entry.key,
        revision: entry.modified.0,
        value: &mut entry.value,
    }
}

/// The same for one entry.
pub(crate) async fn entry(
    registry: &Registry,
    kind: &Kind,
    mut entry: Entry,
) -> Result<Entry, ApiError> {
    convert(registry, kind, vec![place(&mut entry)]).await?;
    Ok(entry)
}

/// The same for what a change made of an object, and for what the object was before.
pub(crate) async fn event(
    registry: &Registry,
    kind: &Kind,
    event: &mut Event,
) -> Result<(), ApiError> {
    let (key, revision) = (&*event.key, event.revision.0);
    let now = event.value.as_mut().map(|value| Place {
        key,
        revision,
        value,
    });
    let values = now.into_iter().chain(event.previous.as_mut().map(place));
    convert(registry, kind, values.collect()).await
}

async fn convert(
    registry: &Registry,
    kind: &Kind,
    mut places: Vec<Place<'_>>,
) -> Result<(), ApiError> {
    let Some((crd, webhook)) = webhook(kind) else {
        return Ok(());
    };
    let wanted = kind.api_version();
    for _ in 0..limits::CONVERSION_WAITS {
        let (mut waits, mut ours) = (Vec::new(), Vec::new());
        for place in places {
            let key = Key {
                object: place.key.to_owned(),
                revision: place.revision,
                api_version: wanted.clone(),
            };
            if let Some(bytes) = webhook.cache.get(&key) {
                *place.value = bytes;
                continue;
            }
            let Some(object) = foreign(registry, crd, &place, &wanted) else {
                continue;
            };
            match webhook.cache.claim(key) {
                Claim::Ready(bytes) => *place.value = bytes,
                Claim::Pending(pending) => waits.push((place, pending)),
                Claim::Ours(flight) => ours.push((place, flight, object)),
            }
        }
        // First what others may wait for.
        lead(registry, webhook, ours, &wanted).await?;
        places = wait(waits).await?;
        if places.is_empty() {
            return Ok(());
        }
    }
    // Whoever was to convert them gave up, again and again.
    let objects = places
        .iter()
        .map(|place| foreign(registry, crd, place, &wanted).unwrap_or_default())
        .collect();
    let converted = conversion::convert(registry, webhook, objects, &wanted).await?;
    for (place, object) in places.into_iter().zip(converted) {
        *place.value = sealed(registry, place.key, &object)?;
    }
    Ok(())
}

/// The object of a place, when it is of another version: completed by its own schema.
fn foreign(
    registry: &Registry,
    crd: &CrdDetails,
    place: &Place<'_>,
    wanted: &str,
) -> Option<Value> {
    // What cannot be read at all is the decoder's to report.
    let plain = registry.sealing.open(place.key, &place.value[..]).ok()?;
    let stored = version_of(&plain).filter(|stored| **stored != *wanted)?;
    let mut object = serde_json::from_slice::<Value>(&plain).ok()?;
    complete(crd, &stored, &mut object);
    Some(object)
}

/// As it would be if it was stored in this version: the decoder opens it.
fn sealed(registry: &Registry, key: &str, object: &Value) -> Result<Bytes, ApiError> {
    let sealed = registry.sealing.seal(key, object.to_string().into_bytes());
    sealed.map_err(|e| ApiError::internal(format!("converting {key}: {e}")))
}

/// Converts what nobody else converts, and tells those who wait.
async fn lead(
    registry: &Registry,
    webhook: &Conversion,
    ours: Vec<(Place<'_>, Flight, Value)>,
    wanted: &str,
) -> Result<(), ApiError> {
    if ours.is_empty() {
        return Ok(());
    }
    let (mut places, mut objects) = (Vec::new(), Vec::new());
    for (place, flight, object) in ours {
        places.push((place, flight));
        objects.push(object);
    }
    match conversion::convert(registry, webhook, objects, wanted).await {
        Ok(converted) => {
            for ((place, flight), object) in places.into_iter().zip(converted) {
                let bytes = sealed(registry, place.key, &object)?;
                flight.done(Ok(bytes.clone()));
                *place.value = bytes;
            }
            Ok(())
        }
        Err(e) => {
            for (_, flight) in places {
                flight.done(Err(e.clone()));
            }
            Err(e)
        }
    }
}

/// Waits for what others convert; gives the places of which nobody told.
async fn wait(waits: Vec<(Place<'_>, Pending)>) -> Result<Vec<Place<'_>>, ApiError> {
    let mut left = Vec::new();
    for (place, pending) in waits {
        match conversion::outcome(pending).await {
            Some(outcome) => *place.value = outcome?,
            None => left.push(place),
        }
    }
    Ok(left)
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
