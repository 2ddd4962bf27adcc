//! Reads for strategies and subresources.

use std::sync::Arc;

use apimachinery::status::ApiError;
use serde_json::Value;
use store::ListRequest;

use super::{Registry, codec, store_error, versions};
use crate::kinds::Kind;

/// Reads objects of any kind, without authorization: for code of the server.
#[derive(Clone)]
pub struct Reader(pub(crate) Arc<Registry>);

impl Reader {
    /// The kind of a resource in its best version.
    #[must_use]
    pub fn kind(&self, group: &str, resource: &str) -> Option<Arc<Kind>> {
        self.0.kinds.load().resource(group, resource).cloned()
    }

    /// One object; `None` when it, or its kind, does not exist. `namespace` is empty for cluster-wide kinds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ApiError> {
        let Some(kind) = self.kind(group, resource) else {
            return Ok(None);
        };
        let (entry, _) = self
            .0
            .store
            .get(&kind.key(namespace, name))
            .await
            .map_err(store_error)?;
        let Some(entry) = entry else {
            return Ok(None);
        };
        let entry = versions::entry(&self.0, &kind, entry).await?;
        codec::decode(&self.0.sealing, &kind, &entry).map(Some)
    }

    /// All objects of a resource in a namespace, or in all when it is empty.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let Some(kind) = self.kind(group, resource) else {
            return Ok(Vec::new());
        };
        let request = ListRequest {
            prefix: kind.scope_prefix(namespace),
            after: None,
            limit: None,
            at: None,
        };
        let mut listing = self.0.store.list(request).await.map_err(store_error)?;
        versions::entries(&self.0, &kind, &mut listing.entries).await?;
        listing
            .entries
            .iter()
            .map(|entry| codec::decode(&self.0.sealing, &kind, entry))
            .collect()
    }
}
