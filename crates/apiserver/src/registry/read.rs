//! Get.

use apimachinery::status::ApiError;
use bytes::Bytes;
use serde_json::Value;
use store::{Entry, Revision};

use super::list::{revision_parameter, too_large_revision};
use super::stored_form::{Shape, Splicer};
use super::{Registry, codec, store_error, versions, wait_for_revision};
use crate::kinds::Kind;
use crate::limits;
use crate::request::Query;

/// Waits until the store is as new as the `resourceVersion` that a get asks for; it may show newer state.
pub(crate) async fn at_least(registry: &Registry, query: &Query) -> Result<(), ApiError> {
    let Some(wanted) = revision_parameter(query)?.filter(|wanted| *wanted > 0) else {
        return Ok(());
    };
    let wait = limits::FUTURE_REVISION_WAIT;
    let current = wait_for_revision(&*registry.store, Revision(wanted), wait).await?;
    if current.0 < wanted {
        return Err(too_large_revision(wanted, current.0));
    }
    Ok(())
}

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
    if let Some(splicer) = Splicer::new(kind, Shape::Alone) {
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
