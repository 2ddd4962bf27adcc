//! What may be asked when. Pure.
//!
//! | | Idle | Starting | Running | Paused | ShuttingDown | Ended |
//! |---|---|---|---|---|---|---|
//! | Start | start | same: nothing | same: nothing | same: nothing | refused | refused |
//! | Shutdown | end | end | shut down | shut down | sooner: shorten | nothing |
//! | Kill | end | end | kill | kill | kill | nothing |
//! | Pause | refused | refused | pause | nothing | refused | refused |
//! | Unpause | refused | refused | nothing | unpause | refused | refused |
//! | Reset | refused | refused | reset | reset | refused | refused |
//! | PowerButton | refused | refused | press | refused | nothing | refused |
//! | Console | refused | refused | open | open | open | refused |

use std::time::Duration;

use jiff::Timestamp;
use launcher_api::{Phase, Refusal, RefusalReason, Request, Start};

/// What to do about a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Carry this out, then answer.
    Do(Action),
    /// It is so already: answer.
    Nothing,
    /// Say no.
    Refuse(Refusal),
}

/// What a request leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Start(Box<Start>),
    /// End a launcher whose machine does not run yet.
    GiveUp,
    Shutdown {
        deadline: Timestamp,
    },
    Kill,
    Pause,
    Unpause,
    Reset,
    PressPowerButton,
    Console,
}

/// Decides on a request in a phase. `started` is what the machine was started with, if it was.
pub(crate) fn decide(
    phase: &Phase,
    started: Option<&Start>,
    request: Request,
    now: Timestamp,
) -> Verdict {
    match request {
        Request::State | Request::Watch => Verdict::Nothing,
        Request::Start(start) => decide_start(phase, started, start),
        Request::Shutdown { grace_seconds } => decide_shutdown(phase, grace_seconds, now),
        Request::Kill => match phase {
            Phase::Ended { .. } => Verdict::Nothing,
            Phase::Idle | Phase::Starting => Verdict::Do(Action::GiveUp),
            _ => Verdict::Do(Action::Kill),
        },
        Request::Pause => match phase {
            Phase::Running => Verdict::Do(Action::Pause),
            Phase::Paused { .. } => Verdict::Nothing,
            _ => not_allowed(phase, "paused"),
        },
        Request::Unpause => match phase {
            Phase::Paused { .. } => Verdict::Do(Action::Unpause),
            Phase::Running => Verdict::Nothing,
            _ => not_allowed(phase, "unpaused"),
        },
        Request::Reset => match phase {
            Phase::Running | Phase::Paused { .. } => Verdict::Do(Action::Reset),
            _ => not_allowed(phase, "reset"),
        },
        Request::PowerButton => match phase {
            Phase::Running => Verdict::Do(Action::PressPowerButton),
            Phase::ShuttingDown { .. } => Verdict::Nothing,
            _ => not_allowed(phase, "asked to power off"),
        },
        Request::Console => match phase {
            Phase::Running | Phase::Paused { .. } | Phase::ShuttingDown { .. } => {
                Verdict::Do(Action::Console)
            }
            _ => not_allowed(phase, "given a console"),
        },
    }
}

fn decide_start(phase: &Phase, started: Option<&Start>, start: Box<Start>) -> Verdict {
    if start.grace_seconds > launcher_api::limits::GRACE_SECONDS {
        return grace_too_long(start.grace_seconds);
    }
    match (phase, started) {
        (Phase::Idle, None) => Verdict::Do(Action::Start(start)),
        (Phase::Starting | Phase::Running | Phase::Paused { .. }, Some(started))
            if *started == *start =>
        {
            Verdict::Nothing
        }
        (_, Some(started)) if started.machine.uid != start.machine.uid => refuse(
            RefusalReason::NotAllowed,
            format!(
                "this launcher runs the machine {}, it cannot start {}",
                started.machine.name, start.machine.name
            ),
        ),
        (Phase::Starting | Phase::Running | Phase::Paused { .. }, Some(_)) => refuse(
            RefusalReason::NotAllowed,
            "the machine runs with other properties; they take effect when it is started anew"
                .into(),
        ),
        _ => not_allowed(phase, "started"),
    }
}

fn decide_shutdown(phase: &Phase, grace_seconds: u32, now: Timestamp) -> Verdict {
    if grace_seconds > launcher_api::limits::GRACE_SECONDS {
        return grace_too_long(grace_seconds);
    }
    let asked = now
        .saturating_add(Duration::from_secs(grace_seconds.into()))
        .unwrap_or(Timestamp::MAX);
    match phase {
        Phase::Idle | Phase::Starting => Verdict::Do(Action::GiveUp),
        Phase::Running | Phase::Paused { .. } => Verdict::Do(Action::Shutdown { deadline: asked }),
        Phase::ShuttingDown { deadline } if asked < *deadline => {
            Verdict::Do(Action::Shutdown { deadline: asked })
        }
        Phase::ShuttingDown { .. } | Phase::Ended { .. } => Verdict::Nothing,
    }
}

fn not_allowed(phase: &Phase, what: &str) -> Verdict {
    refuse(
        RefusalReason::NotAllowed,
        format!("a machine in phase {} cannot be {what}", phase.name()),
    )
}

fn grace_too_long(seconds: u32) -> Verdict {
    let limit = launcher_api::limits::GRACE_SECONDS;
    refuse(
        RefusalReason::Invalid,
        format!("graceSeconds is {seconds}, at most {limit} are possible"),
    )
}

fn refuse(reason: RefusalReason, message: String) -> Verdict {
    Verdict::Refuse(Refusal { reason, message })
}

#[cfg(test)]
mod tests;
