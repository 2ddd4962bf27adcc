//! Who may start next: seats, priority levels, flows and their queues, as plain bookkeeping.
//!
//! ```text
//! arrive ─► level exempt ────────────────────────────────────────► Start
//!        ─► nobody waits in the level, and the rules below hold ─► Start
//!        ─► room in the flow's queue ────────────────────────────► Wait(ticket) ─► next() ─► starts
//!        ─► none ────────────────────────────────────────────────► Refuse
//! finish, give_up ─► next() until it has nobody more to start
//! ```
//!
//! Three rules decide whether a request of `w` seats may start:
//!
//! 1. *Levels.* `used + w <= max` of its level, and all levels together, each counted with at least what is
//!    reserved for it, stay within the total. So what a level reserves is there for it at once, and what it lends
//!    is used by others while it is idle.
//! 2. *Flows.* A flow that holds seats takes a further one only while [`FLOW_SHARE`] times the seats that stay
//!    free are at least what it then holds (the dynamic threshold of Choudhury and Hahne for shared buffers). Seats
//!    cannot be taken back from a request that runs, however slow it is; so a greedy flow must leave some free.
//!    One flow alone gets two thirds, `n` greedy ones together `2n/(2n+1)`.
//! 3. *Turns.* Of the flows that wait, the one that has had the least seat-time goes first (start-time fair
//!    queueing; the time is estimated when a request starts and corrected when it ends). Of the levels, the one
//!    that uses the smallest part of its nominal seats goes first, so that borrowed seats return.
//!
//! The clock is the caller's: all times are microseconds that a request held its seats.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::limits;

/// How many times the seats left free one flow may hold. See rule 2.
pub(crate) const FLOW_SHARE: u32 = 2;

/// What a request is taken to need before it has ended, in microseconds.
const ESTIMATE: u64 = 3_000;

/// A request that waits.
pub(crate) type Ticket = u64;

/// Index of a priority level.
pub(crate) type Slot = usize;

/// How many requests may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    /// Of one flow.
    pub per_flow: usize,
    /// Of the level.
    pub total: usize,
}

/// What a priority level may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LevelLimits {
    /// Its requests never wait and are not counted against others.
    pub exempt: bool,
    /// Seats of its own.
    pub nominal: u32,
    /// Those of them that no other level may use.
    pub reserved: u32,
    /// Seats with all that it may borrow.
    pub max: u32,
    /// `None`: what cannot start at once is refused.
    pub queue: Option<QueueLimits>,
    /// Whether rule 2 holds for its flows.
    pub fair: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It has its seats.
    Start,
    /// [`Shares::next`] will tell.
    Wait(Ticket),
    /// Its queue is full.
    Refuse,
}

/// A request that waited and has its seats now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    pub ticket: Ticket,
    pub slot: Slot,
    pub flow: u64,
    pub seats: u32,
}

#[derive(Debug, Default)]
struct Flow {
    /// Seats that it holds.
    used: u32,
    /// Seat-microseconds that it was served, on its level's clock.
    served: u64,
    waiting: VecDeque<(Ticket, u32)>,
}

/// What a level does at present, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LevelState {
    pub used: u32,
    pub requests: u32,
    pub waiting: usize,
}

#[derive(Debug, Default)]
struct Level {
    limits: LevelLimits,
    state: LevelState,
    /// The virtual clock: what the flow that was served last had been served.
    clock: u64,
    /// Flows that hold seats or wait.
    flows: HashMap<u64, Flow>,
    /// Flows that wait, by what they were served.
    turns: BTreeSet<(u64, u64)>,
}

impl Level {
    fn counted(&self, used: u32) -> u32 {
        if self.limits.exempt {
            0
        } else {
            used.max(self.limits.reserved)
        }
    }

