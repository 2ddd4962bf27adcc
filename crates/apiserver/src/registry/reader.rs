//! Reads for strategies and subresources.
//!
//! Over a shared store, a read that has to be of now costs a question to the database. What is read on behalf of one
//! request has to be of the request's time only: the first read asks, the others are answered from memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apimachinery::status::ApiError;
use serde_json::Value;
use store::{Entry, ListRequest, Revision};

use super::{Registry, codec, store_error, versions};
use crate::kinds::Kind;

/// Reads objects of any kind, without authorization: for code of the server.
#[derive(Clone)]
pub struct Reader {
    pub(crate) registry: Arc<Registry>,
    /// What a request has seen; 0 is nothing yet.
    seen: Option<Arc<AtomicU64>>,
}

impl Reader {
    /// Every read is of its own time.
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            seen: None,
        }
    }

    /// Every read is of the time of the first one, or later.
    pub(crate) fn of_a_request(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            seen: Some(Arc::default()),
        }
    }

    /// What this request has seen already.
    fn seen(&self) -> Option<Revision> {
        let seen = self.seen.as_ref()?.load(Ordering::Relaxed);
        (seen > 0).then_some(Revision(seen))
    }

    fn saw(&self, revision: Revision) {
        if let Some(seen) = &self.seen {
            seen.fetch_max(revision.0, Ordering::Relaxed);
        }
    }

    /// What is stored at a key, if anything.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn entry(&self, key: &str) -> Result<Option<Entry>, ApiError> {
        let store = &self.registry.store;
        let found = match self.seen() {
            Some(seen) => store.get_since(key, seen).await,
            None => store.get(key).await,
        };
        let (entry, revision) = found.map_err(store_error)?;
        self.saw(revision);
        Ok(entry)
    }

    /// The kind of a resource in its best version.
    #[must_use]
    pub fn kind(&self, group: &str, resource: &str) -> Option<Arc<Kind>> {
        self.registry
            .kinds
            .load()
            .resource(group, resource)
            .cloned()
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
        let Some(entry) = self.entry(&kind.key(namespace, name)).await? else {
            return Ok(None);
        };
        let entry = versions::entry(&self.registry, &kind, entry).await?;
        codec::decode(&self.registry.sealing, &kind, &entry).map(Some)
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
        let prefix = kind.scope_prefix(namespace);
        let store = &self.registry.store;
        let listed = match self.seen() {
            Some(seen) => store.list_since(&prefix, seen).await,
            None => store.list(ListRequest::prefix(prefix)).await,
        };
        let mut listing = listed.map_err(store_error)?;
        self.saw(listing.revision);
        versions::entries(&self.registry, &kind, &mut listing.entries).await?;
        listing
            .entries
            .iter()
            .map(|entry| codec::decode(&self.registry.sealing, &kind, entry))
            .collect()
    }
}
