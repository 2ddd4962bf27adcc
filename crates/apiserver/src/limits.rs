//! Every bound on what comes from outside.

use std::time::Duration;

/// Largest request body, as kube-apiserver's (3 MiB).
pub(crate) const MAX_BODY: usize = 3 * 1024 * 1024;
/// Largest sum of keys and values of a ConfigMap or Secret.
pub(crate) const MAX_DATA: usize = 1024 * 1024;
/// Longest path and query together.
pub(crate) const MAX_URI: usize = 16 * 1024;
/// Largest request head on HTTP/1.
pub(crate) const MAX_HEADERS: usize = 64 * 1024;
/// Time to receive a request head.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to receive a request body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a TLS handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Open connections.
pub(crate) const MAX_CONNECTIONS: usize = 4096;
/// Requests in flight, long-running ones not counted.
pub(crate) const MAX_IN_FLIGHT: usize = 400;
/// How long a request waits for a place before it is sent away with 429.
pub(crate) const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// Watches of one user.
pub(crate) const MAX_WATCHES_PER_USER: usize = 4096;
/// Deepest nesting of a body.
pub(crate) const MAX_DEPTH: usize = 120;
/// Attempts of a read-modify-write before the conflict is given to the client.
pub(crate) const UPDATE_ATTEMPTS: usize = 20;
/// Objects on one page read from the store when the client named no limit.
pub(crate) const STORE_PAGE: usize = 2000;
/// Length of generated suffixes and attempts to find a free name.
pub(crate) const GENERATE_ATTEMPTS: usize = 8;
/// How long a list or watch may wait for a revision that the store does not have yet.
pub(crate) const FUTURE_REVISION_WAIT: Duration = Duration::from_secs(3);
/// How long a writer of RBAC objects or CRDs waits until this server has taken the change up.
pub(crate) const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// Shortest time between two bookmarks on an idle watch.
pub(crate) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);
/// How long before its end a watch gets its last bookmark.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);
/// Frames that may wait for a slow watcher before the store's own window counts.
pub(crate) const WATCH_BUFFER: usize = 64;
/// Duration of a watch whose client named none: from this to twice this.
pub(crate) const WATCH_TIMEOUT: Duration = Duration::from_secs(1800);
/// Answers above this size are compressed when the client accepts gzip.
pub(crate) const GZIP_THRESHOLD: usize = 128 * 1024;
