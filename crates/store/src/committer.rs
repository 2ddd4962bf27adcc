//! Group commit: the one thread that writes.
//!
//! ```text
//! commit() --queue--> decide each against the state after the writes before it
//!                       -> Backend::persist(all of them)     one sync of the device
//!                       -> Feed::publish                     watchers
//!                       -> answer every writer
//! ```
//!
//! While a sync is under way, further writers queue up and form the next batch; a lone writer waits for nobody. Refusals
//! are answered after the sync as well, because they may tell of a write of the same batch.
//!
//! On a full device a batch is tried again without what does not free space.
//!
//! The thread is an ordinary one, since a sync blocks; it ends when the store is dropped.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::feed::Feed;
use crate::limits;
use crate::model::{Committed, Entry, Event, Op, Precondition, Revision, Space, Write};

/// What an engine does for the committer.
pub(crate) trait Backend: Send + 'static {
    /// The newest revision.
    fn revision(&self) -> Revision;

    /// The newest entry of a key.
    fn current(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Makes the events durable; all or none of them. Those that free space may take reserved space.
    fn persist(&mut self, events: &[Event], space: Space) -> Result<(), StoreError>;

    /// Makes durable events visible to readers. It must not take long.
    fn show(&self, events: &[Event]);

    /// Reclaims space: history up to `compacted` is not needed any more. The writers were answered already.
    fn tidy(&mut self, compacted: Revision);
}

/// Where a writer waits.
type Answer = oneshot::Sender<Result<Committed, StoreError>>;

enum Request {
    Commit(Write, Answer),
    Compact(Revision, oneshot::Sender<()>),
}

/// The store's end of the queue.
pub(crate) struct Committer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(backend: impl Backend, feed: Arc<Feed>) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel(limits::QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(move || run(backend, &feed, requests))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Queues a write and waits for its answer.
    pub(crate) async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        check_size(&write)?;
        let (answer, answered) = oneshot::channel();
        self.send(Request::Commit(write, answer)).await?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Queues a compaction and waits for its end.
    pub(crate) async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Compact(through, answer)).await?;
        answered.await.map_err(|_| StoreError::Closed)
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(request).await.map_err(|_| StoreError::Closed)
    }
}

impl Drop for Committer {
    /// Waits for the thread, so that the store can be opened again at once.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Closes the feed however the thread ends.
struct CloseOnEnd<'a>(&'a Feed);

impl Drop for CloseOnEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn run(mut backend: impl Backend, feed: &Feed, mut requests: mpsc::Receiver<Request>) {
    let _close = CloseOnEnd(feed);
    while let Some(first) = requests.blocking_recv() {
        let mut batch = Batch::new(backend.revision());
        let mut compact = None;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit(write, answer) => batch.add(&backend, write, answer),
                Request::Compact(through, answer) => {
                    compact = Some((through, answer));
                    break;
                }
            }
            next = if batch.is_full() {
                None
            } else {
                requests.try_recv().ok()
            };
        }
        let mut compacted = batch.finish(&mut backend, feed);
        if let Some((through, answer)) = compact {
            compacted = Some(feed.compact(through.min(backend.revision())));
            // The caller may have gone away; the compaction stands.
            let _ = answer.send(());
        }
        if let Some(compacted) = compacted {
            backend.tidy(compacted);
        }
    }
}

/// The writes that share a sync.
struct Batch {
    revision: Revision,
    bytes: usize,
    events: Vec<Event>,
    /// What the keys written in this batch hold after it.
    pending: HashMap<Arc<str>, Option<Entry>>,
    answers: Vec<Pending>,
}

/// A writer with its answer if the batch succeeds, and what is tried again in reserved space if there is no other.
struct Pending {
    answer: Answer,
    outcome: Result<Committed, StoreError>,
    again: Option<Write>,
}

