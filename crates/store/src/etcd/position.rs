//! How far the mirror has come, and who waits for it to come further.
//!
//! ```text
//! reach(7) ─┐                      advance(6): nobody
//! reach(9) ─┴─► waiting, sorted    advance(8): the one who waits for 7, and nobody else is woken
//! ```
//! Each writer waits for its own commit: with a channel that wakes all of them at every step, the work would grow with
//! the square of their number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::Revision;

/// See the module.
#[derive(Debug)]
pub(super) struct Position {
    now: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By what they wait for; the second number tells those apart who wait for the same.
    all: BTreeMap<(Revision, u64), oneshot::Sender<()>>,
    next: u64,
}

impl Position {
    pub(super) fn new(at: Revision) -> Self {
        Self {
            now: AtomicU64::new(at.0),
            waiting: Mutex::default(),
        }
    }

    pub(super) fn get(&self) -> Revision {
        Revision(self.now.load(Ordering::Acquire))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes to a revision; back to an earlier one only when everything was read anew from another history.
    pub(super) fn set(&self, to: Revision) {
        let mut waiting = self.waiting();
        self.now.store(to.0, Ordering::Release);
        let later = waiting.all.split_off(&(to.next(), 0));
        let reached = std::mem::replace(&mut waiting.all, later);
        drop(waiting);
        for (_, waiter) in reached {
            // Who does not wait any more needs no word.
            let _ = waiter.send(());
        }
    }

    /// Waits until `revision` is reached. Cancel safe.
    pub(super) async fn reach(&self, revision: Revision) {
        let (reached, place) = {
            let mut waiting = self.waiting();
            // Under the lock that `set` takes: it cannot come in between.
            if self.get() >= revision {
                return;
            }
            let place = (revision, waiting.next);
            waiting.next += 1;
            let (sender, reached) = oneshot::channel();
            waiting.all.insert(place, sender);
            (reached, place)
        };
        let _leave = Leave(self, place);
        // The sender is dropped by nobody but `set`, after it was used.
        let _ = reached.await;
    }
}

/// Takes a waiter out that was cancelled.
struct Leave<'a>(&'a Position, (Revision, u64));

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.waiting().all.remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn those_are_woken_whose_revision_has_come() {
        let position = Position::new(Revision(5));
        let mut context = Context::from_waker(Waker::noop());
        let (mut now, mut seven, mut again, mut nine) = (
            pin!(position.reach(Revision(5))),
            pin!(position.reach(Revision(7))),
            pin!(position.reach(Revision(7))),
            pin!(position.reach(Revision(9))),
        );
        assert_eq!(now.as_mut().poll(&mut context), Poll::Ready(()));
        for waiter in [seven.as_mut(), again.as_mut(), nine.as_mut()] {
            assert_eq!(waiter.poll(&mut context), Poll::Pending);
        }
        position.set(Revision(6));
        assert_eq!(seven.as_mut().poll(&mut context), Poll::Pending);
        position.set(Revision(8));
        assert_eq!(position.get(), Revision(8));
        assert_eq!(seven.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(again.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(nine.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(position.waiting().all.len(), 1);
    }

    #[test]
    fn who_gives_up_leaves_nothing() {
        let position = Position::new(Revision(0));
        {
            let mut waiter = pin!(position.reach(Revision(1)));
            let mut context = Context::from_waker(Waker::noop());
            assert_eq!(waiter.as_mut().poll(&mut context), Poll::Pending);
            assert_eq!(position.waiting().all.len(), 1);
        }
        assert!(position.waiting().all.is_empty());
    }
}
