//! Where requests wait for their seats: [`Shares`] behind one lock, and a channel for each that waits.
//!
//! The lock is held for a few map operations, never across an await. A [`Place`] gives its seats back when it is
//! dropped; a request that is dropped while it waits leaves its queue, and one that was given seats in the same
//! moment gives them back.

use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::authz::User;
use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::rules::{Class, IN_PROCESS, Rules};
use super::schema::FlowSchema;
use super::shares::{Arrival, LevelLimits, LevelState, QueueLimits, Shares, Slot, Ticket};
use super::stats::Refusal;
use super::{level::Level, rules};
use crate::limits;
use crate::request::RequestInfo;

#[derive(Debug, Default)]
struct State {
    shares: Shares,
    waiters: std::collections::HashMap<Ticket, oneshot::Sender<()>>,
    /// Names of the levels by slot; `None` is free.
    slots: Vec<Option<String>>,
}

impl State {
    /// The slot of a level, a free one when it has none yet.
    fn slot(&mut self, name: &str) -> Slot {
        let named = |slot: &Option<String>| slot.as_deref() == Some(name);
        if let Some(slot) = self.slots.iter().position(named) {
            return slot;
        }
        let is_idle = |slot: Slot| self.shares.state(slot) == LevelState::default();
        let free = (0..self.slots.len())
            .find(|slot| self.slots.get(*slot).is_some_and(Option::is_none) && is_idle(*slot));
        let slot = free.unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        if let Some(at) = self.slots.get_mut(slot) {
            *at = Some(name.to_owned());
        }
        slot
    }

    /// Starts those who wait and may.
    fn dispatch(&mut self) {
        while let Some(started) = self.shares.next() {
            if let Some(waiter) = self.waiters.remove(&started.ticket) {
                // Whoever has gone since gives the seats back when it notices, see `Waiting`.
                let _ = waiter.send(());
            }
        }
    }
}

/// Callers in this process: few and trusted, so in one queue, with seats that nobody else may use.
const IN_PROCESS_LEVEL: LevelLimits = LevelLimits {
    exempt: false,
    nominal: limits::IN_PROCESS_SEATS,
    reserved: limits::IN_PROCESS_SEATS,
    max: limits::IN_PROCESS_SEATS,
    queue: Some(QueueLimits {
        per_flow: limits::MAX_QUEUED,
        total: limits::MAX_QUEUED,
    }),
    fair: false,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    rules: ArcSwap<Rules>,
    hasher: RandomState,
    /// Seats of all levels of clients.
    seats: u32,
}

/// Seats that a request holds until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    slot: Slot,
    flow: u64,
    seats: u32,
    since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let took = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut state = self.gate.lock();
        state.shares.finish(self.slot, self.flow, self.seats, took);
        state.dispatch();
    }
}

/// A request in a queue.
struct Waiting<'a> {
    gate: &'a Arc<Gate>,
    slot: Slot,
    flow: u64,
    seats: u32,
    ticket: Ticket,
    /// Whether it has become a [`Place`].
    seated: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.seated {
            return;
        }
        let mut state = self.gate.lock();
        if state.waiters.remove(&self.ticket).is_some() {
            state.shares.give_up(self.slot, self.flow, self.ticket);
        } else {
            state.shares.finish(self.slot, self.flow, self.seats, 0);
        }
        state.dispatch();
    }
}

