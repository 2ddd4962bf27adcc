//! Counts stored objects now and then: for metrics, and for how wide a list is.

use std::collections::HashMap;
use std::sync::Arc;

use store::ListRequest;
use tokio_util::sync::CancellationToken;

use super::Registry;
use crate::limits;

/// Counts every kind once.
async fn count(registry: &Registry) {
    let kinds = registry.kinds.load_full();
    let mut counts = HashMap::new();
    let versions = kinds.groups().filter_map(|(_, versions)| versions.first());
    let kinds = versions.flat_map(|(_, kinds)| kinds);
    for kind in kinds.filter(|kind| !kind.behaviour.is_virtual) {
        let request = ListRequest {
            limit: Some(0),
            ..ListRequest::prefix(kind.prefix.clone())
        };
        if let Ok(listing) = registry.store.list(request).await {
            counts.insert(format!("{}/{}", kind.group, kind.plural), listing.remaining);
        }
    }
    registry.store_stats.set_counts(counts);
}

/// Counts until `stop`.
pub(crate) fn start(registry: Arc<Registry>, stop: CancellationToken) {
    tokio::spawn(async move {
        let mut seen = None;
        loop {
            let revision = registry.store.revision().await.ok();
            if revision.is_some() && seen != revision {
                seen = revision;
                count(&registry).await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(limits::COUNT_EVERY) => {}
            }
        }
    });
}