impl Batch {
    fn new(revision: Revision) -> Self {
        Self {
            revision,
            bytes: 0,
            events: Vec::new(),
            pending: HashMap::new(),
            answers: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.answers.len() >= limits::BATCH_WRITES || self.bytes >= limits::BATCH_BYTES
    }

    fn add(&mut self, backend: &impl Backend, write: Write, answer: Answer) {
        if answer.is_closed() {
            return; // Nobody waits for it any more, and nothing has happened yet.
        }
        let current = match self.pending.get(&write.key) {
            Some(entry) => Ok(entry.clone()),
            None => backend.current(&write.key),
        };
        let again = current
            .as_ref()
            .is_ok_and(|current| frees(&write, current.as_ref()))
            .then(|| write.clone());
        let verdict = current.and_then(|current| decide(write, current, self.revision.next()));
        let outcome = verdict.map(|event| {
            self.revision = event.revision;
            self.bytes += event.key.len() + event.value.as_ref().map_or(0, bytes::Bytes::len);
            self.pending.insert(Arc::clone(&event.key), event.entry());
            let committed = Committed {
                revision: event.revision,
                previous: event.previous.clone(),
            };
            self.events.push(event);
            committed
        });
        self.answers.push(Pending {
            answer,
            outcome,
            again,
        });
    }

    /// Persists, publishes and answers. Returns the oldest revision left in the feed, if anything was committed.
    fn finish(self, backend: &mut impl Backend, feed: &Feed) -> Option<Revision> {
        self.finish_in(Space::Ordinary, backend, feed)
    }

    fn finish_in(self, space: Space, backend: &mut impl Backend, feed: &Feed) -> Option<Revision> {
        let mut compacted = None;
        let mut failure = None;
        if !self.events.is_empty() {
            match backend.persist(&self.events, space) {
                Ok(()) => {
                    compacted = Some(feed.publish(self.events, |events| backend.show(events)));
                }
                Err(error) => failure = Some(error),
            }
        }
        let full = space == Space::Ordinary && matches!(failure, Some(StoreError::Full));
        let mut freeing = Self::new(backend.revision());
        for pending in self.answers {
            // Decided anew: what it was decided after is refused.
            if let (true, Some(write)) = (full, pending.again) {
                freeing.add(backend, write, pending.answer);
                continue;
            }
            // A caller that went away does not hear of its write; that is its contract.
            let _ = pending.answer.send(match &failure {
                None => pending.outcome,
                Some(error) => Err(error.clone()),
            });
        }
        if full {
            return freeing.finish_in(Space::Reserve, backend, feed);
        }
        compacted
    }
}

/// Whether a write frees space, or is on the way to it.
fn frees(write: &Write, current: Option<&Entry>) -> bool {
    match &write.op {
        Op::Delete => true,
        Op::Put(value) => {
            write.space == Space::Reserve
                && current.is_some_and(|current| {
                    value.len() <= current.value.len() + limits::RESERVED_GROWTH
                })
        }
    }
}

/// The rules of preconditions: what a write does to a key that holds `current`.
pub(crate) fn decide(
    write: Write,
    current: Option<Entry>,
    revision: Revision,
) -> Result<Event, StoreError> {
    let holds = match (write.precondition, &current) {
        (Precondition::Any, _) | (Precondition::Absent, None) => true,
        (Precondition::Absent, Some(_)) | (Precondition::At(_), None) => false,
        (Precondition::At(modified), Some(entry)) => entry.modified == modified,
    };
    match write.op {
        Op::Put(value) if holds => Ok(Event {
            revision,
            key: write.key,
            value: Some(value),
            previous: current,
        }),
        Op::Delete if holds && current.is_some() => Ok(Event {
            revision,
            key: write.key,
            value: None,
            previous: current,
        }),
        _ => Err(StoreError::Conflict { current }),
    }
}

pub(crate) fn check_size(write: &Write) -> Result<(), StoreError> {
    let size = write.key.len();
    if size == 0 || size > limits::KEY_BYTES {
        return Err(StoreError::TooLarge {
            what: "key",
            size,
            limit: limits::KEY_BYTES,
        });
    }
    match &write.op {
        Op::Put(value) if value.len() > limits::VALUE_BYTES => Err(StoreError::TooLarge {
            what: "value",
            size: value.len(),
            limit: limits::VALUE_BYTES,
        }),
        _ => Ok(()),
    }
}
