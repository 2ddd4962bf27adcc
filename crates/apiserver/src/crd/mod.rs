//! CustomResourceDefinitions: from objects to served kinds.
//!
//! ```text
//! CRDs (follow) ─► Follower ─► parse (per CRD) ─► KindSet ─► ArcSwap
//!                     ├─► status: NamesAccepted, Established, acceptedNames, storedVersions
//!                     └─► deleted: remove its objects, then its finalizer
//! ```
//! One task owns all of it. A writer of a CRD is answered after the task took the change up, so a client may
//! use the new kind with its next request.

mod columns;
mod defaults;
mod finalize;
mod follower;
mod formats;
mod names;
mod parse;
mod selectable;
mod status;
mod strategy;
mod validate;
mod versions;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::follow;
use crate::registry::Registry;
use crate::registry::codec::LoadError;

pub(crate) use strategy::CrdStrategy;

/// The finalizer that keeps a CRD until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Keys of CRDs in the store.
pub(crate) const PREFIX: &str = "/apiextensions.k8s.io/customresourcedefinitions/";
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";

/// Loads all CRDs and follows them until `stop`. Returns when the kinds of stored CRDs are served.
pub(crate) async fn start(
    registry: Arc<Registry>,
    stop: CancellationToken,
) -> Result<(), LoadError> {
    let (store, caught_up) = (Arc::clone(&registry.store), Arc::clone(&registry.crds_at));
    follow::start(follower::Follower::new(registry), store, caught_up, stop).await
}
