//! Bounds on what comes from outside.

use std::time::Duration;

/// Bytes of one manifest file; an API server takes about 3 MiB in a request.
pub(crate) const MANIFEST_BYTES: u64 = 32 * 1024 * 1024;
/// Documents in all manifests of one command.
pub(crate) const MANIFEST_DOCUMENTS: usize = 10_000;
/// Files of one directory of manifests.
pub(crate) const MANIFEST_FILES: usize = 1_000;
/// Objects asked for at a time.
pub(crate) const PAGE: usize = 500;
/// Events shown by `describe`.
pub(crate) const EVENTS: usize = 50;
/// Bytes of an answer that refuses an upgrade.
pub(crate) const REFUSAL_BYTES: usize = 64 * 1024;
/// How often progress that has no watch of its own is looked at.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Longest time to wait that can be asked for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the platform has to remove VMs and stop.
pub(crate) const DISABLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a runtime that is being disabled is looked at.
pub(crate) const DISABLE_EVERY: Duration = Duration::from_millis(100);
