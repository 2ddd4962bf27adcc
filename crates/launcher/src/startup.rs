//! From a machine's description to its running virtual CPUs, one type per step: no step can be left out or taken
//! twice, and whatever is dropped on the way takes its QEMU along.

use std::path::PathBuf;
use std::time::Duration;

use host::process::{Exit, Process};
use host::spawn::{Launch, Output, SpawnError, spawn};
use launcher_api::Start;
use machine::RunDir;
use qemu::command::{Cont, QueryCpusFast};
use qemu::{Events, Qmp, QmpError, Version};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::directory::{Directory, DirectoryError};
use crate::limits;

/// Where distributions put the system emulator.
const PROGRAMS: [&str; 4] = [
    "/usr/bin/qemu-system-x86_64",
    "/usr/local/bin/qemu-system-x86_64",
    "/usr/libexec/qemu-kvm",
    "/usr/bin/qemu-kvm",
];
/// All of QEMU's environment.
const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")];

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("QEMU is not installed: none of {} exists", PROGRAMS.join(", "))]
    NotInstalled,
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("QEMU ended while it started, with {exit}: {last_words}")]
    Exited { exit: Exit, last_words: String },
    #[error("QEMU did not open {socket} within {} s", .after.as_secs())]
    TimedOut { socket: String, after: Duration },
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error("watching the process of QEMU")]
    Watch(#[source] std::io::Error),
}

/// A machine that is only described.
pub(crate) struct NotStarted<'a> {
    start: &'a Start,
    run: RunDir,
}

impl<'a> NotStarted<'a> {
    pub(crate) fn new(start: &'a Start) -> Self {
        Self {
            start,
            run: RunDir::default(),
        }
    }

    /// Starts QEMU, its virtual CPUs stopped.
    pub(crate) fn spawn(self, directory: &Directory) -> Result<QemuSpawned<'a>, StartError> {
        let program = PROGRAMS
            .iter()
            .map(PathBuf::from)
            .find(|p| p.exists())
            .ok_or(StartError::NotInstalled)?;
        let log = directory.qemu_log()?;
        let mut launch = Launch::new(program, ".");
        launch.args = machine::command_line(&self.start.machine, &self.run);
        launch.env = ENVIRONMENT
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        launch.stdout = Output::To(log.try_clone().map_err(StartError::Watch)?.into());
        launch.stderr = Output::To(log.into());
        let process = Guarded(Some(spawn(launch)?));
        Ok(QemuSpawned {
            process,
            start: self.start,
            run: self.run,
        })
    }
}

/// QEMU runs, its monitor may not be ready.
pub(crate) struct QemuSpawned<'a> {
    process: Guarded,
    start: &'a Start,
    run: RunDir,
}

impl<'a> QemuSpawned<'a> {
    pub(crate) fn identity(&self) -> Option<host::process::Identity> {
        self.process.0.as_ref().map(Process::identity)
    }

    /// Waits for the monitor, and connects the serial port before anything is written to it.
    pub(crate) async fn connect(self, directory: &Directory) -> Result<QmpReady<'a>, StartError> {
        let process = self.process.0.as_ref().ok_or(StartError::NotInstalled)?;
        let connected = tokio::select! {
            exit = process.exited() => return Err(exited(exit, directory)),
            connected = connect(&self.run, self.start, limits::START) => connected,
        };
        match connected {
            Ok((channels, vcpu_threads)) => Ok(QmpReady {
                process: self.process,
                start: self.start,
                channels,
                vcpu_threads,
            }),
            // A QEMU that refuses an argument closes its monitor first: its own words say more.
            Err(error) => match timeout(limits::MONITOR_LOST, process.exited()).await {
                Ok(exit) => Err(exited(exit, directory)),
                Err(_) => Err(error),
            },
        }
    }
}

fn exited(exit: std::io::Result<Exit>, directory: &Directory) -> StartError {
    match exit {
        Ok(exit) => StartError::Exited {
            exit,
            last_words: directory.qemu_last_words(),
        },
        Err(error) => StartError::Watch(error),
    }
}

/// QEMU answers, its virtual CPUs have not run.
pub(crate) struct QmpReady<'a> {
    process: Guarded,
    start: &'a Start,
    channels: Channels,
    vcpu_threads: Vec<u32>,
}

impl QmpReady<'_> {
    pub(crate) fn version(&self) -> &Version {
        self.channels.qmp.version()
    }

    pub(crate) fn vcpu_threads(&self) -> &[u32] {
        &self.vcpu_threads
    }

    /// Lets the virtual CPUs run, unless the machine is to start paused.
    pub(crate) async fn run(mut self) -> Result<Machine, StartError> {
        if !self.start.paused {
            self.channels.qmp.execute(Cont {}).await?;
        }
        let process = self.process.0.take().ok_or(StartError::NotInstalled)?;
        Ok(Machine {
            process,
            channels: self.channels,
        })
    }
}

/// A machine that runs and is owned.
pub(crate) struct Machine {
    pub process: Process,
    pub channels: Channels,
}

/// The ways to talk to a QEMU.
pub(crate) struct Channels {
    pub qmp: Qmp,
    pub events: Events,
    pub serial: Option<UnixStream>,
}

/// Connects a QEMU that starts, or one that is adopted, whose sockets may be busy with a client that is just gone.
pub(crate) async fn connect(
    run: &RunDir,
    start: &Start,
    within: Duration,
) -> Result<(Channels, Vec<u32>), StartError> {
    let until = Instant::now() + within;
    let (qmp, events) = monitor(run, until, within).await?;
    let serial = match start.machine.serial_console {
        true => Some(serial(run, until, within).await?),
        false => None,
    };
    let mut cpus = qmp.execute(QueryCpusFast {}).await?;
    cpus.sort_by_key(|cpu| cpu.cpu_index);
    let threads = cpus.into_iter().map(|cpu| cpu.thread_id).collect();
    Ok((
        Channels {
            qmp,
            events,
            serial,
        },
        threads,
    ))
}

pub(crate) async fn monitor(
    run: &RunDir,
    until: Instant,
    within: Duration,
) -> Result<(Qmp, Events), StartError> {
    loop {
        match timeout_at(until, Qmp::connect(run.qmp_socket.as_ref())).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(QmpError::Connect { .. })) if Instant::now() < until => {
                sleep(limits::START_POLL).await;
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                return Err(StartError::TimedOut {
                    socket: run.qmp_socket.clone(),
                    after: within,
                });
            }
        }
    }
}

async fn serial(run: &RunDir, until: Instant, within: Duration) -> Result<UnixStream, StartError> {
    loop {
        match UnixStream::connect(&run.serial_socket).await {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < until => sleep(limits::START_POLL).await,
            Err(_) => {
                return Err(StartError::TimedOut {
                    socket: run.serial_socket.clone(),
                    after: within,
                });
            }
        }
    }
}

/// A QEMU that nobody owns yet: it is killed when it is dropped.
struct Guarded(Option<Process>);

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(process) = &self.0
            && let Err(error) = process.kill()
        {
            tracing::error!(%error, pid = process.identity().pid, "a QEMU that was not started fully remains");
        }
    }
}
