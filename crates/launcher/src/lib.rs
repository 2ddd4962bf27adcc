//! One process per virtual machine; the one owner of its QEMU.
//!
//! ```text
//!                  ┌──────────────────────── run(dir) ────────────────────────┐
//!  node agent ───> │ server: launcher.sock ──Inbound──> Launcher (one loop)   │ ──QMP──> QEMU
//!  (watch) <────── │ publisher: state.json, watch <───── owns QEMU            │ <─events─
//!  console <─────> │ console: one session at a time <──────────────────────── │ <─serial─>
//!                  └───────────────────────────────────────────────────────────┘
//!
//!  Idle ──Start──> NotStarted ─spawn─> QemuSpawned ─QMP─> QmpReady ─cont─> Machine      (startup, typestates)
//!    │                  └──────────────┴─ fails, killed ─┴──────┐             │
//!    │ SIGTERM, Shutdown                                        │    Running <─> Paused  (events, Pause, Unpause)
//!    │                                                          │             │ Shutdown, SIGTERM
//!    │                                                          │        ShuttingDown    (rundown: button, button,
//!    │                                                          v             │           ... quit, SIGKILL)
//!    └────────────────────────────────────────────────────────> Ended <───────┘  guest off, panicked, QEMU gone
//! ```
//!
//! Invariants:
//! - one launcher per directory (a lock), one machine per launcher, one loop that talks to its QEMU;
//! - decisions are pure (`requests`, `observe`, `rundown`); the loop only carries them out;
//! - `state.json` is replaced atomically by one publisher, before anybody is told;
//! - QEMU is tied to no process: a launcher that is killed and started again in the same directory adopts it, with
//!   QEMU's pid and start time from `state.json`, its monitor and its serial port from their sockets. A guest that
//!   powered off meanwhile is found in run state `shutdown`, because QEMU runs with `-no-shutdown`;
//! - everything that waits has a bound ([`limits`]).
//!
//! What it does not do: it holds no credentials, knows no Kubernetes object, prepares no disks or networks.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod adopt;
mod console;
mod directory;
mod launcher;
pub mod limits;
mod observe;
mod own;
mod publisher;
mod requests;
mod rundown;
mod server;
mod startup;

use std::path::Path;
use std::process::ExitCode;

use launcher_api::Outcome;

/// Environment variable with the file that gets the reason of the end, as Kubernetes' termination messages.
pub const TERMINATION_LOG: &str = "FERROVIRT_TERMINATION_LOG";

/// Runs the launcher that lives in `dir` to its end: 0 when the machine ended in order.
///
/// Changes the working directory of this process; call it from a process of its own, before any thread is started.
#[must_use]
pub fn run(dir: &Path) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "starting the launcher's runtime");
            return ExitCode::FAILURE;
        }
    };
    // Opened now: the sandbox may forbid it later.
    let termination_log =
        std::env::var_os(TERMINATION_LOG).and_then(|path| std::fs::File::create(path).ok());
    let ended = runtime.block_on(Box::pin(launcher::live(dir)));
    // A task that hangs must not keep the process.
    runtime.shutdown_background();
    let (outcome, message) = match ended {
        Ok(end) => (end.outcome, end.message),
        Err(error) => (Outcome::Failed, directory::causes(&error)),
    };
    if let Some(mut log) = termination_log {
        let _ = std::io::Write::write_all(&mut log, message.as_bytes());
    }
    match outcome {
        Outcome::Succeeded => {
            tracing::info!(message, "the machine ended");
            ExitCode::SUCCESS
        }
        Outcome::Failed => {
            tracing::error!(message, "the machine ended");
            ExitCode::FAILURE
        }
    }
}
