//! The way to the end: the power button, politely again and again, then `quit`, then SIGKILL. Pure; time is given.
//!
//! ```text
//!  Graceful ──deadline──> Quitting ──limits::QUIT──> Killing (again and again)
//!     └ button now and every limits::PRESS_AGAIN
//! ```

use launcher_api::EndReason;
use tokio::time::Instant;

use crate::limits;

/// Where a machine is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rundown {
    /// The guest was asked.
    Graceful { press: Instant, deadline: Instant },
    /// QEMU was told to quit.
    Quitting { reason: EndReason, kill: Instant },
    /// QEMU is being killed.
    Killing { reason: EndReason, again: Instant },
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    PressPowerButton,
    Quit,
    Kill,
}

impl Rundown {
    /// Asks the guest.
    pub(crate) fn graceful(now: Instant, deadline: Instant) -> Self {
        Self::Graceful {
            press: now,
            deadline,
        }
    }

    /// Ends QEMU; the first step is due at once.
    pub(crate) fn quit(now: Instant, reason: EndReason) -> (Self, Step) {
        (
            Self::Quitting {
                reason,
                kill: now + limits::QUIT,
            },
            Step::Quit,
        )
    }

    /// Ends QEMU without asking it.
    pub(crate) fn kill(now: Instant, reason: EndReason) -> (Self, Step) {
        (
            Self::Killing {
                reason,
                again: now + limits::KILL_AGAIN,
            },
            Step::Kill,
        )
    }

    /// When to call [`Rundown::advance`] next.
    pub(crate) fn due(&self) -> Instant {
        match self {
            Self::Graceful { press, deadline } => (*press).min(*deadline),
            Self::Quitting { kill, .. } => *kill,
            Self::Killing { again, .. } => *again,
        }
    }

    /// Takes the step that is due, if one is.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<Step> {
        if now < self.due() {
            return None;
        }
        let (next, step) = match *self {
            Self::Graceful { deadline, .. } if now >= deadline => {
                Self::quit(now, EndReason::GraceExpired)
            }
            Self::Graceful { deadline, .. } => (
                Self::Graceful {
                    press: now + limits::PRESS_AGAIN,
                    deadline,
                },
                Step::PressPowerButton,
            ),
            Self::Quitting { reason, .. } | Self::Killing { reason, .. } => Self::kill(now, reason),
        };
        *self = next;
        Some(step)
    }

    /// Brings the deadline forward.
    pub(crate) fn shorten(&mut self, sooner: Instant) {
        if let Self::Graceful { deadline, .. } = self {
            *deadline = sooner.min(*deadline);
        }
    }

    /// Why the machine ends, once that is decided.
    pub(crate) fn reason(&self) -> Option<EndReason> {
        match self {
            Self::Graceful { .. } => None,
            Self::Quitting { reason, .. } | Self::Killing { reason, .. } => Some(*reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_deaf_guest_is_asked_again_then_ended() {
        let start = Instant::now();
        let mut rundown = Rundown::graceful(start, start + Duration::from_secs(7));
        let mut steps = Vec::new();
        for _ in 0..6 {
            let now = rundown.due();
            steps.push(((now - start).as_secs(), rundown.advance(now).unwrap()));
        }
        use Step::{Kill, PressPowerButton as Press, Quit};
        assert_eq!(
            steps,
            [
                (0, Press),
                (3, Press),
                (6, Press),
                (7, Quit),
                (17, Kill),
                (22, Kill)
            ]
        );
        assert_eq!(rundown.reason(), Some(EndReason::GraceExpired));
    }

    #[test]
    fn no_grace_is_no_question() {
        let now = Instant::now();
        assert_eq!(Rundown::graceful(now, now).advance(now), Some(Step::Quit));
    }

    proptest! {
        #[test]
        fn whenever_it_is_called_it_comes_to_an_end(grace in 0_u64..100, waits in prop::collection::vec(0_u64..30, 60)) {
            let start = Instant::now();
            let mut rundown = Rundown::graceful(start, start + Duration::from_secs(grace));
            let mut now = start;
            for wait in waits {
                now = now.max(rundown.due()) + Duration::from_secs(wait);
                prop_assert!(rundown.advance(now).is_some());
                prop_assert!(rundown.due() > now);
            }
            prop_assert_eq!(rundown.reason(), Some(EndReason::GraceExpired));
        }
    }
}