    /// Gives seats to a flow.
    fn start(&mut self, flow: u64, seats: u32) {
        self.state.used += seats;
        self.state.requests += 1;
        let clock = self.clock;
        let entry = self.flows.entry(flow).or_insert_with(|| Flow {
            served: clock,
            ..Flow::default()
        });
        self.clock = clock.max(entry.served);
        entry.used += seats;
        entry.served = entry.served.saturating_add(ESTIMATE * u64::from(seats));
    }

    fn forget_idle(&mut self, flow: u64) {
        if self
            .flows
            .get(&flow)
            .is_some_and(|f| f.used == 0 && f.waiting.is_empty())
        {
            self.flows.remove(&flow);
        }
    }
}

/// The state of all levels.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    levels: Vec<Level>,
    total: u32,
    /// The sum of what is in use or reserved.
    committed: u32,
    waiting: usize,
    tickets: Ticket,
}

impl Shares {
    /// Sets the limits of the level in a slot, new or old. What runs goes on; the new limits hold for what starts.
    pub(crate) fn configure(&mut self, slot: Slot, level: LevelLimits) {
        if self.levels.len() <= slot {
            self.levels.resize_with(slot + 1, Level::default);
        }
        if let Some(at) = self.levels.get_mut(slot) {
            at.limits = level;
        }
        let of_clients = self.levels.iter().filter(|l| !l.limits.exempt);
        self.total = of_clients.map(|l| l.limits.nominal).sum();
        self.committed = self.levels.iter().map(|l| l.counted(l.state.used)).sum();
    }

    /// What the level in a slot does at present.
    pub(crate) fn state(&self, slot: Slot) -> LevelState {
        self.levels.get(slot).map(|l| l.state).unwrap_or_default()
    }

    /// Seats that a level could still take.
    fn free(&self, level: &Level) -> u32 {
        let own = level.limits.max.saturating_sub(level.state.used);
        let unused_reserve = level.limits.reserved.saturating_sub(level.state.used);
        own.min(self.total.saturating_sub(self.committed) + unused_reserve)
    }

    /// Rules 1 and 2. `held` is what the flow holds.
    fn fits(&self, level: &Level, held: u32, seats: u32) -> bool {
        let limits = &level.limits;
        if limits.exempt {
            return true;
        }
        let free = self.free(level);
        seats <= free && (held == 0 || !limits.fair || held + seats <= FLOW_SHARE * (free - seats))
    }

    fn seat(&mut self, slot: Slot, flow: u64, seats: u32) {
        let Some(level) = self.levels.get_mut(slot) else {
            return;
        };
        let before = level.counted(level.state.used);
        level.start(flow, seats);
        self.committed = self.committed - before + level.counted(level.state.used);
    }

