//! Watch: a stream of changes, one JSON document a line.
//!
//! ```text
//!                 resourceVersion unset or 0          N
//! initial state ─ ADDED for each object ───┐          │
//! (sendInitialEvents: bookmark at its end) ▼          ▼
//!                     store.watch(prefix, after) ─► Frames (selectors, views) ─► body
//! ```
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
use bytes::Bytes;
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
            let mut room = limits::WATCH_BUFFER_BYTES;
            while room > 0
                && let Some(entry) = first.entries.next()
            {
                if exact_key.as_ref().is_none_or(|key| *key == *entry.key)
                    && let Some(frame) = frames.added(&entry)?
                {
                    room = room.saturating_sub(frame.len());
                    first.made.push(frame);
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
            let frame = feed.frames.error(&error);
            // It fits: nothing was sent before.
            let _ = feed.send(frame).await;
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
    made: Vec<Bytes>,
    entries: std::vec::IntoIter<Entry>,
    /// The revision of the bookmark at their end.
    mark: Option<Revision>,
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

struct Feed {
    frames: Frames,
    sender: FrameSender,
    series: Arc<Series>,
    bookmarks: bool,
    /// Newest revision that the client knows of.
    sent: Revision,
    exact_key: Option<String>,
    /// When the last bookmark is due.
    farewell: tokio::time::Instant,
}

impl Feed {
    async fn send(&mut self, frame: Bytes) -> Result<(), Stalled> {
        let bytes = frame.len() as u64;
        self.sender.send(frame).await?;
        self.series.events.fetch_add(1, Relaxed);
        self.series.event_bytes.fetch_add(bytes, Relaxed);
        Ok(())
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
        for frame in first.made {
            self.send(frame).await?;
        }
        for entry in first.entries {
            if !self.concerns(&entry.key) {
                continue;
            }
            match self.frames.added(&entry) {
                Ok(Some(frame)) => self.send(frame).await?,
                Ok(None) => {}
                Err(e) => return self.send(self.frames.error(&e)).await,
            }
        }
        if let Some(revision) = first.mark {
            let frame = self.frames.bookmark(revision, true);
            self.send(frame).await?;
        }
        let mut bookmarked = tokio::time::Instant::now();
        let mut reached = self.sent;
        let mut parted = !self.bookmarks;
        loop {
            let item = tokio::select! {
                item = events.next() => item,
                () = self.sender.closed() => return Ok(()),
                () = tokio::time::sleep_until(self.farewell), if !parted => {
                    parted = true;
                    self.sent = self.sent.max(reached);
                    let frame = self.frames.bookmark(self.sent, false);
                    self.send(frame).await?;
                    continue;
                }
            };
            match item {
                Ok(WatchItem::Event(mut event)) => {
                    if !self.concerns(&event.key) {
                        continue;
                    }
                    match self.frames.event(&mut event).await {
                        Ok(Some(frame)) => {
                            self.sent = event.revision;
                            self.send(frame).await?;
                        }
                        Ok(None) => {}
                        Err(e) => return self.send(self.frames.error(&e)).await,
                    }
                }
                Ok(WatchItem::Progress(revision)) => {
                    reached = revision;
                    let due = bookmarked.elapsed() >= limits::BOOKMARK_INTERVAL;
                    if self.bookmarks && due && revision > self.sent {
                        bookmarked = tokio::time::Instant::now();
                        self.sent = revision;
                        let frame = self.frames.bookmark(revision, false);
                        self.send(frame).await?;
                    }
                }
                Err(store::WatchError::Closed) => return Ok(()),
                Err(_) => {
                    let error =
                        ApiError::expired("too old resource version: the watcher was too slow");
                    let frame = self.frames.error(&error);
                    return self.send(frame).await;
                }
            }
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
