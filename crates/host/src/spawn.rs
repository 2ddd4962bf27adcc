//! Starts a confined process that nothing ties to its parent.
//!
//! ```text
//! parent: open cgroup files and namespace, build argv ── fork ── child: setsid, join cgroup, enter netns, rlimits,
//!                                                          │      drop bounding set, groups, gid, uid, capabilities,
//!         pidfd + start time <─────────────────────────────┘      no_new_privs, close everything ── exec
//! ```
//!
//! Guarantees: the process is in its cgroup before its first instruction, holds no descriptor but 0, 1 and 2, has no
//! terminal, and survives its parent. Whatever fails between fork and exec is reported with the step that failed, and
//! no process is left.
//! Between fork and exec only async-signal-safe calls are made: plain system calls on values prepared before.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid};

use crate::process::Process;

/// A process to be started.
#[derive(Debug)]
pub struct Launch {
    /// The executable; looked up in `PATH` of this process if it has no slash.
    pub program: PathBuf,
    /// Its arguments, without `argv[0]`.
    pub args: Vec<OsString>,
    /// `argv[0]`, the program's path if none is given.
    pub arg0: Option<OsString>,
    /// All of its environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// `cgroup.procs` files of the groups to join, opened for writing.
    pub cgroup: Vec<File>,
    /// The network namespace to enter.
    pub netns: Option<File>,
    /// The user to become, with all privilege dropped.
    pub user: Option<User>,
    /// Limits on resources: soft and hard alike.
    pub rlimits: Vec<(Resource, u64)>,
}

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Where output goes.
#[derive(Debug)]
pub enum Output {
    /// Nowhere.
    Null,
    /// To an open file or pipe.
    To(OwnedFd),
}

impl From<Output> for Stdio {
    fn from(output: Output) -> Self {
        match output {
            Output::Null => Self::null(),
            Output::To(fd) => fd.into(),
        }
    }
}

impl Launch {
    /// A process that keeps user, cgroup and namespaces, has no environment and no output.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            arg0: None,
            env: Vec::new(),
            cwd: cwd.into(),
            stdout: Output::Null,
            stderr: Output::Null,
            cgroup: Vec::new(),
            netns: None,
            user: None,
            rlimits: Vec::new(),
        }
    }
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
#[error("starting {}: {step}", .program.display())]
pub struct SpawnError {
    /// The program.
    pub program: PathBuf,
    /// What failed.
    pub step: Step,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Steps of a start, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fork, change of directory or exec itself.
    Execute,
    /// New session.
    Session,
    /// Joining a cgroup.
    Cgroup,
    /// Entering the network namespace.
    Netns,
    /// Limits on resources.
    Rlimits,
    /// Emptying the capability bounding set.
    BoundingSet,
    /// Supplementary groups, group and user.
    Credentials,
    /// Dropping capabilities.
    Capabilities,
    /// The no_new_privs bit.
    NoNewPrivs,
    /// Closing of inherited descriptors.
    Descriptors,
    /// Holding the new process.
    Pidfd,
}

impl Step {
    const IN_CHILD: [Self; 9] = [
        Self::Session,
        Self::Cgroup,
        Self::Netns,
        Self::Rlimits,
        Self::BoundingSet,
        Self::Credentials,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Descriptors,
    ];
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Execute => "it cannot be executed",
            Self::Session => "a session cannot be made",
            Self::Cgroup => "its cgroup cannot be joined",
            Self::Netns => "its network namespace cannot be entered",
            Self::Rlimits => "its resource limits cannot be set",
            Self::BoundingSet => "its capability bounding set cannot be emptied",
            Self::Credentials => "its user and groups cannot be taken on",
            Self::Capabilities => "its capabilities cannot be dropped",
            Self::NoNewPrivs => "no_new_privs cannot be set",
            Self::Descriptors => "inherited descriptors cannot be closed",
            Self::Pidfd => "it cannot be watched",
        })
    }
}

/// Starts a process. Needs a tokio runtime (for the handle).
///
/// # Errors
/// [`SpawnError`] names the step; no process is left then.
pub fn spawn(launch: Launch) -> Result<Process, SpawnError> {
    let program = launch.program.clone();
    let failed = |step, source| SpawnError {
        program: program.clone(),
        step,
        source,
    };
    let (mut failures, report) = io::pipe().map_err(|source| failed(Step::Execute, source))?;
    let mut command = prepare(launch, report.into());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(source) => {
            drop(command); // closes our end of the pipe, so that reading ends
            return Err(failed(failed_step(&mut failures), source));
        }
    };
    match Process::child(child.id()) {
        Ok(process) => Ok(process),
        Err(source) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(failed(Step::Pidfd, source))
        }
    }
}

