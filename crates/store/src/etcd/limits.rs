//! Bounds of the etcd engine; see also [`crate::limits`].

use std::time::Duration;

/// How long a connection, TLS included, may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// How long a read may take, fail-over to other members included. An election takes etcd one to two seconds.
pub(super) const READ: Duration = Duration::from_secs(6);

/// How long one member may take for a read before another one is asked.
pub(super) const ATTEMPT: Duration = Duration::from_secs(3);

/// How long a write may take, fail-over included. etcd itself gives up after seven seconds.
pub(super) const WRITE: Duration = Duration::from_secs(8);

/// How long a write waits, after etcd has acknowledged it, for the mirror to have it too.
pub(super) const SHOWN: Duration = Duration::from_secs(2);

/// How long the store waits for etcd when it is opened.
pub(super) const OPEN: Duration = Duration::from_secs(30);

/// How long one page of the state, or the revision that it is read at, may take.
pub(super) const PAGE: Duration = Duration::from_secs(30);

/// The first pause after a failure; it doubles up to [`PAUSE_MOST`].
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between attempts.
pub(super) const PAUSE_MOST: Duration = Duration::from_millis(500);

/// Idle connections are tried this often. etcd ends connections that ask more often than every five seconds.
pub(super) const PING_EVERY: Duration = Duration::from_secs(10);

/// A connection that does not answer a ping for so long is dead.
pub(super) const PING_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that may be under way in one stream.
pub(super) const STREAM_WINDOW: u32 = 4 << 20;

/// Bytes that may be under way in a connection.
pub(super) const CONNECTION_WINDOW: u32 = 16 << 20;

/// The largest list of headers of an answer.
pub(super) const HEADER_BYTES: u32 = 64 << 10;

/// The largest message of an answer.
pub(super) const MESSAGE_BYTES: usize = 64 << 20;

/// Entries in a page of the state, when it is read; fewer if that is more than [`MESSAGE_BYTES`].
pub(super) const PAGE_ENTRIES: i64 = 1000;

/// Readers that may wait for the newest revision to be asked for before they wait to wait.
pub(super) const READERS: usize = 4096;

/// The longest prefix.
pub(super) const PREFIX_BYTES: usize = 256;

/// The most endpoints.
pub(super) const ENDPOINTS: usize = 32;
