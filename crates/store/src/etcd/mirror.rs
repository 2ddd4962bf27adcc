//! The mirror: everything below our prefix in memory, kept current by one watch. It is the watch cache of the API
//! server as well: [`Feed`] serves all watches from it, and etcd sees one watcher per replica.
//!
//! ```text
//!            load pages at a revision          watch from the next one
//! (nothing) ─────────────────────────► state ───────────────────────────► state, history, watches
//!                   ▲                              │ cut: from where it was, on another connection
//!                   └──────────────────────────────┘ compacted meanwhile, or etcd was restored: all watches lag
//! ```
//! At the first load, the state is read at an old revision and the history since then is replayed, so that clients of a
//! replica that was restarted go on with their watches.
//!
//! Invariants:
//! - The mirror has one writer, the task of [`Mirror::follow`].
//! - `position` is a revision at which the state is complete. It moves when our own events come, never by what etcd says
//!   of its revision in between: `etcd` 3.4 before .25 may announce a revision before it has sent the events up to it.
//! - What does not fit (an update of what is not there) means that something was missed: everything is loaded again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::client::{Client, judge};
use super::grpc::{Connection, Failure, Stream};
use super::keys::Keys;
use super::limits;
use super::position::Position;
use super::proto::{
    EventType, KeyEvent, KeyValue, RangeRequest, RangeResponse, ResponseHeader, WatchAction,
    WatchCreateRequest, WatchRequest, WatchResponse, path,
};
use crate::error::StoreError;
use crate::feed::Feed;
use crate::memory::{Memory, Stored, View};
use crate::model::{Event, Revision};
use crate::retention::Retention;

/// See the module.
pub(super) struct Mirror {
    client: Arc<Client>,
    keys: Keys,
    pub(super) memory: Memory,
    pub(super) feed: Arc<Feed>,
    position: Position,
    /// The watch is suspected to be dead.
    suspect: Notify,
    /// How many watches etcd has begun for us.
    pub(super) begun: AtomicU64,
    /// The cluster that the state is from; another one has other revisions.
    cluster: RwLock<u64>,
}

/// What the newest commit is, according to etcd.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    /// The revision of the newest commit of ours.
    pub(super) last: Revision,
    /// etcd's own revision, at least that.
    pub(super) revision: Revision,
    /// The cluster that says so.
    pub(super) cluster: u64,
}

/// Why a watch has ended.
#[derive(Debug)]
enum Ended {
    /// Try again from where we are.
    Cut(Failure),
    /// What came after our position is gone.
    Compacted(Revision),
    /// The state is not the one that events are about.
    Wrong(String),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Cut(failure)
    }
}

impl Mirror {
    /// Loads the state and as much history as `retention` allows and etcd still has.
    pub(super) async fn load(
        client: Arc<Client>,
        keys: Keys,
        retention: Retention,
        newest: Newest,
        floor: Revision,
    ) -> Result<Self, StoreError> {
        let mut start = Revision(newest.last.0.saturating_sub(retention.revisions)).max(floor);
        let view = loop {
            let (_, connection) = client.connection().await.map_err(|e| judge(&e))?;
            match pages(&connection, &keys, start).await {
                Ok(view) => break view,
                Err(Ended::Compacted(oldest)) if oldest > start => start = oldest,
                Err(Ended::Cut(failure)) => return Err(judge(&failure)),
                Err(ended) => {
                    let why = format!("{ended:?}");
                    return Err(StoreError::Unavailable { why: why.into() });
                }
            }
        };
        Ok(Self {
            client,
            keys,
            memory: Memory::new(view),
            feed: Arc::new(Feed::new(retention, start)),
            position: Position::new(start),
            suspect: Notify::new(),
            begun: AtomicU64::new(0),
            cluster: RwLock::new(newest.cluster),
        })
    }

    pub(super) fn position(&self) -> Revision {
        self.position.get()
    }

    /// Waits until the mirror has `revision`. If that takes too long the watch is begun anew.
    pub(super) async fn reach(&self, revision: Revision, patience: Duration) -> bool {
        let reached = self.position.reach(revision);
        let reached = tokio::time::timeout(patience, reached).await.is_ok();
        if !reached {
            self.suspect.notify_one();
        }
        reached
    }

    /// Whether what etcd says can be true of the history that is mirrored, of which `seen` was known before it was
    /// asked: revisions do not go back, unless etcd was restored from a backup.
    pub(super) fn fits(&self, newest: &Newest, seen: Revision) -> bool {
        let fits = newest.cluster == self.cluster() && newest.revision >= seen;
        if !fits {
            self.suspect.notify_one();
        }
        fits
    }