/// Has the kernel kill the command when we end, however we end: for short questions to other programs,
/// which must not outlive the one who asks.
///
/// # Caveats
/// The kernel watches the thread that starts the command (prctl(2), `PR_SET_PDEATHSIG`): start it from one
/// that lives as long as the answer is waited for, as a worker of the runtime does.
#[allow(
    unsafe_code,
    reason = "code between fork and exec is inherently unsafe"
)]
pub fn die_with_parent(command: &mut tokio::process::Command) {
    // SAFETY: one system call on a constant; it neither allocates, locks nor panics.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .map_err(io::Error::from)
        });
    }
}

/// Has the kernel kill the calling process when the thread that started it ends: for probes, which must not outlive
/// the one who asks. `parent` is the starter's pid; when it has ended before, so does this process.
///
/// # Errors
/// When the kernel refuses, or the parent is gone.
pub fn end_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now.is_some_and(|now| u32::try_from(now) == Ok(parent)) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "the parent has ended",
    ))
}

fn failed_step(failures: &mut PipeReader) -> Step {
    let mut step = [0];
    match failures.read(&mut step) {
        Ok(1) => Step::IN_CHILD
            .get(usize::from(step[0]))
            .copied()
            .unwrap_or(Step::Execute),
        _ => Step::Execute,
    }
}

fn prepare(launch: Launch, report: OwnedFd) -> Command {
    let mut command = Command::new(&launch.program);
    if let Some(arg0) = &launch.arg0 {
        command.arg0(arg0);
    }
    command
        .args(&launch.args)
        .env_clear()
        .envs(launch.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&launch.cwd);
    command
        .stdin(Stdio::null())
        .stdout(launch.stdout)
        .stderr(launch.stderr);
    let child = Child {
        cgroup: launch.cgroup,
        netns: launch.netns,
        rlimits: launch.rlimits,
        user: launch.user.map(|user| {
            let groups = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            (Uid::from_raw(user.uid), Gid::from_raw(user.gid), groups)
        }),
    };
    confine(&mut command, child, report);
    command
}

#[allow(
    unsafe_code,
    reason = "code between fork and exec is inherently unsafe"
)]
fn confine(command: &mut Command, child: Child, report: OwnedFd) {
    // SAFETY: `Child::enter` makes system calls on values prepared before the fork and neither allocates, locks nor
    // panics; the calls go to the kernel directly, not through the C library's cross-thread credential changes.
    unsafe {
        command.pre_exec(move || {
            child.enter().map_err(|(step, errno)| {
                let _ = rustix::io::write(&report, &[step]);
                io::Error::from(errno)
            })
        });
    }
}

/// What the child needs between fork and exec.
struct Child {
    cgroup: Vec<File>,
    netns: Option<File>,
    rlimits: Vec<(Resource, u64)>,
    user: Option<(Uid, Gid, Vec<Gid>)>,
}

impl Child {
    /// On failure: the index in [`Step::IN_CHILD`], and why.
    fn enter(&self) -> Result<(), (u8, rustix::io::Errno)> {
        rustix::process::setsid().map_err(|e| (0, e))?;
        for procs in &self.cgroup {
            rustix::io::write(procs, b"0").map_err(|e| (1, e))?;
        }
        if let Some(netns) = &self.netns {
            rustix::thread::move_into_link_name_space(
                netns.as_fd(),
                Some(LinkNameSpaceType::Network),
            )
            .map_err(|e| (2, e))?;
        }
        for (resource, value) in &self.rlimits {
            let limit = Rlimit {
                current: Some(*value),
                maximum: Some(*value),
            };
            rustix::process::setrlimit(*resource, limit).map_err(|e| (3, e))?;
        }
        if let Some((uid, gid, groups)) = &self.user {
            empty_bounding_set().map_err(|e| (4, e))?;
            rustix::thread::set_thread_groups(groups).map_err(|e| (5, e))?;
            rustix::thread::set_thread_res_gid(*gid, *gid, *gid).map_err(|e| (5, e))?;
            rustix::thread::set_thread_res_uid(*uid, *uid, *uid).map_err(|e| (5, e))?;
            let none = CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, none).map_err(|e| (6, e))?;
            rustix::thread::set_no_new_privs(true).map_err(|e| (7, e))?;
        }
        close_on_exec().map_err(|e| (8, e))
    }
}

/// All capabilities the kernel has, whatever their number: until it knows no further one.
fn empty_bounding_set() -> rustix::io::Result<()> {
    for bit in 0..64 {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << bit,
        )) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Marks every descriptor above 2, whoever opened it.
#[allow(unsafe_code, reason = "close_range has no safe wrapper")]
fn close_on_exec() -> rustix::io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed here; descriptors stay valid until exec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error().raw_os_error() {
        // Linux before 5.11: the standard library opens everything close-on-exec anyway.
        Some(libc::ENOSYS | libc::EINVAL) => Ok(()),
        Some(errno) => Err(rustix::io::Errno::from_raw_os_error(errno)),
        None => Err(rustix::io::Errno::IO),
    }
}

#[cfg(test)]
mod tests;
