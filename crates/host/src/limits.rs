//! Every bound of this crate.

use std::time::Duration;

/// Largest file read from `/proc` or `/sys`.
pub const PROC_BYTES: u64 = 4 << 20;
/// Time a cgroup may take to become empty after its processes were killed.
pub const CGROUP_EMPTY: Duration = Duration::from_secs(10);
/// Pause between two looks at a cgroup that is being emptied.
pub const CGROUP_POLL: Duration = Duration::from_millis(5);
/// Time given to a stopped virtual CPU of the probe to come back before it is called stuck.
pub const KVM_RETURN: Duration = Duration::from_millis(300);
/// Pause between two signals to the probe's virtual CPU.
pub const KVM_KICK: Duration = Duration::from_millis(10);
