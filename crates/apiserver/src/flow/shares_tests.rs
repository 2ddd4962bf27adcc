//! What holds whatever comes in whatever order.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn level(nominal: u32, reserved: u32, max: u32) -> LevelLimits {
    LevelLimits {
        exempt: false,
        nominal,
        reserved,
        max,
        queue: Some(QueueLimits {
            per_flow: 50,
            total: 500,
        }),
        fair: true,
    }
}

/// Shares with a record of what runs and waits.
#[derive(Default)]
struct World {
    shares: Shares,
    running: Vec<(Slot, u64, u32)>,
    waiting: HashMap<Ticket, (Slot, u64)>,
    refused: usize,
}

impl World {
    fn new(levels: &[LevelLimits]) -> Self {
        let mut world = World::default();
        for (slot, limits) in levels.iter().enumerate() {
            world.shares.configure(slot, *limits);
        }
        world
    }

    fn drain(&mut self) -> Vec<Started> {
        let mut all = Vec::new();
        while let Some(started) = self.shares.next() {
            assert_eq!(
                self.waiting.remove(&started.ticket),
                Some((started.slot, started.flow))
            );
            self.running
                .push((started.slot, started.flow, started.seats));
            all.push(started);
        }
        all
    }

    fn arrive(&mut self, slot: Slot, flow: u64, seats: u32) -> Arrival {
        let arrival = self.shares.arrive(slot, flow, seats);
        match arrival {
            Arrival::Start => self.running.push((slot, flow, seats)),
            Arrival::Wait(ticket) => {
                self.waiting.insert(ticket, (slot, flow));
            }
            Arrival::Refuse => self.refused += 1,
        }
        self.drain();
        arrival
    }

    fn finish(&mut self, index: usize, took: u64) {
        let (slot, flow, seats) = self.running.remove(index);
        self.shares.finish(slot, flow, seats, took);
        self.drain();
    }

    fn used(&self, slot: Slot) -> u32 {
        let of_slot = self.running.iter().filter(|(s, ..)| *s == slot);
        of_slot.map(|(.., seats)| seats).sum()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(Slot, u64, u32),
    Finish(usize, u64),
    GiveUp(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize, 0..6_u64, 1..4_u32).prop_map(|(l, f, s)| Step::Arrive(l, f, s)),
        3 => (any::<usize>(), 0..20_000_u64).prop_map(|(i, t)| Step::Finish(i, t)),
        1 => any::<usize>().prop_map(Step::GiveUp),
    ];
    proptest::collection::vec(step, 1..400)
}

const LEVELS: [LevelLimits; 3] = [
    LevelLimits {
        exempt: false,
        nominal: 8,
        reserved: 4,
        max: 20,
        queue: Some(QueueLimits {
            per_flow: 50,
            total: 500,
        }),
        fair: true,
    },
    LevelLimits {
        exempt: false,
        nominal: 6,
        reserved: 6,
        max: 6,
        queue: Some(QueueLimits {
            per_flow: 50,
            total: 500,
        }),
        fair: false,
    },
    LevelLimits {
        exempt: false,
        nominal: 6,
        reserved: 3,
        max: 12,
        queue: Some(QueueLimits {
            per_flow: 50,
            total: 500,
        }),
        fair: true,
    },
];

