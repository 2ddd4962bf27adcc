//! Get.

use apimachinery::status::ApiError;
use serde_json::Value;

use super::{Registry, codec, store_error};
use crate::kinds::Kind;

/// The object, or 404.
pub(crate) async fn get(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<Value, ApiError> {
    let (entry, _) = registry
        .store
        .get(&kind.key(namespace, name))
        .await
        .map_err(store_error)?;
    match entry {
        Some(entry) => codec::decode(kind, &entry),
        None => Err(ApiError::not_found(&kind.group_resource(), name)),
    }
}
