//! Bounds of the probes, and what a host must have.

use std::time::Duration;

/// How long guest code may run in the probe of KVM.
pub(super) const KVM: Duration = Duration::from_secs(1);
/// How long a probe may take that needs milliseconds. Generous: a busy host is no broken one.
pub(super) const PROBE: Duration = Duration::from_secs(20);
/// How long one may take that starts QEMU.
pub(super) const QEMU: Duration = Duration::from_secs(30);
/// How long a killed probe may take to vanish before it is given up.
pub(super) const KILLED: Duration = Duration::from_secs(1);
/// How long the API server may take to tell the time.
pub(super) const SERVER_TIME: Duration = Duration::from_secs(5);
/// Longest answer of a probe, and longest last words.
pub(super) const ANSWER_BYTES: u64 = 1 << 20;

/// The oldest QEMU that everything is tested with (Debian 12).
pub(super) const QEMU_VERSION: (u32, u32) = (7, 2);
/// Free space of the data directory, below which nothing can be imported.
pub(super) const DISK_FAILS: u64 = 1 << 30;
/// Below this it is noted.
pub(super) const DISK_NOTED: u64 = 10 << 30;
/// Files that must still be possible.
pub(super) const FILES: u64 = 1000;
/// A write that takes longer than this is noted, in milliseconds.
pub(super) const SLOW_WRITE_MS: u64 = 1000;
/// Available memory, below which no guest starts.
pub(super) const MEMORY_FAILS: u64 = 256 << 20;
/// Below this it is noted.
pub(super) const MEMORY_NOTED: u64 = 1 << 30;
/// Seconds since 1970 of 2026-01-01: no clock of this version's time is older.
pub(super) const EARLIEST: i64 = 1_767_225_600;
/// And of 2100-01-01.
pub(super) const LATEST: i64 = 4_102_444_800;
/// Difference to the API server's clock that breaks leases and tokens, in seconds.
pub(super) const SKEW_FAILS: i64 = 30;
/// Above this it is noted; headers tell whole seconds.
pub(super) const SKEW_NOTED: i64 = 2;
