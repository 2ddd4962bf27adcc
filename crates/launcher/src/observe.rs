//! What QEMU's events and run states mean for the machine. Pure.

use launcher_api::{EndReason, Outcome, Phase};
use qemu::EventKind;
use qemu::command::RunState;
use qemu::event::Cause;

/// What an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing.
    None,
    /// Ask QEMU for its run state: only the present one counts.
    AskStatus,
    /// Count a reset.
    CountReset,
    /// The machine is over.
    End(EndReason),
}

/// What to do about an event; `asked` tells whether a shutdown was asked for.
pub(crate) fn react(event: &EventKind, asked: bool) -> Reaction {
    match event {
        EventKind::Shutdown { reason, .. } => match reason {
            Cause::GuestPanic => Reaction::End(EndReason::GuestPanicked),
            // Ours, or a signal from outside: the end of the process tells which.
            Cause::HostQmpQuit | Cause::HostSignal | Cause::HostError | Cause::HostUi => {
                Reaction::None
            }
            // A reset that QEMU made a shutdown of (-no-reboot or a watchdog's action) counts as the guest's wish too.
            _ => Reaction::End(off(asked)),
        },
        EventKind::GuestPanicked { action } if action == "run" => Reaction::None,
        EventKind::GuestPanicked { .. } => Reaction::End(EndReason::GuestPanicked),
        EventKind::Reset { .. } => Reaction::CountReset,
        EventKind::Stop | EventKind::Resume | EventKind::Suspend | EventKind::Wakeup => {
            Reaction::AskStatus
        }
        EventKind::Watchdog { .. } | EventKind::BlockIoError(_) => Reaction::AskStatus,
        EventKind::Powerdown
        | EventKind::DeviceDeleted { .. }
        | EventKind::DeviceUnplugGuestError { .. }
        | EventKind::Other { .. } => Reaction::None,
    }
}

/// What a run state means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observation {
    /// The machine lives.
    Phase(Phase),
    /// QEMU waits for `cont` since its start.
    NotRunYet,
    /// The machine is over.
    End(EndReason),
}

/// Translates a run state. `user_paused` tells whether a pause was asked for.
pub(crate) fn observe(status: RunState, asked: bool, user_paused: bool) -> Observation {
    let paused = |reason: &str| {
        Observation::Phase(Phase::Paused {
            reason: reason.into(),
        })
    };
    match status {
        RunState::Shutdown => Observation::End(off(asked)),
        RunState::GuestPanicked => Observation::End(EndReason::GuestPanicked),
        RunState::Prelaunch => Observation::NotRunYet,
        // A sleeping guest wakes by itself.
        RunState::Running | RunState::Suspended => Observation::Phase(Phase::Running),
        RunState::IoError => paused("IoError"),
        RunState::InternalError => paused("InternalError"),
        RunState::Watchdog => paused("Watchdog"),
        RunState::Paused if user_paused => paused("User"),
        RunState::Paused => paused("Unknown"),
        RunState::Inmigrate | RunState::FinishMigrate | RunState::Postmigrate | RunState::Colo => {
            paused("Migration")
        }
        RunState::SaveVm | RunState::RestoreVm => paused("Saving"),
        RunState::Debug => paused("Debugger"),
        RunState::Unknown => paused("Unknown"),
    }
}

fn off(asked: bool) -> EndReason {
    if asked {
        EndReason::GracefulShutdown
    } else {
        EndReason::GuestShutdown
    }
}

/// Whether an end was an orderly one.
pub(crate) fn outcome(reason: EndReason) -> Outcome {
    match reason {
        EndReason::GuestShutdown
        | EndReason::GracefulShutdown
        | EndReason::GraceExpired
        | EndReason::Killed
        | EndReason::NeverStarted => Outcome::Succeeded,
        EndReason::GuestPanicked
        | EndReason::StartFailed
        | EndReason::QemuExited
        | EndReason::QemuUnresponsive => Outcome::Failed,
    }
}

/// The end in words.
pub(crate) fn words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::GuestShutdown => "the guest powered off",
        EndReason::GracefulShutdown => "the guest powered off as it was asked to",
        EndReason::GraceExpired => {
            "the guest did not power off within its grace period and was ended by force"
        }
        EndReason::Killed => "the machine was ended by force as requested",
        EndReason::NeverStarted => "the launcher was ended before the machine ran",
        EndReason::GuestPanicked => "the guest's kernel panicked",
        EndReason::StartFailed => "QEMU could not be started",
        EndReason::QemuExited => "QEMU ended unexpectedly",
        EndReason::QemuUnresponsive => "QEMU did not answer on its monitor and was killed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shutdown(reason: Cause) -> EventKind {
        EventKind::Shutdown {
            guest: true,
            reason,
        }
    }

    #[test]
    fn who_wanted_the_end_decides_its_name() {
        assert_eq!(
            react(&shutdown(Cause::GuestShutdown), false),
            Reaction::End(EndReason::GuestShutdown)
        );
        assert_eq!(
            react(&shutdown(Cause::GuestShutdown), true),
            Reaction::End(EndReason::GracefulShutdown)
        );
        assert_eq!(
            react(&shutdown(Cause::GuestPanic), true),
            Reaction::End(EndReason::GuestPanicked)
        );
        assert_eq!(react(&shutdown(Cause::HostQmpQuit), true), Reaction::None);
        assert_eq!(
            react(
                &EventKind::Reset {
                    guest: true,
                    reason: Cause::GuestReset
                },
                false
            ),
            Reaction::CountReset
        );
    }

    #[test]
    fn only_the_present_run_state_counts() {
        assert_eq!(react(&EventKind::Stop, false), Reaction::AskStatus);
        assert_eq!(
            observe(RunState::Running, false, true),
            Observation::Phase(Phase::Running)
        );
        assert_eq!(
            observe(RunState::Shutdown, true, false),
            Observation::End(EndReason::GracefulShutdown)
        );
        let Observation::Phase(Phase::Paused { reason }) = observe(RunState::Paused, false, true)
        else {
            panic!()
        };
        assert_eq!(reason, "User");
    }

    #[test]
    fn only_ends_nobody_wanted_are_failures() {
        assert_eq!(outcome(EndReason::Killed), Outcome::Succeeded);
        assert_eq!(outcome(EndReason::QemuExited), Outcome::Failed);
    }
}
