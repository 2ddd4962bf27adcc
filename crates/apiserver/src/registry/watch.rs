//! Watch: a stream of changes, one JSON document a line.
//!
//! ```text
//!                 resourceVersion unset or 0          N
//! initial state ─ ADDED for each object ───┐          │
//! (sendInitialEvents: bookmark at its end) ▼          ▼
//!                     store.watch(prefix, after) ─► Frames (selectors, views) ─► body
//! ```
//! What has happened since the feeding task looked last goes out as one chunk: a watcher of many changes costs a chunk,
//! a record of TLS and a write for many of them, one of few changes hears of each at once.
//!
//! The task that feeds the body ends when the client goes, the time is up, the server stops, or the store says
//! that the watcher is too slow; the last gives an ERROR event with 410, and clients list again.
//!
//! A client that does not read costs [`limits::WATCH_BUFFER_BYTES`] and what it has not seen of the initial state (as
//! references to stored objects), for [`limits::WATCH_STALL`]; then its watch ends, and its connection too when the
//! stream alone cannot be ended.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use apimachinery::status::ApiError;
use store::{Entry, ListRequest, Revision, StoreError, WatchItem};
use tokio_util::sync::CancellationToken;

use super::list::{revision_parameter, too_large_revision};
use super::selection::Selection;
use super::watch_frames::Frames;
use super::{Registry, list_options, store_error, versions, wait_for_revision};
use crate::body::{FrameSender, ResponseBody, Stalled};
use crate::crd;
use crate::flow::WatchPlace;
use crate::kinds::Kind;
use crate::limits;
use crate::metrics::Series;
use crate::negotiate::Accept;
use crate::request::Query;

/// What is to be watched, how it is shown, and what bounds it.
pub(crate) struct WatchRequest<'a> {
    pub kind: Arc<Kind>,
    pub namespace: &'a str,
    /// Name from a deprecated `/watch/.../<name>` path, or empty.
    pub name: &'a str,
    pub query: &'a Query,
    pub accept: Accept,
    pub stop: CancellationToken,
    /// Counts events.
    pub series: Arc<Series>,
    /// Held as long as the watch lasts.
    pub place: WatchPlace,
    /// Ends the connection of a client that does not read.
    pub abort: Option<Abort>,
}

/// What can be done about a connection whose client does not read.
#[derive(Clone, Debug)]
pub(crate) struct Abort {
    /// Cuts the connection.
    pub cut: CancellationToken,
    /// Whether other requests share the connection: then the stream is ended first.
    pub shared: bool,
}

struct Start {
    /// Whether the state is sent first, as ADDED events.
    initial: bool,
    /// Whether a bookmark marks the end of the initial state.
    mark_initial: bool,
    after: Option<Revision>,
    not_older: Option<Revision>,
    bookmarks: bool,
    timeout: Duration,
}

impl Start {
    fn parse(query: &Query) -> Result<Self, ApiError> {
        list_options::check_watch(query)?;
        let version = revision_parameter(query)?;
        let send_initial = list_options::send_initial_events(query);
        let bookmarks = query.flag("allowWatchBookmarks");
        let timeout = match query.get("timeoutSeconds") {
            None | Some("" | "0") => limits::WATCH_TIMEOUT.mul_f64(1.0 + rand::random::<f64>()),
            Some(text) => Duration::from_secs(
                text.parse::<u32>()
                    .map_err(|_| {
                        ApiError::bad_request(format!(
                            "strconv.ParseInt: parsing {text:?}: invalid syntax"
                        ))
                    })?
                    .into(),
            ),
        };
        let explicit = version.filter(|v| *v > 0).map(Revision);
        let initial = send_initial.unwrap_or(explicit.is_none());
        Ok(Start {
            initial,
            mark_initial: send_initial == Some(true) && bookmarks,
            after: explicit.filter(|_| !initial),
            not_older: explicit.filter(|_| initial),
            bookmarks,
            timeout,
        })
    }
}