fn run(steps: Vec<Step>, mut check: impl FnMut(&World)) -> World {
    let mut world = World::new(&LEVELS);
    for step in steps {
        match step {
            Step::Arrive(slot, flow, seats) => {
                world.arrive(slot, flow, seats);
            }
            Step::Finish(index, took) if !world.running.is_empty() => {
                world.finish(index % world.running.len(), took);
            }
            Step::GiveUp(index) if !world.waiting.is_empty() => {
                let mut tickets: Vec<Ticket> = world.waiting.keys().copied().collect();
                tickets.sort_unstable();
                let ticket = tickets[index % tickets.len()];
                let (slot, flow) = world.waiting.remove(&ticket).unwrap();
                world.shares.give_up(slot, flow, ticket);
                world.drain();
            }
            _ => {}
        }
        check(&world);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn bounds_hold(steps in steps()) {
        run(steps, |world| {
            let mut committed = 0;
            for (slot, limits) in LEVELS.iter().enumerate() {
                let used = world.used(slot);
                assert_eq!(used, world.shares.state(slot).used);
                assert!(used <= limits.max, "level {slot} uses {used}");
                committed += used.max(limits.reserved);
                let waits = world.waiting.values().filter(|(s, _)| *s == slot).count();
                assert_eq!(waits, world.shares.state(slot).waiting);
            }
            assert!(committed <= 20, "{committed} seats of 20 are promised or in use");
        });
    }

    #[test]
    fn a_reserved_seat_is_there_at_once_for_a_flow_that_holds_none(steps in steps()) {
        run(steps, |world| {
            for (slot, flow) in world.waiting.values() {
                let holds = world.running.iter().any(|(s, f, _)| s == slot && f == flow);
                // The widest request has three seats.
                let spare = LEVELS[*slot].reserved.saturating_sub(world.used(*slot));
                assert!(holds || spare < 3, "flow {flow} of level {slot} waits beside {spare} seats");
            }
        });
    }

    #[test]
    fn everyone_who_waits_starts_some_day(steps in steps()) {
        let mut world = run(steps, |_| {});
        let mut rounds = 0;
        while !world.waiting.is_empty() {
            assert!(!world.running.is_empty(), "{} wait for nothing", world.waiting.len());
            world.finish(0, 1_000);
            rounds += 1;
            assert!(rounds < 10_000);
        }
        while !world.running.is_empty() {
            world.finish(0, 1_000);
        }
        // Nothing is left behind.
        for level in &world.shares.levels {
            assert!(level.flows.is_empty() && level.turns.is_empty());
            assert_eq!(level.state, LevelState::default());
        }
    }

    #[test]
    fn a_greedy_flow_gets_its_share_and_no_more(greedy in 2..40_usize, modest in 1..8_usize, took in 500..50_000_u64) {
        // Both always have more to ask; the greedy one many times as much.
        let mut world = World::new(&[level(8, 8, 8)]);
        let mut done = HashMap::from([(1_u64, 0_u64), (2, 0)]);
        for _ in 0..greedy {
            world.arrive(0, 1, 1);
        }
        for _ in 0..modest {
            world.arrive(0, 2, 1);
        }
        for _ in 0..400 {
            let (_, flow, _) = world.running[0];
            *done.get_mut(&flow).unwrap() += 1;
            // The next request of the same client comes when this one is answered.
            world.finish(0, took);
            world.arrive(0, flow, 1);
        }
        let held_by_modest = modest.min(2) as u64;
        let fair = 400 * held_by_modest / 8;
        assert!(done[&2] * 10 >= fair * 9, "{done:?}, fair are {fair}");
    }
}

#[test]
fn a_greedy_flow_leaves_seats_that_nobody_can_take_back_from_it() {
    let mut world = World::new(&[level(30, 30, 30)]);
    for _ in 0..100 {
        world.arrive(0, 1, 1);
    }
    assert_eq!((world.used(0), world.refused), (20, 30));
    // Whoever comes later does not wait at all, though the first never ends one of its requests.
    assert_eq!(world.shares.arrive(0, 2, 1), Arrival::Wait(51));
    assert_eq!(world.shares.next().map(|s| s.flow), Some(2));
}

#[test]
fn idle_seats_are_lent_and_come_back_first() {
    let mut world = World::new(&[level(10, 2, 20), level(10, 2, 20)]);
    for flow in 0..30 {
        world.arrive(0, flow, 1);
    }
    assert_eq!(world.used(0), 18, "all but what the other has reserved");
    for flow in 0..30 {
        world.arrive(1, flow, 1);
    }
    assert_eq!(world.used(1), 2);
    for _ in 0..8 {
        let index = world.running.iter().position(|(s, ..)| *s == 0).unwrap();
        world.finish(index, 1_000);
    }
    assert_eq!((world.used(0), world.used(1)), (10, 10));
}

#[test]
fn a_wide_request_is_not_passed_for_ever() {
    let mut world = World::new(&[level(4, 4, 4)]);
    for flow in 0..4 {
        assert_eq!(world.arrive(0, flow, 1), Arrival::Start);
    }
    let Arrival::Wait(wide) = world.arrive(0, 9, 4) else {
        panic!("it needs every seat")
    };
    for flow in 10..14 {
        world.arrive(0, flow, 1);
    }
    for _ in 0..4 {
        assert!(world.waiting.contains_key(&wide));
        world.finish(0, 1_000);
    }
    assert!(!world.waiting.contains_key(&wide));
}

#[test]
fn exempt_levels_never_wait_and_cost_the_others_nothing() {
    let exempt = LevelLimits {
        exempt: true,
        ..LevelLimits::default()
    };
    let mut world = World::new(&[exempt, level(4, 4, 4)]);
    for _ in 0..1_000 {
        assert_eq!(world.arrive(0, 1, 5), Arrival::Start);
    }
    assert_eq!(world.arrive(1, 1, 4), Arrival::Start);
    let mut refusing = level(4, 4, 4);
    refusing.queue = None;
    world.shares.configure(1, refusing);
    assert_eq!(world.arrive(1, 2, 1), Arrival::Refuse);
}
