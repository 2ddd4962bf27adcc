//! Finding the machine again that a former launcher in this directory ran.
//!
//! ```text
//!  state.json ── pid + start time ──> alive? ── no ──> QEMU ended while nobody looked
//!       │ (killed before it wrote them)  │ yes
//!       └── qmp.sock: pid of its peer ───┴──> monitor, serial port, run state ──> Machine
//! ```
//!
//! Whether the guest runs, is paused, or powered off meanwhile is told by the run state, in the loop.

use host::process::{Identity, Process};
use launcher_api::{EndReason, LauncherState, Start};
use machine::RunDir;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::limits;
use crate::startup::{Channels, Machine, StartError, connect};

/// Why there is nothing to adopt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    #[error("QEMU ended while no launcher watched it")]
    Gone,
    #[error("the launcher before this one ended while it started QEMU")]
    HalfStarted,
    #[error("watching the process of QEMU")]
    Watch(#[source] std::io::Error),
    #[error("QEMU lives, but cannot be reached")]
    Unreachable(#[source] Box<StartError>),
}

impl AdoptError {
    pub(crate) fn reason(&self) -> EndReason {
        match self {
            Self::Gone | Self::Watch(_) => EndReason::QemuExited,
            Self::HalfStarted => EndReason::StartFailed,
            Self::Unreachable(_) => EndReason::QemuUnresponsive,
        }
    }
}

/// Takes over the machine that `state` speaks of. One that cannot be reached is killed: nobody could ever end it.
pub(crate) async fn adopt(
    state: &LauncherState,
    start: &Start,
) -> Result<(Machine, Vec<u32>), AdoptError> {
    let run = RunDir::default();
    let process = match &state.qemu {
        Some(qemu) => {
            let identity = Identity {
                pid: qemu.pid,
                start_time: qemu.start_time,
            };
            Process::open(identity)
                .map_err(AdoptError::Watch)?
                .ok_or(AdoptError::Gone)?
        }
        None => by_socket(&run).await?,
    };
    let connected: Result<(Channels, Vec<u32>), StartError> = tokio::select! {
        exit = process.exited() => {
            exit.map_err(AdoptError::Watch)?;
            return Err(AdoptError::Gone);
        }
        connected = connect(&run, start, limits::ADOPT) => connected,
    };
    match connected {
        Ok((channels, vcpu_threads)) => Ok((Machine { process, channels }, vcpu_threads)),
        Err(error) => {
            // Its sockets may outlive the decision to end.
            if timeout(limits::MONITOR_LOST, process.exited())
                .await
                .is_ok()
            {
                return Err(AdoptError::Gone);
            }
            if let Err(error) = process.kill() {
                tracing::error!(%error, "a QEMU that cannot be reached cannot be killed either");
            }
            Err(AdoptError::Unreachable(Box::new(error)))
        }
    }
}

/// The launcher was killed between the start of QEMU and writing its pid: the socket knows who listens.
async fn by_socket(run: &RunDir) -> Result<Process, AdoptError> {
    let until = Instant::now() + limits::ADOPT;
    loop {
        if let Ok(stream) = UnixStream::connect(&run.qmp_socket).await {
            let peer = stream
                .peer_cred()
                .ok()
                .and_then(|cred| cred.pid())
                .and_then(|pid| u32::try_from(pid).ok());
            let identity = peer.and_then(Identity::of).ok_or(AdoptError::HalfStarted)?;
            return Process::open(identity)
                .map_err(AdoptError::Watch)?
                .ok_or(AdoptError::Gone);
        }
        if Instant::now() >= until {
            return Err(AdoptError::HalfStarted);
        }
        sleep(limits::CONNECT_AGAIN).await;
    }
}
