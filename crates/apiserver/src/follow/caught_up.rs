//! How far a background task has followed the store.

use store::Revision;
use tokio::sync::watch as channel;

use crate::limits;

/// See the module.
#[derive(Debug)]
pub(crate) struct CaughtUp(channel::Sender<u64>);

impl Default for CaughtUp {
    fn default() -> Self {
        CaughtUp(channel::Sender::new(0))
    }
}

impl CaughtUp {
    /// The task has taken up everything at or before `revision`.
    pub(crate) fn advance(&self, revision: Revision) {
        self.0.send_if_modified(|at| {
            let newer = *at < revision.0;
            *at = (*at).max(revision.0);
            newer
        });
    }

    /// The revision up to which everything is taken up.
    pub(crate) fn at(&self) -> u64 {
        *self.0.borrow()
    }

    /// Tells of every advance.
    pub(crate) fn subscribe(&self) -> channel::Receiver<u64> {
        self.0.subscribe()
    }

    /// Waits for [`Self::advance`], with a bound: a late answer is better than none.
    pub(crate) async fn wait(&self, revision: Revision) {
        let mut receiver = self.0.subscribe();
        let reached = receiver.wait_for(|at| *at >= revision.0);
        if tokio::time::timeout(limits::CATCH_UP_WAIT, reached)
            .await
            .is_err()
        {
            tracing::warn!(
                revision = revision.0,
                "a background task is late to take up a change"
            );
        }
    }
}