    fn cluster(&self) -> u64 {
        *self.cluster.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the mirror current, for ever.
    pub(super) async fn follow(&self) {
        let mut pause = limits::PAUSE;
        let mut reported = false;
        loop {
            let begun = Instant::now();
            match self.watch().await {
                Ended::Cut(failure) => {
                    // Once per outage.
                    if !reported {
                        warn!(error = %failure, "the watch of etcd was cut; reads and writes wait for another member");
                        reported = true;
                    }
                }
                Ended::Compacted(oldest) => {
                    warn!(position = %self.position(), %oldest, "etcd was compacted beyond what was seen of it; everything is read again");
                    self.reload().await;
                }
                Ended::Wrong(why) => {
                    error!(position = %self.position(), why, "the copy of etcd's state is wrong; everything is read again");
                    self.reload().await;
                }
            }
            if begun.elapsed() > limits::ATTEMPT {
                pause = limits::PAUSE;
                reported = false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::PAUSE_MOST);
        }
    }

    /// One connection's worth of following.
    async fn watch(&self) -> Ended {
        let (number, connection) = match self.client.connection().await {
            Ok(made) => made,
            Err(failure) => return failure.into(),
        };
        let ended = match self.watch_on(&connection).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        if matches!(ended, Ended::Cut(_)) {
            self.client.give_up(number).await;
        }
        ended
    }

    async fn watch_on(&self, connection: &Connection) -> Result<std::convert::Infallible, Ended> {
        let seen = self.position();
        let newest = newest(connection, &self.keys).await?;
        if newest.cluster != self.cluster() || newest.revision < seen {
            return Err(Ended::Wrong(
                "etcd's history is another one than before: was it restored from a backup?".into(),
            ));
        }
        let outcome = self.events(connection, seen).await;
        match outcome {
            // We have everything that was committed by now: only revisions of others were forgotten.
            Err(Ended::Compacted(_)) if newest.last <= seen => {
                self.events(connection, newest.revision).await
            }
            outcome => outcome,
        }
    }

    /// Takes events up from a revision on that has to be there still. It is one that we have: etcd before 3.4.34 may
    /// leave a delete out that happened at the very revision that it was compacted at.
    async fn events(
        &self,
        connection: &Connection,
        from: Revision,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut stream = begin_watch(connection, &self.keys, from).await?;
        // The events of the newest revision of a message that goes on in the next one.
        let mut held: Vec<KeyEvent> = Vec::new();
        loop {
            let message = tokio::select! {
                message = stream.next::<WatchResponse>() => message?,
                () = self.suspect.notified() => {
                    return Err(Ended::Cut(Failure::Cut("the watch fell behind".into())));
                }
            };
            let Some(message) = message else {
                return Err(Ended::Cut(Failure::Cut("etcd ended the watch".into())));
            };
            if message.canceled {
                return Err(cancelled(&message));
            }
            if message.created {
                let watches = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
                debug!(endpoint = %connection.endpoint(), %from, watches, "following etcd");
            }
            held.extend(message.events);
            let ready = if message.fragment {
                let newest = held.last().map(revision_of);
                held.partition_point(|event| Some(revision_of(event)) != newest)
            } else {
                held.len()
            };
            self.apply(held.drain(..ready))?;
        }
    }

    fn apply(&self, events: impl Iterator<Item = KeyEvent>) -> Result<(), Ended> {
        let mut view = self.memory.view();
        let position = view.revision;
        let mut published = Vec::new();
        for event in events {
            let revision = revision_of(&event);
            let Some(kv) = event.kv else { continue };
            if revision <= position {
                continue; // Where the watch began.
            }
            let Some(key) = self.keys.inner(&kv.key) else {
                warn!(%revision, "somebody wrote a key below our prefix in etcd that is not text; it is ignored");
                continue;
            };
            let previous = view.get(&key);
            let value = (event.kind == EventType::Put as i32).then(|| Bytes::from(kv.value));
            let created = number(kv.create_revision);
            let known = match (&previous, &value) {
                // It was in the state when that was read already.
                (Some(previous), Some(_)) if previous.modified == revision => continue,
                (None, None) => continue,
                (Some(previous), Some(_)) => previous.created == created,
                (None, Some(_)) => created == revision,
                (Some(_), None) => true,
            };
            if revision < view.revision || !known {
                return Err(Ended::Wrong(format!(
                    "the change of {key} at revision {revision} does not follow from what is known at {}",
                    view.revision
                )));
            }
            let key = previous
                .as_ref()
                .map_or(key, |entry| Arc::clone(&entry.key));
            let event = Event {
                revision,
                key,
                value,
                previous,
            };
            view.apply(&event);
            published.push(event);
        }
        if published.is_empty() {
            return Ok(());
        }
        let reached = view.revision;
        self.feed.publish(published, |_| self.memory.replace(view));
        self.position.set(reached);
        Ok(())
    }

    /// Loads the newest state in place of what there is. The history is not known: every watch has lagged.
    async fn reload(&self) {
        let mut pause = limits::PAUSE;
        loop {
            match self.try_reload().await {
                Ok(()) => return,
                Err(ended) => warn!(?ended, "cannot read the state from etcd; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::PAUSE_MOST);
        }
    }

    async fn try_reload(&self) -> Result<(), Ended> {
        let (number, connection) = self.client.connection().await?;
        let loaded = async {
            let newest = newest(&connection, &self.keys).await?;
            let mut view = pages(&connection, &self.keys, newest.revision).await?;
            // The same state has the same revision in every replica: that of the newest commit.
            view.revision = newest.last;
            Ok::<_, Ended>((newest, view))
        };
        let (newest, view) = match loaded.await {
            Ok(loaded) => loaded,
            Err(ended) => {
                self.client.give_up(number).await;
                return Err(ended);
            }
        };
        info!(revision = %newest.last, entries = view.map.len(), "the state was read from etcd");
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = newest.cluster;
        self.feed.reset(newest.last, || self.memory.replace(view));
        self.position.set(newest.last);
        Ok(())
    }
}

fn number(revision: i64) -> Revision {
    Revision(revision.try_into().unwrap_or_default())
}

fn revision_of(event: &KeyEvent) -> Revision {
    number(event.kv.as_ref().map_or(0, |kv| kv.mod_revision))
}

/// What revisions are called in requests.
pub(super) fn wire(revision: Revision) -> i64 {
    revision.0.try_into().unwrap_or(i64::MAX)
}

fn cancelled(message: &WatchResponse) -> Ended {
    if message.compact_revision > 0 {
        return Ended::Compacted(number(message.compact_revision));
    }
    let why = format!("etcd ended the watch: {}", message.cancel_reason);
    Ended::Cut(Failure::Cut(why.into()))
}

/// The question that a [`Newest`] answers; linearizable, as all reads of etcd that do not say otherwise.
pub(super) fn ask_newest(keys: &Keys) -> RangeRequest {
    RangeRequest {
        key: keys.last.clone(),
        keys_only: true,
        ..RangeRequest::default()
    }
}

/// Reads the answer to [`ask_newest`].
pub(super) fn read_newest(answer: &RangeResponse) -> Newest {
    let ResponseHeader {
        cluster_id,
        revision,
    } = answer.header.clone().unwrap_or_default();
    Newest {
        last: number(answer.kvs.first().map_or(0, |kv| kv.mod_revision)),
        revision: number(revision),
        cluster: cluster_id,
    }
}

async fn newest(connection: &Connection, keys: &Keys) -> Result<Newest, Failure> {
    let question = ask_newest(keys);
    let answer = within(connection.unary(path::RANGE, &question, limits::ATTEMPT));
    Ok(read_newest(&answer.await?))
}

async fn within<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limits::PAGE, call)
        .await
        .unwrap_or_else(|_| Err(Failure::Cut("etcd did not answer in time".into())))
}

async fn begin_watch(
    connection: &Connection,
    keys: &Keys,
    from: Revision,
) -> Result<Stream, Failure> {
    let (key, range_end) = keys.range();
    let create = WatchCreateRequest {
        key,
        range_end,
        start_revision: wire(from),
        fragment: true,
    };
    let request = WatchRequest {
        action: Some(WatchAction::Create(create)),
    };
    within(connection.stream(path::WATCH, &request)).await
}

/// The whole state at a revision.
async fn pages(connection: &Connection, keys: &Keys, at: Revision) -> Result<View, Ended> {
    let (mut key, range_end) = keys.range();
    let mut limit = limits::PAGE_ENTRIES;
    let mut view = View {
        revision: at,
        ..View::default()
    };
    loop {
        let request = RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            limit,
            revision: wire(at),
            keys_only: false,
        };
        let answer = within(connection.unary(path::RANGE, &request, limits::PAGE)).await;
        let answer: RangeResponse = match answer {
            Ok(answer) => answer,
            Err(Failure::TooLarge { .. }) if limit > 1 => {
                limit = (limit / 4).max(1);
                continue;
            }
            Err(Failure::Status { message, .. }) if message.contains("has been compacted") => {
                return Err(oldest(connection, keys, at).await?);
            }
            Err(failure) => return Err(failure.into()),
        };
        let Some(last) = answer.kvs.last() else { break };
        key.clone_from(&last.key);
        key.push(0);
        let more = answer.more;
        for kv in answer.kvs {
            insert(&mut view, keys, kv);
        }
        if !more {
            break;
        }
    }
    Ok(view)
}

fn insert(view: &mut View, keys: &Keys, kv: KeyValue) {
    if let Some(key) = keys.inner(&kv.key) {
        let stored = Stored {
            value: Bytes::from(kv.value),
            created: number(kv.create_revision),
            modified: number(kv.mod_revision),
        };
        view.map.insert(key, stored);
    }
}

/// The oldest revision that etcd still has, which only a refused watch is told.
async fn oldest(connection: &Connection, keys: &Keys, asked: Revision) -> Result<Ended, Failure> {
    let mut stream = begin_watch(connection, keys, asked.max(Revision(1))).await?;
    loop {
        let Some(message) = within(stream.next::<WatchResponse>()).await? else {
            return Err(Failure::Cut("etcd ended the watch".into()));
        };
        if message.canceled {
            return Ok(cancelled(&message));
        }
        if !message.created {
            return Err(Failure::Malformed(
                "a compacted revision can be watched".into(),
            ));
        }
    }
}
