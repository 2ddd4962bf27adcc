//! Every bound of this crate.

use std::time::Duration;

/// Longest line taken from QEMU. The largest answer it has (`query-qmp-schema`) is a quarter of a megabyte.
pub const LINE_BYTES: usize = 4 << 20;
/// Events kept for a slow reader before the oldest are lost.
pub const EVENTS: usize = 256;
/// Commands that may wait for their answer at once.
pub const COMMANDS: usize = 64;
/// Time an ordinary command may take; QEMU answers from its main loop, which disk I/O can hold up for a while.
pub const COMMAND: Duration = Duration::from_secs(10);
/// Time from the connection to the end of the capabilities negotiation.
pub const NEGOTIATION: Duration = Duration::from_secs(10);
/// Time `qemu --version` may take.
pub const VERSION: Duration = Duration::from_secs(5);
/// Longest output taken from `qemu --version`.
pub const VERSION_BYTES: usize = 4 << 10;