impl Gate {
    /// A gate without configuration yet: callers in this process have their places, clients none.
    pub(crate) fn new(seats: u32) -> Arc<Self> {
        let gate = Gate {
            state: Mutex::default(),
            rules: ArcSwap::default(),
            hasher: RandomState::new(),
            seats,
        };
        {
            let mut state = gate.lock();
            state.slots.push(Some(String::new()));
            state.shares.configure(IN_PROCESS, IN_PROCESS_LEVEL);
        }
        Arc::new(gate)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes new rules. Levels that are gone keep what runs and waits in them; nothing new comes to them.
    pub(crate) fn configure(&self, mut schemas: Vec<FlowSchema>, levels: Vec<Level>) {
        let earlier = self.rules.load();
        for schema in &mut schemas {
            let same = earlier.schemas.iter().find(|(e, _)| e.name == schema.name);
            if let Some((same, _)) = same {
                schema.stats = Arc::clone(&same.stats);
            }
        }
        let mut state = self.lock();
        let named: Vec<&str> = levels.iter().map(|l| l.name.as_str()).collect();
        for slot in 1..state.slots.len() {
            let name = state.slots.get(slot).and_then(Option::as_deref);
            let is_gone = name.is_some_and(|name| !named.contains(&name));
            if is_gone {
                let drained = LevelLimits {
                    nominal: 0,
                    reserved: 0,
                    max: u32::MAX,
                    queue: None,
                    ..LevelLimits::default()
                };
                state.shares.configure(slot, drained);
                if let Some(at) = state.slots.get_mut(slot) {
                    *at = None;
                }
            }
        }
        let schemas = schemas.into_iter().map(Arc::new).collect();
        let rules = Rules::new(schemas, levels, self.seats, |name| state.slot(name));
        for target in &rules.targets {
            state.shares.configure(target.slot, target.limits);
        }
        state.dispatch();
        drop(state);
        self.rules.store(Arc::new(rules));
    }

    /// Where a request of a client belongs.
    pub(crate) fn classify(&self, info: &RequestInfo, user: &User) -> Option<Class> {
        self.rules.load().classify(info, user, &self.hasher)
    }

    /// Seats for a request of a client, as soon as it is its turn.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        class: &Class,
        width: u32,
    ) -> Result<Place, Refusal> {
        let seats = width.clamp(1, class.widest);
        let began = Instant::now();
        let place = self.wait(class.slot, class.flow, seats).await;
        match &place {
            Ok(_) => class.schema.stats.start(began.elapsed()),
            Err(why) => class.schema.stats.refuse(*why),
        }
        place
    }

    /// A seat for a caller in this process.
    pub(crate) async fn enter_in_process(self: &Arc<Self>) -> Result<Place, Refusal> {
        self.wait(IN_PROCESS, 0, 1).await
    }

    async fn wait(self: &Arc<Self>, slot: Slot, flow: u64, seats: u32) -> Result<Place, Refusal> {
        let (ticket, seated) = {
            let mut state = self.lock();
            match state.shares.arrive(slot, flow, seats) {
                Arrival::Start => (None, None),
                Arrival::Wait(ticket) => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiters.insert(ticket, sender);
                    // Those before it may wait for what does not concern it.
                    state.dispatch();
                    (Some(ticket), Some(receiver))
                }
                Arrival::Refuse => {
                    drop(state);
                    return Err(self.reason(slot));
                }
            }
        };
        if let (Some(ticket), Some(seated)) = (ticket, seated) {
            let mut waiting = Waiting {
                gate: self,
                slot,
                flow,
                seats,
                ticket,
                seated: false,
            };
            match tokio::time::timeout(limits::QUEUE_WAIT, seated).await {
                Ok(Ok(())) => waiting.seated = true,
                _ => return Err(Refusal::TimeOut),
            }
        }
        Ok(Place {
            gate: Arc::clone(self),
            slot,
            flow,
            seats,
            since: Instant::now(),
        })
    }

    fn reason(&self, slot: Slot) -> Refusal {
        let rules = self.rules.load();
        let target = rules.targets.iter().find(|t| t.slot == slot);
        match target {
            Some(target) if target.limits.queue.is_none() => Refusal::ConcurrencyLimit,
            _ => Refusal::QueueFull,
        }
    }

    /// The rules of this moment, for metrics.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// What callers in this process may use, for metrics.
    pub(crate) fn in_process_limits(&self) -> LevelLimits {
        IN_PROCESS_LEVEL
    }

    /// What the level in a slot does at present.
    pub(crate) fn level_state(&self, slot: Slot) -> LevelState {
        self.lock().shares.state(slot)
    }
}

/// How long a refused client is asked to stay away.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Class {
    /// Seats of a request of this class.
    pub(crate) fn width(info: &RequestInfo, stored: u64) -> u32 {
        rules::width(info, stored)
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
