//! Every bound of this crate, in one place.

use std::time::Duration;

/// The longest key. A Kubernetes group, resource, namespace and name together have at most about 700 bytes.
pub const KEY_BYTES: usize = 2048;

/// The largest value. The API server refuses bodies beyond 3 MiB; what it stores may be a little larger.
pub const VALUE_BYTES: usize = 8 << 20;

/// A put that may take reserved space grows its value by at most so many bytes: a deletion's time stamps and finalizers.
pub const RESERVED_GROWTH: usize = 1024;

/// The most writes in one group commit.
pub(crate) const BATCH_WRITES: usize = 1024;

/// A batch that has grown to this size is committed without waiting for more.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// Writers that may wait for the committer before [`crate::Store::commit`] itself waits.
pub(crate) const QUEUE: usize = 4096;

/// Events that a watch takes out of the history at a time; all that it ever buffers.
pub(crate) const WATCH_CHUNK: usize = 32;

/// An idle watch says so this often.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(5);
