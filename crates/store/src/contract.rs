//! The trait that every engine implements, and its exact meaning. [`crate::conformance`] is this text as code.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::model::{Committed, Entry, ListRequest, Listing, Revision, Write};
use crate::watch::Watch;

/// A durable, revisioned, ordered map from keys to values with a history that can be watched.
///
/// # Guarantees
///
/// - *Linearizable.* Commits are totally ordered by their revision, which grows by exactly one per commit (an engine
///   that shares its database with others skips revisions that were theirs). Whatever a call returns is at least as new
///   as every commit acknowledged, and every revision seen, before the call began, through whichever handle.
/// - *Durable before visible.* No read and no watch ever shows a write that a crash could take back.
/// - *Gapless.* A list at revision R and a watch after R together show every commit exactly once, in order.
/// - *Bounded.* History is kept for a window of revisions and bytes; beyond it, answers are
///   [`StoreError::Compacted`] or [`crate::WatchError::Lagged`], never wrong and never unbounded memory.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest entry of a key, and the newest revision.
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError>;

    /// The newest entry of a key that is known without asking anybody, no older than `known`, which this handle's own
    /// answers told. What was acknowledged through other handles since then may be missing.
    ///
    /// An engine that shares its database saves a question by it, and the others answer as [`Self::get`]. It is for one
    /// who has asked already on behalf of the same request.
    async fn get_since(
        &self,
        key: &str,
        known: Revision,
    ) -> Result<(Option<Entry>, Revision), StoreError> {
        let _ = known;
        self.get(key).await
    }

    /// The newest entries below a prefix, by the rules of [`Self::get_since`].
    async fn list_since(&self, prefix: &str, known: Revision) -> Result<Listing, StoreError> {
        let _ = known;
        self.list(ListRequest::prefix(prefix)).await
    }

    /// The entries below a prefix, sorted by key, as of one revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] or [`StoreError::Future`] if `at` is outside of the window.
    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError>;

    /// Makes one change, durably: when it returns `Ok`, the write survives the loss of power.
    ///
    /// Concurrent calls share one sync of the device (group commit).
    ///
    /// # Caveats
    /// Dropping the future before it returns leaves the outcome open: the write happens or it does not.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the precondition does not hold. A delete of an absent key is a conflict with
    /// `current: None`, whatever its precondition. A failed write used no revision, except after [`StoreError::Io`],
    /// whose outcome is open until the store is opened again, and [`StoreError::Undecided`], whose outcome reading
    /// tells.
    async fn commit(&self, write: Write) -> Result<Committed, StoreError>;

    /// Every commit below a prefix with a revision greater than `after`, first from history, then live.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] or [`StoreError::Future`] if `after` is outside of the window.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// The newest revision.
    ///
    /// # Errors
    /// If it cannot be found out: an engine that shares its database asks for it.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Forgets history up to and including `through` (clamped to the newest revision): `through` becomes the oldest
    /// revision that can be listed at or watched after. Engines also do this themselves, by their [`crate::Retention`].
    ///
    /// A store that was opened again, and another handle of a shared one, may remember more than before: compaction
    /// frees space, it does not hide.
    async fn compact(&self, through: Revision) -> Result<(), StoreError>;
}
