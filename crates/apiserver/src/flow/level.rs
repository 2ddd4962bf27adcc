//! A PriorityLevelConfiguration, and how many seats the levels of one server have. Pure.
//!
//! The rules are those of Kubernetes' API Priority and Fairness: each limited level gets its part of the server's seats
//! by its shares, of which it lends `lendablePercent` and to which it may borrow `borrowingLimitPercent`.

use serde_json::Value;

use super::shares::{LevelLimits, QueueLimits};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub name: String,
    pub uid: String,
    pub exempt: bool,
    pub shares: u64,
    /// Percent of its seats that others may use while they are idle.
    pub lendable: u64,
    /// Percent of its seats that it may have beside them; `None` is no bound.
    pub borrowing: Option<u64>,
    pub queue: Option<QueueLimits>,
}

impl Level {
    /// Reads an object; `None` when it is none that was validated.
    pub(crate) fn parse(object: &Value) -> Option<Self> {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str);
        let number = |at: &str| object.pointer(at).and_then(Value::as_u64);
        let exempt = text("/spec/type")? == "Exempt";
        let part = if exempt {
            "/spec/exempt"
        } else {
            "/spec/limited"
        };
        let of = |field: &str| number(&format!("{part}/{field}"));
        let queuing = |field: &str, default: u64| {
            let at = format!("/spec/limited/limitResponse/queuing/{field}");
            usize::try_from(number(&at).unwrap_or(default)).unwrap_or(usize::MAX)
        };
        let queues = text("/spec/limited/limitResponse/type") == Some("Queue");
        // A flow of Kubernetes is dealt a hand of the level's queues. Here each flow has a queue of its own, as long
        // as the hand; all together hold what the level's queues would.
        let queue = queues.then(|| {
            let length = queuing("queueLengthLimit", 50);
            QueueLimits {
                per_flow: queuing("handSize", 8).saturating_mul(length),
                total: queuing("queues", 64).saturating_mul(length),
            }
        });
        Some(Level {
            name: text("/metadata/name")?.to_owned(),
            uid: text("/metadata/uid").unwrap_or_default().to_owned(),
            exempt,
            shares: of("nominalConcurrencyShares").unwrap_or(if exempt { 0 } else { 30 }),
            lendable: of("lendablePercent").unwrap_or(0).min(100),
            borrowing: of("borrowingLimitPercent"),
            queue,
        })
    }

    /// What this level may use of `seats`, when all levels have `all` shares.
    pub(crate) fn limits(&self, seats: u32, all: u64) -> LevelLimits {
        let whole = u64::from(seats);
        let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        // A level without shares has one seat all the same: its requests are answered one by one. An exempt one needs
        // none.
        let nominal = match self.exempt {
            true => 0,
            false => clamp((whole * self.shares).div_ceil(all.max(1))).max(1),
        };
        let percent = |p: u64| (u64::from(nominal) * p).div_ceil(100);
        let lent = u32::try_from(percent(self.lendable)).unwrap_or(nominal);
        LevelLimits {
            exempt: self.exempt,
            nominal,
            reserved: nominal.saturating_sub(lent),
            max: self
                .borrowing
                .map_or(u32::MAX, |p| nominal.saturating_add(clamp(percent(p)))),
            queue: self.queue,
            fair: true,
        }
    }
}