    /// A request comes. After [`Arrival::Wait`], ask [`Self::next`].
    pub(crate) fn arrive(&mut self, slot: Slot, flow: u64, seats: u32) -> Arrival {
        let Some(level) = self.levels.get(slot) else {
            return Arrival::Refuse;
        };
        let entry = level.flows.get(&flow);
        let held = entry.map_or(0, |f| f.used);
        // Whoever comes does not pass those who wait, unless those wait for rule 2 only: `next` knows.
        if level.turns.is_empty() && self.fits(level, held, seats) {
            self.seat(slot, flow, seats);
            return Arrival::Start;
        }
        let Some(queue) = level.limits.queue else {
            return Arrival::Refuse;
        };
        let queued = entry.map_or(0, |f| f.waiting.len());
        if queued >= queue.per_flow
            || level.state.waiting >= queue.total
            || self.waiting >= limits::MAX_QUEUED
        {
            return Arrival::Refuse;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        if let Some(level) = self.levels.get_mut(slot) {
            let clock = level.clock;
            let entry = level.flows.entry(flow).or_insert_with(|| Flow {
                served: clock,
                ..Flow::default()
            });
            entry.waiting.push_back((ticket, seats));
            level.turns.insert((entry.served, flow));
            level.state.waiting += 1;
            self.waiting += 1;
        }
        Arrival::Wait(ticket)
    }

    /// Starts one of those who wait, if one may.
    pub(crate) fn next(&mut self) -> Option<Started> {
        if self.waiting == 0 {
            return None;
        }
        let mut best: Option<(Slot, u64, u32)> = None;
        for (slot, level) in self.levels.iter().enumerate() {
            // Cross-multiplied fractions: used / nominal, the smaller first.
            let is_better = |than: Slot| {
                self.levels.get(than).is_none_or(|other| {
                    let of = |a: &Level, b: &Level| {
                        u64::from(a.state.used) * u64::from(b.limits.nominal.max(1))
                    };
                    of(level, other) < of(other, level)
                })
            };
            if best.is_some_and(|(than, ..)| !is_better(than)) {
                continue;
            }
            if let Some((flow, seats)) = self.turn(level) {
                best = Some((slot, flow, seats));
            }
        }
        let (slot, flow, seats) = best?;
        let ticket = self.leave_queue(slot, flow, None)?;
        self.seat(slot, flow, seats);
        // Its turn moves back by what it was just given.
        if let Some(level) = self.levels.get_mut(slot)
            && let Some(entry) = level.flows.get(&flow)
            && !entry.waiting.is_empty()
        {
            level.turns.insert((entry.served, flow));
        }
        Some(Started {
            ticket,
            slot,
            flow,
            seats,
        })
    }

    /// The flow whose turn it is in a level. One that must not have more yet (rule 2) is passed; one that needs more
    /// seats than are free is waited for, else small requests would keep a wide one out for ever.
    fn turn(&self, level: &Level) -> Option<(u64, u32)> {
        for (_, flow) in &level.turns {
            let entry = level.flows.get(flow)?;
            let (_, seats) = *entry.waiting.front()?;
            if self.fits(level, entry.used, seats) {
                return Some((*flow, seats));
            }
            if seats > self.free(level) {
                return None;
            }
        }
        None
    }

    /// Takes a ticket (the first, when none is named) out of a flow's queue. The flow's turn is left out when it was
    /// the last, and when none was named.
    fn leave_queue(&mut self, slot: Slot, flow: u64, ticket: Option<Ticket>) -> Option<Ticket> {
        let level = self.levels.get_mut(slot)?;
        let entry = level.flows.get_mut(&flow)?;
        let index = match ticket {
            Some(ticket) => entry.waiting.iter().position(|(t, _)| *t == ticket)?,
            None => 0,
        };
        let (found, _) = entry.waiting.remove(index)?;
        if entry.waiting.is_empty() || ticket.is_none() {
            level.turns.remove(&(entry.served, flow));
        }
        level.state.waiting -= 1;
        self.waiting -= 1;
        Some(found)
    }

    /// A request that waits goes away.
    pub(crate) fn give_up(&mut self, slot: Slot, flow: u64, ticket: Ticket) {
        self.leave_queue(slot, flow, Some(ticket));
        if let Some(level) = self.levels.get_mut(slot) {
            level.forget_idle(flow);
        }
    }

    /// A request that started has ended, after `took` microseconds.
    pub(crate) fn finish(&mut self, slot: Slot, flow: u64, seats: u32, took: u64) {
        let Some(level) = self.levels.get_mut(slot) else {
            return;
        };
        let before = level.counted(level.state.used);
        level.state.used = level.state.used.saturating_sub(seats);
        level.state.requests = level.state.requests.saturating_sub(1);
        self.committed = self.committed - before + level.counted(level.state.used);
        if let Some(entry) = level.flows.get_mut(&flow) {
            let turned = level.turns.remove(&(entry.served, flow));
            entry.used = entry.used.saturating_sub(seats);
            let seats = u64::from(seats);
            entry.served = entry
                .served
                .saturating_add(took.saturating_mul(seats))
                .saturating_sub(ESTIMATE * seats);
            if turned {
                level.turns.insert((entry.served, flow));
            }
        }
        level.forget_idle(flow);
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