/// Opens a watch; errors of the request are found before the first byte is sent.
pub(crate) async fn watch(
    registry: &Arc<Registry>,
    request: WatchRequest<'_>,
) -> Result<ResponseBody, ApiError> {
    let kind = request.kind;
    let selection = Selection::parse(request.query, &kind)?;
    let start = Start::parse(request.query)?;
    let mut frames = Frames::new(
        Arc::clone(registry),
        Arc::clone(&kind),
        selection,
        request.accept,
        request.query,
    );
    let prefix = match request.name {
        "" => kind.scope_prefix(request.namespace),
        name => kind.key(request.namespace, name),
    };
    let exact_key = (!request.name.is_empty()).then(|| prefix.clone());
    let (sender, body) = ResponseBody::frames(registry.watch_stall);

    let mut first = First::default();
    let after = if let Some(after) = start.after {
        let current = registry.store.revision().await.map_err(store_error)?;
        if current < after {
            let current =
                wait_for_revision(&*registry.store, after, limits::FUTURE_REVISION_WAIT).await?;
            if current < after {
                return Err(too_large_revision(after.0, current.0));
            }
        }
        after
    } else {
        if let Some(wanted) = start.not_older {
            let current =
                wait_for_revision(&*registry.store, wanted, limits::FUTURE_REVISION_WAIT).await?;
            if current < wanted {
                return Err(too_large_revision(wanted.0, current.0));
            }
        }
        if start.initial {
            let mut listing = registry
                .store
                .list(ListRequest::prefix(prefix.clone()))
                .await
                .map_err(store_error)?;
            versions::entries(registry, &kind, &mut listing.entries).await?;
            if start.mark_initial {
                first.mark = Some(listing.revision);
            }
            first.entries = listing.entries.into_iter();
            // What the buffer holds anyway is made at once: what cannot be read is an error of the request then.
            while first.made.bytes.len() < limits::WATCH_BUFFER_BYTES
                && let Some(entry) = first.entries.next()
            {
                if exact_key.as_ref().is_none_or(|key| *key == *entry.key) {
                    first.made.add(|out| frames.added(&entry, out))?;
                }
            }
            listing.revision
        } else {
            registry.store.revision().await.map_err(store_error)?
        }
    };
    let mut feed = Feed {
        frames,
        sender,
        series: request.series,
        bookmarks: start.bookmarks,
        sent: after,
        batch: Batch::default(),
        exact_key,
        // The last moment at which a client that reconnects hears where to go on.
        farewell: tokio::time::Instant::now() + start.timeout.saturating_sub(limits::FAREWELL),
    };
    match changes(registry, &kind, &prefix, after).await {
        Ok(events) => {
            let stop = request.stop;
            let (place, abort) = (request.place, request.abort);
            let registry = Arc::clone(registry);
            tokio::spawn(async move {
                let _place = place;
                let _open = Open::new(Arc::clone(&feed.series));
                let end = tokio::select! {
                    end = feed.run(first, events) => end,
                    () = feed_ends(stop, start.timeout) => End::Done,
                };
                if matches!(end, End::Stalled) {
                    registry.slow_watches.fetch_add(1, Relaxed);
                    feed.give_up(abort, registry.watch_stall).await;
                }
            });
        }
        Err(StoreError::Compacted { oldest }) => {
            let error = ApiError::too_old_resource_version(after.0, oldest.0);
            // It fits: nothing was sent before.
            let _ = feed.end_with(&error).await;
        }
        Err(e) => return Err(store_error(e)),
    }
    Ok(body)
}

/// Changes after a revision, which must lie in the history of the kind: that of a custom one begins with its CRD.
async fn changes(
    registry: &Registry,
    kind: &Kind,
    prefix: &str,
    after: Revision,
) -> Result<store::Watch, StoreError> {
    if kind.is_crd() {
        // CRDs belong to no namespace, which their keys say.
        let key = format!("{}-/{}.{}", crd::PREFIX, kind.plural, kind.group);
        if let (Some(crd), _) = registry.store.get(&key).await?
            && after < crd.created
        {
            let oldest = crd.created;
            return Err(StoreError::Compacted { oldest });
        }
    }
    registry.store.watch(prefix, after).await
}

async fn feed_ends(stop: CancellationToken, timeout: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(timeout) => {}
    }
}

/// What a watch begins with. Beyond a bufferful, objects become frames one by one: a client that does not read costs
/// no copy of them.
#[derive(Default)]
struct First {
    made: Batch,
    entries: std::vec::IntoIter<Entry>,
    /// The revision of the bookmark at their end.
    mark: Option<Revision>,
}

/// Frames that were made and not sent.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    frames: u64,
}

impl Batch {
    /// Adds what `make` appends, if it says that it has.
    fn add(
        &mut self,
        make: impl FnOnce(&mut Vec<u8>) -> Result<bool, ApiError>,
    ) -> Result<bool, ApiError> {
        let made = make(&mut self.bytes)?;
        self.frames += u64::from(made);
        Ok(made)
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= limits::WATCH_BATCH_BYTES
    }
}

/// Counts an open watch.
struct Open(Arc<Series>);

