//! Every bound of the launcher.

use std::time::Duration;

/// Connections served at once; further ones are refused.
pub const CONNECTIONS: usize = 32;
/// Requests that may wait for the loop.
pub const INBOX: usize = 32;
/// Time from QEMU's start to its monitor being ready. Large memory on a busy host takes a while to map.
pub const START: Duration = Duration::from_secs(60);
/// Pause between two attempts to connect QEMU's sockets while it starts.
pub const START_POLL: Duration = Duration::from_millis(1);
/// Time to find the monitor of a QEMU that is to be adopted.
pub const ADOPT: Duration = Duration::from_secs(10);
/// Time QEMU has to answer what the loop asks in passing.
pub const COMMAND: Duration = Duration::from_secs(5);
/// Time from `quit` to SIGKILL: QEMU flushes its disks meanwhile.
pub const QUIT: Duration = Duration::from_secs(10);
/// Pause between two SIGKILLs of a process that does not die (disk I/O that hangs).
pub const KILL_AGAIN: Duration = Duration::from_secs(5);
/// Pause between two presses of the power button: a guest that is booting does not hear the first.
pub const PRESS_AGAIN: Duration = Duration::from_secs(3);
/// Time the process of QEMU has to end after its monitor closed.
pub const MONITOR_LOST: Duration = Duration::from_secs(2);
/// Time connections have to take the last state when the launcher ends.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// Output kept for a slow reader of the console before the oldest is lost.
pub const CONSOLE_BYTES: usize = 256 << 10;
/// One read from serial port or session.
pub const CONSOLE_CHUNK: usize = 4 << 10;
/// Size at which the serial log is put aside; one older part is kept.
pub const SERIAL_LOG_BYTES: u64 = 8 << 20;
/// Bytes of serial output between two looks at the log's size.
pub const SERIAL_LOG_CHECK: u64 = 256 << 10;
/// What is quoted of QEMU's log when it ends.
pub const QEMU_LOG_TAIL: usize = 2 << 10;
/// Pause between two looks for the monitor of a QEMU whose pid is not known.
pub const CONNECT_AGAIN: Duration = Duration::from_millis(50);
