//! Get.

use apimachinery::status::ApiError;
use bytes::Bytes;
use serde_json::Value;
use store::Entry;

use super::stored_form::Splicer;
use super::{Registry, codec, store_error, versions};
use crate::kinds::Kind;

/// The object, or 404.
pub(crate) async fn get(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<Value, ApiError> {
    let entry = entry(registry, kind, namespace, name).await?;
    codec::decode(&registry.sealing, kind, &entry)
}

/// The object as compact JSON, or 404; built-in kinds are not parsed on the way.
pub(crate) async fn get_json(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<Bytes, ApiError> {
    let entry = entry(registry, kind, namespace, name).await?;
    if let Some(splicer) = Splicer::new(kind, true) {
        let entry = codec::open(&registry.sealing, &entry)?;
        let mut out = Vec::with_capacity(entry.value.len() + splicer.growth());
        if splicer.append(&entry.value, entry.modified, &mut out) {
            return Ok(out.into());
        }
    }
    serde_json::to_vec(&codec::decode(&registry.sealing, kind, &entry)?)
        .map(Bytes::from)
        .map_err(|e| ApiError::internal(format!("encoding {}: {e}", entry.key)))
}

async fn entry(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<Entry, ApiError> {
    let (entry, _) = registry
        .store
        .get(&kind.key(namespace, name))
        .await
        .map_err(store_error)?;
    let entry = entry.ok_or_else(|| ApiError::not_found(&kind.group_resource(), name))?;
    versions::entry(registry, kind, entry).await
}
