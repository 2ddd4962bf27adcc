//! Processes beyond doubt: who one is, whether it lives, how it ended, and its death.
//!
//! A pid is used again after its process is gone. [`Identity`] adds the start time, which makes it unique on a booted
//! host and may be written to a file; [`Process`] holds a pidfd, which means one process forever. Opening one from an
//! identity gets the descriptor first and compares the start time then: if it fits, the descriptor is that process's.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::limits;

/// A process, uniquely on a booted host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its pid as seen from here.
    pub pid: u32,
    /// Field `starttime` of `/proc/<pid>/stat`: clock ticks after boot (proc(5)).
    pub start_time: u64,
}

impl Identity {
    /// The identity of the process that has this pid now; `None` if none has.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = stat(pid)?;
        Some(Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// This process.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
            .ok_or_else(|| io::Error::other("/proc/self/stat cannot be read: is /proc mounted?"))
    }

    /// Whether it still runs; a zombie does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.over)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was no child of this process, so nobody told.
    Unknown,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("an unknown exit status"),
        }
    }
}

/// A process held by a pidfd. Dropping it neither ends nor reaps the process.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Opens the process an identity means; `None` when it is over, whoever has its pid now. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be had for another reason.
    pub fn open(identity: Identity) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(identity.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if Identity::of(identity.pid) != Some(identity) {
            return Ok(None);
        }
        #[allow(
            unsafe_code,
            reason = "tokio's only registration that is not deprecated"
        )]
        // SAFETY: an `OwnedFd` names the same open description for as long as it is registered.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        Ok(Some(Self { identity, pidfd }))
    }

    /// Holds a child of this process, which nobody else reaps.
    ///
    /// # Errors
    /// When the descriptor cannot be had.
    pub fn child(pid: u32) -> io::Result<Self> {
        let gone = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the child was reaped by somebody else",
            )
        };
        let identity = Identity::of(pid).ok_or_else(gone)?;
        Self::open(identity)?.ok_or_else(gone)
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Waits until it is over, reaping it if it is a child. Cancel-safe; may be called again.
    ///
    /// # Errors
    /// When the kernel cannot tell, which does not happen to a valid descriptor.
    pub async fn exited(&self) -> io::Result<Exit> {
        // A pidfd becomes readable once and stays so.
        let _ready = self.pidfd.readable().await?;
        self.reap()
    }

    fn reap(&self) -> io::Result<Exit> {
        use std::os::fd::AsFd;
        match waitid(
            WaitId::PidFd(self.pidfd.get_ref().as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        ) {
            Ok(Some(status)) => Ok(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            }),
            // Not our child, or reaped before.
            Ok(None) | Err(rustix::io::Errno::CHILD) => Ok(Exit::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal; a process that is over is no error.
    ///
    /// # Errors
    /// When that is not permitted.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends it by force.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }
}

struct Stat {
    start_time: u64,
    over: bool,
}

fn stat(pid: u32) -> Option<Stat> {
    let mut bytes = Vec::with_capacity(512);
    File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .take(limits::PROC_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    parse_stat(&bytes)
}

/// The name in parentheses may hold anything, parentheses and blanks included: what counts is behind the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|b| *b == b')')?;
    let mut fields = std::str::from_utf8(&bytes[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    let state = fields.next()?; // field 3
    let start_time = fields.nth(18)?.parse().ok()?; // field 22
    Some(Stat {
        start_time,
        over: matches!(state, "Z" | "X" | "x"),
    })
}

#[cfg(test)]
mod tests;
