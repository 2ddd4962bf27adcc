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

use std::sync::Arc;
use std::time::Duration;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupKind;
use apimachinery::status::ApiError;
use bytes::Bytes;
use store::{ListRequest, Revision, StoreError, WatchItem};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::list::{revision_parameter, too_large_revision};
use super::selection::Selection;
use super::watch_frames::Frames;
use super::{Registry, store_error, wait_for_revision};
use crate::body::ResponseBody;
use crate::kinds::Kind;
use crate::limits;
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
    pub permit: OwnedSemaphorePermit,
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

fn invalid(path: &str, detail: &str) -> ApiError {
    let error = FieldError::forbidden(&FieldPath::new(path), detail);
    ApiError::invalid(
        &GroupKind::new("meta.internal.k8s.io", "ListOptions"),
        "",
        vec![error],
    )
}

impl Start {
    fn parse(query: &Query) -> Result<Self, ApiError> {
        let version = revision_parameter(query)?;
        let send_initial = query
            .get("sendInitialEvents")
            .map(|_| query.flag("sendInitialEvents"));
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        match (send_initial, matching) {
            (Some(_), "NotOlderThan") | (None, "") => {}
            (Some(_), _) => {
                return Err(invalid(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
            (None, _) => {
                return Err(invalid(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
        }
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
    let (sender, body) = ResponseBody::channel(limits::WATCH_BUFFER);

    let mut first = Vec::new();
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
            let listing = registry
                .store
                .list(ListRequest::prefix(prefix.clone()))
                .await
                .map_err(store_error)?;
            for entry in &listing.entries {
                if exact_key.as_ref().is_none_or(|key| *key == *entry.key)
                    && let Some(frame) = frames.added(entry)?
                {
                    first.push(frame);
                }
            }
            if start.mark_initial {
                first.push(frames.bookmark(listing.revision, true));
            }
            listing.revision
        } else {
            registry.store.revision().await.map_err(store_error)?
        }
    };
    let mut feed = Feed {
        frames,
        sender,
        bookmarks: start.bookmarks,
        sent: after,
        exact_key,
        // The last moment at which a client that reconnects hears where to go on.
        farewell: tokio::time::Instant::now() + start.timeout.saturating_sub(limits::FAREWELL),
    };
    match registry.store.watch(&prefix, after).await {
        Ok(events) => {
            let stop = request.stop;
            let permit = request.permit;
            tokio::spawn(async move {
                let _permit = permit;
                tokio::select! {
                    () = feed.run(first, events) => {}
                    () = feed_ends(stop, start.timeout) => {}
                }
            });
        }
        Err(StoreError::Compacted { oldest }) => {
            let error = ApiError::too_old_resource_version(after.0, oldest.0);
            let frame = feed.frames.error(&error);
            feed.send(frame).await;
        }
        Err(e) => return Err(store_error(e)),
    }
    Ok(body)
}

async fn feed_ends(stop: CancellationToken, timeout: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(timeout) => {}
    }
}

struct Feed {
    frames: Frames,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    bookmarks: bool,
    /// Newest revision that the client knows of.
    sent: Revision,
    exact_key: Option<String>,
    /// When the last bookmark is due.
    farewell: tokio::time::Instant,
}

impl Feed {
    /// False when the client is gone.
    async fn send(&mut self, frame: Bytes) -> bool {
        self.sender.send(Ok(frame)).await.is_ok()
    }

    async fn run(&mut self, first: Vec<Bytes>, mut events: store::Watch) {
        for frame in first {
            if !self.send(frame).await {
                return;
            }
        }
        let mut bookmarked = tokio::time::Instant::now();
        let mut reached = self.sent;
        let mut parted = !self.bookmarks;
        loop {
            let item = tokio::select! {
                item = events.next() => item,
                () = self.sender.closed() => return,
                () = tokio::time::sleep_until(self.farewell), if !parted => {
                    parted = true;
                    self.sent = self.sent.max(reached);
                    let frame = self.frames.bookmark(self.sent, false);
                    if !self.send(frame).await {
                        return;
                    }
                    continue;
                }
            };
            match item {
                Ok(WatchItem::Event(event)) => {
                    if self
                        .exact_key
                        .as_ref()
                        .is_some_and(|key| **key != *event.key)
                    {
                        continue;
                    }
                    match self.frames.event(&event) {
                        Ok(Some(frame)) => {
                            self.sent = event.revision;
                            if !self.send(frame).await {
                                return;
                            }
                        }
                        Ok(None) => {}
                        Err(e) => {
                            let frame = self.frames.error(&e);
                            self.send(frame).await;
                            return;
                        }
                    }
                }
                Ok(WatchItem::Progress(revision)) => {
                    reached = revision;
                    let due = bookmarked.elapsed() >= limits::BOOKMARK_INTERVAL;
                    if self.bookmarks && due && revision > self.sent {
                        bookmarked = tokio::time::Instant::now();
                        self.sent = revision;
                        let frame = self.frames.bookmark(revision, false);
                        if !self.send(frame).await {
                            return;
                        }
                    }
                }
                Err(store::WatchError::Closed) => return,
                Err(_) => {
                    let error =
                        ApiError::expired("too old resource version: the watcher was too slow");
                    let frame = self.frames.error(&error);
                    self.send(frame).await;
                    return;
                }
            }
        }
    }
}
