//! The loop that owns a machine: carries out what `requests`, `observe` and `rundown` decide.

use host::process::Exit;
use jiff::Timestamp;
use launcher_api::{EndReason, Phase, RefusalReason};
use qemu::command::{Cont, QueryStatus, Quit, Stop, SystemPowerdown, SystemReset};
use qemu::{EventKind, Notice, QmpError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::console::Console;
use crate::directory::causes;
use crate::launcher::{Launcher, refuse, with_last_words};
use crate::limits;
use crate::observe::{self, Observation, Reaction, observe, react};
use crate::publisher::End;
use crate::requests::{Action, Verdict, decide};
use crate::rundown::{Rundown, Step};
use crate::server::Answer;
use crate::startup::{Machine, monitor};

/// What the loop keeps in mind of the machine it owns.
struct Owned {
    machine: Machine,
    rundown: Option<Rundown>,
    /// A shutdown was asked for.
    asked: bool,
    /// A pause was asked for.
    user_paused: bool,
}

impl Launcher {
    /// Owns the machine to its end.
    pub(crate) async fn own(&mut self, mut machine: Machine) -> End {
        self.console = machine.channels.serial.take().map(Console::new);
        let phase = &self.publisher.state().phase;
        let mut owned = Owned {
            rundown: match phase {
                Phase::ShuttingDown { deadline } => {
                    Some(Rundown::graceful(Instant::now(), instant(*deadline)))
                }
                _ => None,
            },
            asked: matches!(phase, Phase::ShuttingDown { .. }),
            user_paused: matches!(phase, Phase::Paused { reason } if reason == "User"),
            machine,
        };
        // An adopted guest may have done anything meanwhile.
        self.look(&mut owned).await;
        loop {
            let due = owned.rundown.as_ref().map(Rundown::due);
            tokio::select! {
                exit = owned.machine.process.exited() => return self.over(&owned, exit.unwrap_or(Exit::Unknown)),
                notice = owned.machine.channels.events.next() => match notice {
                    Some(Notice::Event(event)) => self.handle(&mut owned, &event.kind).await,
                    Some(Notice::Lost(count)) => {
                        tracing::warn!(count, "events of QEMU were lost");
                        self.look(&mut owned).await;
                    }
                    None => if let Some(exit) = self.monitor_lost(&mut owned).await {
                        return self.over(&owned, exit);
                    },
                },
                Some(inbound) = self.inbox.recv() => if let Some((action, answer)) = self.judge(inbound) {
                    self.carry_out(&mut owned, action, answer).await;
                },
                _ = self.terminate.recv() => {
                    let grace = self.start.as_ref().map_or(0, |start| start.grace_seconds);
                    let request = launcher_api::Request::Shutdown { grace_seconds: grace };
                    let phase = &self.publisher.state().phase;
                    if let Verdict::Do(Action::Shutdown { deadline }) =
                        decide(phase, self.start.as_ref(), request, Timestamp::now())
                    {
                        self.shut_down(&mut owned, deadline).await;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let step = owned.rundown.as_mut().and_then(|rundown| rundown.advance(Instant::now()));
                    if let Some(step) = step {
                        take_step(&owned.machine, step).await;
                    }
                }
            }
        }
    }

    async fn handle(&mut self, owned: &mut Owned, event: &EventKind) {
        tracing::debug!(?event, "QEMU");
        match react(event, owned.asked) {
            Reaction::None => {}
            Reaction::CountReset => self.publisher.update(|state| state.resets += 1),
            Reaction::AskStatus => self.look(owned).await,
            Reaction::End(reason) => end_qemu(owned, reason).await,
        }
    }

    /// Asks for the present run state and makes it the phase.
    async fn look(&mut self, owned: &mut Owned) {
        let status = match owned
            .machine
            .channels
            .qmp
            .execute_within(QueryStatus {}, limits::COMMAND)
            .await
        {
            Ok(status) => status.status,
            Err(error) => {
                // The end of the process or of the connection comes by another way.
                tracing::warn!(error = causes(&error), "asking for the run state");
                return;
            }
        };
        match observe(status, owned.asked, owned.user_paused) {
            Observation::End(reason) => end_qemu(owned, reason).await,
            // On its way to the end the phase stays.
            _ if owned.rundown.is_some() => {}
            Observation::Phase(phase) => self.enter(phase),
            Observation::NotRunYet
                if owned.user_paused || self.start.as_ref().is_some_and(|start| start.paused) =>
            {
                owned.user_paused = true;
                self.enter(Phase::Paused {
                    reason: "User".into(),
                });
            }
            // The former launcher was killed just before this.
            Observation::NotRunYet => match owned.machine.channels.qmp.execute(Cont {}).await {
                Ok(_) => self.enter(Phase::Running),
                Err(error) => tracing::error!(error = causes(&error), "starting the virtual CPUs"),
            },
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.publisher.update(|state| {
            if phase == Phase::Running && state.times.running.is_none() {
                state.times.running = Some(Timestamp::now());
            }
            state.phase = phase;
        });
    }

    /// Carries out what was accepted and answers.
    async fn carry_out(
        &mut self,
        owned: &mut Owned,
        action: Action,
        answer: oneshot::Sender<Answer>,
    ) {
        let qmp = owned.machine.channels.qmp.clone();
        let done = match action {
            Action::Shutdown { deadline } => {
                self.shut_down(owned, deadline).await;
                Ok(())
            }
            Action::Kill | Action::GiveUp => {
                self.publisher.update(|state| {
                    state.phase = Phase::ShuttingDown {
                        deadline: Timestamp::now(),
                    };
                    state
                        .times
                        .shutdown_requested
                        .get_or_insert_with(Timestamp::now);
                });
                end_qemu(owned, EndReason::Killed).await;
                Ok(())
            }
            Action::Pause => {
                owned.user_paused = true;
                let stopped = qmp.execute_within(Stop {}, limits::COMMAND).await;
                stopped.map(|_| {
                    self.enter(Phase::Paused {
                        reason: "User".into(),
                    });
                })
            }
            Action::Unpause => {
                owned.user_paused = false;
                let running = qmp.execute_within(Cont {}, limits::COMMAND).await;
                running.map(|_| self.enter(Phase::Running))
            }
            Action::Reset => qmp
                .execute_within(SystemReset {}, limits::COMMAND)
                .await
                .map(drop),
            Action::PressPowerButton => qmp
                .execute_within(SystemPowerdown {}, limits::COMMAND)
                .await
                .map(drop),
            Action::Console => return self.answer_console(answer),
            Action::Start(_) => Ok(()),
        };
        match done {
            Ok(()) => self.answer(answer),
            Err(error) => refuse(answer, RefusalReason::Failed, causes(&error)),
        }
    }

    async fn shut_down(&mut self, owned: &mut Owned, deadline: Timestamp) {
        match &mut owned.rundown {
            Some(rundown) => rundown.shorten(instant(deadline)),
            None => {
                owned.asked = true;
                owned.rundown = Some(Rundown::graceful(Instant::now(), instant(deadline)));
                if matches!(self.publisher.state().phase, Phase::Paused { .. }) {
                    // A guest that does not run cannot power off.
                    let resumed: Result<_, QmpError> = owned
                        .machine
                        .channels
                        .qmp
                        .execute_within(Cont {}, limits::COMMAND)
                        .await;
                    if let Err(error) = resumed {
                        tracing::warn!(
                            error = causes(&error),
                            "resuming the guest for its shutdown"
                        );
                    }
                }
            }
        }
        self.publisher.update(|state| {
            state.phase = Phase::ShuttingDown { deadline };
            state
                .times
                .shutdown_requested
                .get_or_insert_with(Timestamp::now);
        });
    }

    /// The monitor is closed: QEMU ends, or it is connected anew, or it cannot be ruled any more.
    async fn monitor_lost(&mut self, owned: &mut Owned) -> Option<Exit> {
        if let Ok(exit) = timeout(limits::MONITOR_LOST, owned.machine.process.exited()).await {
            return Some(exit.unwrap_or(Exit::Unknown));
        }
        let run = machine::RunDir::default();
        match monitor(&run, Instant::now() + limits::COMMAND, limits::COMMAND).await {
            Ok((qmp, events)) => {
                owned.machine.channels.qmp = qmp;
                owned.machine.channels.events = events;
                self.look(owned).await;
                None
            }
            Err(error) => {
                tracing::error!(
                    error = causes(&error),
                    "the monitor of QEMU is gone: killing it"
                );
                if let Err(error) = owned.machine.process.kill() {
                    tracing::error!(%error, "killing QEMU");
                }
                let (rundown, _) = Rundown::kill(Instant::now(), EndReason::QemuUnresponsive);
                owned.rundown = Some(rundown);
                Some(
                    owned
                        .machine
                        .process
                        .exited()
                        .await
                        .unwrap_or(Exit::Unknown),
                )
            }
        }
    }

    /// The process of QEMU is over.
    fn over(&mut self, owned: &Owned, exit: Exit) -> End {
        match owned.rundown.and_then(|rundown| rundown.reason()) {
            Some(reason) => self.publisher.end(reason, observe::words(reason).into()),
            None => {
                let reason = EndReason::QemuExited;
                let message = format!("{} with {exit}", observe::words(reason));
                let last_words = self.publisher.directory().qemu_last_words();
                self.publisher
                    .end(reason, with_last_words(message, &last_words))
            }
        }
    }
}

/// Tells QEMU to quit for `reason`, unless its end is decided already.
async fn end_qemu(owned: &mut Owned, reason: EndReason) {
    if owned.rundown.and_then(|rundown| rundown.reason()).is_some() {
        return;
    }
    let (rundown, step) = Rundown::quit(Instant::now(), reason);
    owned.rundown = Some(rundown);
    take_step(&owned.machine, step).await;
}

async fn take_step(machine: &Machine, step: Step) {
    let qmp = &machine.channels.qmp;
    let taken = match step {
        Step::PressPowerButton => qmp
            .execute_within(SystemPowerdown {}, limits::COMMAND)
            .await
            .map(drop),
        Step::Quit => qmp.execute_within(Quit {}, limits::COMMAND).await.map(drop),
        Step::Kill => {
            tracing::warn!(pid = machine.process.identity().pid, "killing QEMU");
            if let Err(error) = machine.process.kill() {
                tracing::error!(%error, "killing QEMU");
            }
            Ok(())
        }
    };
    if let Err(error) = taken {
        tracing::warn!(
            error = causes(&error),
            ?step,
            "a step to the end failed; the next will come"
        );
    }
}

/// The same moment on the clock that timers use.
fn instant(moment: Timestamp) -> Instant {
    let left = moment.duration_since(Timestamp::now());
    Instant::now() + std::time::Duration::try_from(left).unwrap_or_default()
}