impl Open {
    fn new(series: Arc<Series>) -> Self {
        series.open.fetch_add(1, Relaxed);
        Open(series)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Why a watch is over.
enum End {
    /// It was answered to its end, or the client is gone.
    Done,
    /// The client does not read.
    Stalled,
}

impl From<Stalled> for End {
    fn from(stalled: Stalled) -> Self {
        match stalled {
            Stalled::Gone => End::Done,
            Stalled::Full => End::Stalled,
        }
    }
}

/// How far a quiet watch has come.
struct Progress {
    /// When the client was last told.
    bookmarked: tokio::time::Instant,
    reached: Revision,
}

struct Feed {
    frames: Frames,
    sender: FrameSender,
    series: Arc<Series>,
    bookmarks: bool,
    /// Newest revision that the client knows of.
    sent: Revision,
    batch: Batch,
    exact_key: Option<String>,
    /// When the last bookmark is due.
    farewell: tokio::time::Instant,
}

impl Feed {
    /// Sends what was made.
    async fn flush(&mut self) -> Result<(), Stalled> {
        let Batch { bytes, frames } = std::mem::take(&mut self.batch);
        if frames == 0 {
            return Ok(());
        }
        let length = bytes.len() as u64;
        self.sender.send(bytes.into()).await?;
        self.series.events.fetch_add(frames, Relaxed);
        self.series.event_bytes.fetch_add(length, Relaxed);
        Ok(())
    }

    fn bookmark(&mut self, revision: Revision, initial: bool) {
        self.sent = self.sent.max(revision);
        self.frames
            .bookmark(revision, initial, &mut self.batch.bytes);
        self.batch.frames += 1;
    }

    /// Sends what was made, and an error.
    async fn end_with(&mut self, error: &ApiError) -> Result<(), Stalled> {
        self.frames.error(error, &mut self.batch.bytes);
        self.batch.frames += 1;
        self.flush().await
    }

    fn concerns(&self, key: &str) -> bool {
        self.exact_key.as_ref().is_none_or(|exact| **exact == *key)
    }

    async fn run(&mut self, first: First, events: store::Watch) -> End {
        match self.follow(first, events).await {
            Ok(()) => End::Done,
            Err(stalled) => stalled.into(),
        }
    }

    async fn follow(&mut self, first: First, mut events: store::Watch) -> Result<(), Stalled> {
        self.batch = first.made;
        self.flush().await?;
        for entry in first.entries {
            if !self.concerns(&entry.key) {
                continue;
            }
            let frames = &mut self.frames;
            if let Err(e) = self.batch.add(|out| frames.added(&entry, out)) {
                return self.end_with(&e).await;
            }
            if self.batch.is_full() {
                self.flush().await?;
            }
        }
        if let Some(revision) = first.mark {
            self.bookmark(revision, true);
        }
        self.flush().await?;
        let mut progress = Progress {
            bookmarked: tokio::time::Instant::now(),
            reached: self.sent,
        };
        let reader = self.sender.reader();
        let gone = reader.closed();
        let farewell = tokio::time::sleep_until(self.farewell);
        tokio::pin!(gone, farewell);
        let mut parted = !self.bookmarks;
        loop {
            let mut item = tokio::select! {
                item = events.next() => item,
                () = &mut gone => return Ok(()),
                () = &mut farewell, if !parted => {
                    parted = true;
                    self.bookmark(self.sent.max(progress.reached), false);
                    self.flush().await?;
                    continue;
                }
            };
            // A selection may let nothing through however much there is: others get their turn too.
            tokio::task::consume_budget().await;
            for _ in 0..limits::WATCH_BATCH {
                let taken = match item {
                    Ok(WatchItem::Event(event)) => self.take(event).await,
                    Ok(WatchItem::Progress(revision)) => {
                        self.reached(revision, &mut progress);
                        Ok(())
                    }
                    Err(store::WatchError::Closed) => return self.flush().await,
                    Err(_) => Err(ApiError::expired(
                        "too old resource version: the watcher was too slow",
                    )),
                };
                if let Err(e) = taken {
                    return self.end_with(&e).await;
                }
                if self.batch.is_full() {
                    break;
                }
                item = match events.poll_now() {
                    Ok(Some(next)) => Ok(next),
                    Ok(None) => break,
                    Err(e) => Err(e),
                };
            }
            self.flush().await?;
        }
    }

    /// Makes the frame of a change, if it concerns the client.
    async fn take(&mut self, mut event: store::Event) -> Result<(), ApiError> {
        if !self.concerns(&event.key) {
            return Ok(());
        }
        let made = self.frames.event(&mut event, &mut self.batch.bytes).await?;
        if made {
            self.batch.frames += 1;
            self.sent = event.revision;
        }
        Ok(())
    }

    /// Makes a bookmark, if one is due.
    fn reached(&mut self, revision: Revision, progress: &mut Progress) {
        progress.reached = revision;
        let due = progress.bookmarked.elapsed() >= limits::BOOKMARK_INTERVAL;
        if self.bookmarks && due && revision > self.sent {
            progress.bookmarked = tokio::time::Instant::now();
            self.bookmark(revision, false);
        }
    }

    /// Ends the stream of a client that does not read. The transport may not notice while it waits for the client; so
    /// a connection with nothing else on it is cut at once, another when the stream is still there after a while.
    async fn give_up(&mut self, abort: Option<Abort>, patience: Duration) {
        tracing::info!(
            resource = self.series.resource,
            "a watch is ended: its client does not read"
        );
        self.sender.fail();
        let Some(abort) = abort else { return };
        if abort.shared
            && tokio::time::timeout(patience, self.sender.closed())
                .await
                .is_ok()
        {
            return;
        }
        abort.cut.cancel();
    }
}
