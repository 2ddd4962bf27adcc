//! The one place that changes the published state.

use std::sync::Arc;

use launcher_api::{EndReason, LauncherState, Outcome, Phase, Process, Times};
use tokio::sync::watch;

use crate::directory::{Directory, causes};
use crate::observe;

/// Writes `state.json` and tells watchers, in this order.
#[derive(Debug)]
pub(crate) struct Publisher {
    directory: Directory,
    state: LauncherState,
    sender: watch::Sender<Arc<LauncherState>>,
}

impl Publisher {
    /// Takes up what the launcher before this one published, if there was one.
    pub(crate) fn new(
        directory: Directory,
        launcher: Process,
        former: Option<LauncherState>,
    ) -> Self {
        let state = match former {
            Some(former) => LauncherState { launcher, ..former },
            None => LauncherState {
                sequence: 0,
                phase: Phase::Idle,
                launcher,
                adoptions: 0,
                machine: None,
                qemu: None,
                qemu_version: None,
                vcpu_threads: Vec::new(),
                resets: 0,
                times: Times::default(),
            },
        };
        let sender = watch::Sender::new(Arc::new(state.clone()));
        Self {
            directory,
            state,
            sender,
        }
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn state(&self) -> &LauncherState {
        &self.state
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<LauncherState>> {
        self.sender.subscribe()
    }

    /// Changes the state and publishes it, if that changed anything.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut LauncherState)) {
        let mut state = self.state.clone();
        change(&mut state);
        if state == self.state && state.sequence > 0 {
            return;
        }
        state.sequence += 1;
        tracing::info!(
            phase = state.phase.name(),
            sequence = state.sequence,
            "state"
        );
        // A full disk must not end the machine: watchers are told, the next change tries again.
        if let Err(error) = self.directory.write_state(&state) {
            tracing::error!(error = causes(&error), "the state is not on disk");
        }
        self.state = state;
        self.sender.send_replace(Arc::new(self.state.clone()));
    }

    /// Publishes the end.
    pub(crate) fn end(&mut self, reason: EndReason, message: String) -> End {
        let outcome = observe::outcome(reason);
        let mut message = message;
        if message.len() > launcher_api::limits::MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(launcher_api::limits::MESSAGE_BYTES));
        }
        self.update(|state| {
            state.phase = Phase::Ended {
                outcome,
                reason,
                message: message.clone(),
            };
            state.qemu = None;
            state.vcpu_threads.clear();
            state.times.ended = Some(jiff::Timestamp::now());
        });
        End { outcome, message }
    }
}

/// How a launcher's life ended.
#[derive(Debug)]
pub(crate) struct End {
    pub outcome: Outcome,
    pub message: String,
}
