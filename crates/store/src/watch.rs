//! A watch: the stream of commits below a prefix.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, Sleep};

use crate::error::{StoreError, WatchError};
use crate::feed::{Feed, Watcher};
use crate::limits;
use crate::model::{Event, Revision};

/// What a watch delivers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchItem {
    /// A commit below the watch's prefix.
    Event(Event),
    /// Every event of this watch with a revision up to this one was delivered: a bookmark. It comes once when the watch
    /// has caught up with the present, when it was asked for, and every [`limits::PROGRESS_EVERY`] while the watch is
    /// idle.
    Progress(Revision),
}

/// A running watch; dropping it ends it.
pub struct Watch {
    feed: Arc<Feed>,
    watcher: Arc<Watcher>,
    position: Revision,
    behind: bool,
    closed: bool,
    /// The Progress that follows catching up was delivered.
    announced: bool,
    ready: VecDeque<Event>,
    last: Instant,
    /// Fires when the watch may have been idle for [`limits::PROGRESS_EVERY`]. It is not moved with every event, which
    /// would cost more than delivering that.
    idle: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn new(feed: &Arc<Feed>, prefix: &str, after: Revision) -> Result<Self, StoreError> {
        Ok(Self {
            watcher: feed.register(prefix, after)?,
            feed: Arc::clone(feed),
            position: after,
            behind: true,
            closed: false,
            announced: false,
            ready: VecDeque::new(),
            last: Instant::now(),
            idle: None,
        })
    }

    /// The next item.
    ///
    /// Cancel safe: if the future is dropped before it is ready, nothing is lost.
    ///
    /// # Errors
    /// [`WatchError`]: the watch is over, and every further call says so again.
    pub async fn next(&mut self) -> Result<WatchItem, WatchError> {
        loop {
            if let Some(item) = self.poll_now()? {
                return Ok(item);
            }
            if self.closed {
                return Err(WatchError::Closed);
            }
            let due = self.last + limits::PROGRESS_EVERY;
            let idle = self
                .idle
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            tokio::select! {
                biased;
                () = self.watcher.wake.notified() => {}
                () = idle.as_mut() => {
                    let now = Instant::now();
                    if due <= now {
                        idle.as_mut().reset(now + limits::PROGRESS_EVERY);
                        self.request_progress();
                    } else {
                        idle.as_mut().reset(due);
                    }
                }
            }
        }
    }

    /// The next item if there is one at this moment.
    ///
    /// # Errors
    /// [`WatchError::Lagged`], as [`Watch::next`].
    pub fn poll_now(&mut self) -> Result<Option<WatchItem>, WatchError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(self.deliver(WatchItem::Event(event))));
            }
            // Asked before looking: whoever asked gets a position at least as new as the question.
            let asked = self.watcher.asked.swap(false, Ordering::AcqRel);
            let pulled = self.feed.pull(
                &self.watcher,
                self.position,
                self.behind,
                limits::WATCH_CHUNK,
                &mut self.ready,
            );
            let pulled = pulled.inspect_err(|_| self.ready.clear())?;
            self.position = pulled.position;
            self.behind = pulled.behind;
            self.closed = pulled.closed;
            if !self.ready.is_empty() || self.behind {
                if asked {
                    self.watcher.asked.store(true, Ordering::Release);
                }
                continue;
            }
            if asked || !self.announced {
                self.announced = true;
                return Ok(Some(self.deliver(WatchItem::Progress(self.position))));
            }
            return Ok(None);
        }
    }

    /// Asks for a [`WatchItem::Progress`] as soon as everything committed by now was delivered.
    pub fn request_progress(&self) {
        self.watcher.asked.store(true, Ordering::Release);
        self.watcher.wake.notify_one();
    }

    fn deliver(&mut self, item: WatchItem) -> WatchItem {
        self.last = Instant::now();
        item
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.feed.deregister(&self.watcher);
    }
}
