//! The generic registry: one set of operations for every kind.
//!
//! ```text
//!            ┌─ get, list, watch ───────────────► object (codec) ◄─ store
//! dispatch ──┤
//!            └─ create, update, patch, delete ──► pipeline ──► commit (compare and swap) ─► store
//! ```
//! The pipeline of a write is the same for all kinds; what differs is in `Behaviour` (traits the registry must
//! know), the schema, and the strategies of the resource.

mod call;
mod census;
mod change;
mod checks;
pub(crate) mod claims;
pub(crate) mod codec;
mod continue_token;
mod create;
mod delete;
mod delete_options;
mod event_form;
mod list;
mod list_options;
mod list_pieces;
mod metadata;
mod options;
mod patch;
mod pipeline;
mod read;
mod reader;
mod scale;
mod selection;
mod stored_form;
mod typed;
mod typed_fields;
mod update;
mod versions;
mod watch;
mod watch_frames;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use apimachinery::status::ApiError;
use arc_swap::ArcSwap;
use store::{ListRequest, Revision, Store, StoreError};

use crate::admission::Webhooks;
use crate::authz::Authorizer;
use crate::follow::CaughtUp;
use crate::kinds::{Kind, KindSet};
use crate::limits;
use crate::observed_store::StoreStats;
use crate::policies::Policies;
use crate::sealing::Sealing;
use crate::strategy::Strategy;

pub(crate) use call::Call;
pub(crate) use census::start as count_objects;
pub(crate) use create::create;
pub(crate) use delete::{delete, delete_admitted, delete_collection, purge};
pub(crate) use delete_options::DeleteOptions;
pub(crate) use list::{Listed, list, list_json, untyped};
pub(crate) use list_pieces::ListShape;
pub(crate) use options::{FieldValidation, WriteOptions};
pub(crate) use patch::{PatchType, patch};
pub(crate) use pipeline::conform_to;
pub(crate) use read::{at_least, get, get_json};
pub use reader::Reader;
pub(crate) use scale::{scale_get, scale_patch, scale_update};
pub(crate) use update::{replace, update_with};
pub(crate) use watch::{Abort, WatchRequest, watch};

/// Strategies by group and resource.
pub(crate) type Strategies = HashMap<(String, String), Vec<Arc<dyn Strategy>>>;

/// What all operations share.
pub(crate) struct Registry {
    pub store: Arc<dyn Store>,
    /// What is known of the store's work.
    pub store_stats: Arc<StoreStats>,
    /// Watches that were ended because their clients did not read.
    pub slow_watches: AtomicU64,
    /// How long a watcher may read nothing.
    pub watch_stall: Duration,
    pub kinds: ArcSwap<KindSet>,
    pub authorizer: Authorizer,
    pub policies: Policies,
    pub webhooks: Webhooks,
    /// How values are kept secret in the store.
    pub sealing: Sealing,
    pub strategies: Strategies,
    /// Revision up to which CRDs are taken up.
    pub crds_at: Arc<CaughtUp>,
    /// Whether other servers have the same store: what must be unique across objects is then claimed first.
    pub shared: bool,
    /// Held while a Service address is chosen and committed.
    pub address_lock: tokio::sync::Mutex<()>,
    /// Held while the usage of a namespace is counted and what adds to it is committed.
    pub quota_lock: tokio::sync::Mutex<()>,
}

impl Registry {
    /// The strategies of a kind, the server's own first.
    pub(crate) fn strategies(&self, kind: &Kind) -> &[Arc<dyn Strategy>] {
        // Keys are owned pairs; a lookup per write is cheap beside the commit.
        self.strategies
            .get(&(kind.group.clone(), kind.plural.clone()))
            .map_or(&[], Vec::as_slice)
    }

    /// Takes up what was written below a prefix through other replicas a moment ago: to be asked before a request is
    /// refused for want of it. `true` if there was something.
    pub(crate) async fn learn(&self, prefix: &str, caught_up: &CaughtUp) -> bool {
        if !self.shared {
            return false;
        }
        let Ok(listing) = self.store.list(ListRequest::prefix(prefix)).await else {
            return false;
        };
        let newest = listing.entries.iter().map(|entry| entry.modified.0).max();
        let mut at = caught_up.subscribe();
        let known = *at.borrow();
        let Some(newest) = newest.filter(|newest| *newest > known) else {
            return false;
        };
        let reached = at.wait_for(|at| *at >= newest);
        tokio::time::timeout(limits::LEARN_WAIT, reached)
            .await
            .is_ok_and(|reached| reached.is_ok())
    }

    /// Waits until this server itself knows what was committed at `revision`.
    pub(crate) async fn settle(&self, kind: &Kind, revision: Revision) {
        if kind.group == "rbac.authorization.k8s.io" {
            self.authorizer.caught_up.wait(revision).await;
        } else if kind.group == "admissionregistration.k8s.io" {
            self.policies.caught_up.wait(revision).await;
            self.webhooks.caught_up.wait(revision).await;
        } else if kind.is("apiextensions.k8s.io", "customresourcedefinitions") {
            self.crds_at.wait(revision).await;
        }
    }
}

/// Waits until the store has reached `revision`, at most `bound`.
pub(crate) async fn wait_for_revision(
    store: &dyn Store,
    revision: Revision,
    bound: Duration,
) -> Result<Revision, ApiError> {
    let deadline = tokio::time::Instant::now() + bound;
    let mut pause = Duration::from_millis(5);
    loop {
        let current = store.revision().await.map_err(store_error)?;
        if current >= revision || tokio::time::Instant::now() >= deadline {
            return Ok(current);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Errors of the store that do not depend on what was being done.
pub(crate) fn store_error(error: StoreError) -> ApiError {
    match error {
        StoreError::Compacted { .. } => {
            ApiError::expired("The provided resource version is too old.")
        }
        StoreError::Full => ApiError::insufficient_storage(
            "the store is full; delete objects or enlarge its volume",
        ),
        StoreError::Closed => ApiError::service_unavailable("the server is shutting down"),
        // Nothing has happened: asking again is right.
        StoreError::Unavailable { .. } => {
            let mut error = ApiError::service_unavailable(format!("storage: {error}"));
            error.0.details.get_or_insert_default().retry_after_seconds = 1;
            error
        }
        // No hint to ask again: a client that obeys it would be told that its own object exists already.
        StoreError::Undecided { .. } => ApiError::timeout(format!("storage: {error}"), 0),
        // kube-apiserver passes etcd's words on with the code 500, as if it were at fault (kubernetes issue 112152).
        // The words are kept: clients look for them.
        StoreError::Oversized { why } => ApiError::too_large(format!(
            "{why}; etcd's --max-request-bytes, 1.5 MiB unless set, is the limit of an object with its managed fields"
        )),
        other => ApiError::internal(format!("storage: {other}")),
    }
}
