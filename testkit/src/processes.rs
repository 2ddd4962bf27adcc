//! Processes of a platform: found by the directory they work in, ended by pid.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Process {
    /// The name it was called by, without directories.
    #[must_use]
    pub fn name(&self) -> &str {
        let first = self.args.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// Whether it is a QEMU.
    #[must_use]
    pub fn is_qemu(&self) -> bool {
        self.name().starts_with("qemu-")
    }

    /// Whether it is a launcher.
    #[must_use]
    pub fn is_launcher(&self) -> bool {
        self.args.get(1).is_some_and(|a| a == "launcher")
    }
}

/// All whose working directory or arguments are below `root`, without ourselves.
pub(crate) fn below(root: &Path) -> Vec<Process> {
    let mut found: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter_map(|pid| {
            let args = args(pid)?;
            let works =
                fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|d| d.starts_with(root));
            let root = root.to_str()?;
            (works || args.iter().any(|a| a.contains(root))).then_some(Process { pid, args })
        })
        .collect();
    found.sort();
    found
}

/// Those of a list of pids that live.
pub(crate) fn of(pids: &BTreeSet<u32>) -> Vec<Process> {
    pids.iter()
        .filter_map(|&pid| {
            Some(Process {
                pid,
                args: args(pid)?,
            })
        })
        .collect()
}

/// The arguments of a process that lives; those of a zombie are empty, and it counts as gone.
fn args(pid: u32) -> Option<Vec<String>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args: Vec<String> = line
        .split(|b| *b == 0)
        .filter(|a| !a.is_empty())
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect();
    (!args.is_empty()).then_some(args)
}

/// Whether a process lives.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    args(pid).is_some()
}

fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Sends SIGKILL to a process and waits for its end; says whether it came within the bound.
pub fn kill(process: &Process) -> bool {
    let Some(fd) = open(process.pid) else {
        return true;
    };
    // The pid may have been taken by another process since it was seen.
    if args(process.pid).as_ref() != Some(&process.args) {
        return true;
    }
    let _ = pidfd_send_signal(&fd, Signal::KILL);
    let bound = Timespec {
        tv_sec: END.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&bound)).is_ok_and(|ready| ready > 0)
}

/// How long the kernel may take to end a process.
const END: Duration = Duration::from_secs(10);
