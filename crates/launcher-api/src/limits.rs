//! Every bound of the protocol.

use std::time::Duration;

/// Longest request line. A machine specification carries no file contents, so this is generous.
pub const REQUEST_BYTES: usize = 1 << 20;
/// Longest reply or state line, and largest `state.json`.
pub const STATE_BYTES: usize = 256 << 10;
/// Time to connect to a launcher on the same host.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Time from writing a request to having read its reply.
pub const REPLY: Duration = Duration::from_secs(10);
/// Longest text taken from QEMU or a guest into a state.
pub const MESSAGE_BYTES: usize = 4 << 10;
/// Longest grace period of a shutdown: one week.
pub const GRACE_SECONDS: u32 = 7 * 24 * 3600;
