use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
use VmiPhase::{Failed, Pending, Running, Succeeded};
use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn instance(phase: VmiPhase) -> Option<InstanceView> {
    Some(InstanceView {
        uid: "a".into(),
        phase,
        deleting: false,
        running_since: None,
        ended_at: phase.is_final().then(|| at(0)),
    })
}

fn start() -> StateChangeRequest {
    StateChangeRequest {
        action: StateChangeAction::Start,
        uid: None,
    }
}

fn stop(uid: &str) -> StateChangeRequest {
    StateChangeRequest {
        action: StateChangeAction::Stop,
        uid: Some(uid.into()),
    }
}

fn situation<'a>(
    strategy: RunStrategy,
    instance: Option<InstanceView>,
    requests: &'a [StateChangeRequest],
) -> Situation<'a> {
    Situation {
        strategy,
        deleting: false,
        instance,
        requests,
        failure: None,
        now: at(0),
    }
}

#[test]
fn the_table_of_the_module() {
    use Action::{Create, Delete, Nothing};
    let table = [
        (Always, [Create, Nothing, Delete, Delete]),
        (RerunOnFailure, [Create, Nothing, Nothing, Delete]),
        (Once, [Create, Nothing, Nothing, Nothing]),
        (Manual, [Nothing, Nothing, Delete, Delete]),
        (Halted, [Nothing, Delete, Delete, Delete]),
    ];
    for (strategy, expected) in table {
        let found = [
            None,
            instance(Running),
            instance(Succeeded),
            instance(Failed),
        ]
        .map(|i| decide(&situation(strategy, i, &[])).action);
        assert_eq!(found, expected, "{strategy}");
    }
}

#[test]
fn a_restart_by_hand_is_stop_then_start() {
    let requests = [stop("a"), start()];
    for strategy in [Always, RerunOnFailure, Once, Manual] {
        let first = decide(&situation(strategy, instance(Running), &requests));
        assert_eq!((first.action, first.why), (Action::Delete, Why::Request));
        assert_eq!(first.requests, requests, "both are still open");
        let gone = decide(&situation(strategy, None, &requests));
        assert_eq!((gone.action, gone.why), (Action::Create, Why::Request));
        assert_eq!(gone.requests, [start()]);
        let new = Some(InstanceView {
            uid: "b".into(),
            ..instance(Pending).unwrap()
        });
        let last = decide(&situation(strategy, new, &requests));
        assert_eq!(
            last.action,
            Action::Nothing,
            "the new instance is not the one to stop"
        );
        assert_eq!(last.requests, []);
    }
}

#[test]
fn a_start_makes_an_ended_instance_give_way() {
    for (strategy, phase) in [
        (RerunOnFailure, Succeeded),
        (Once, Failed),
        (Manual, Succeeded),
    ] {
        let decision = decide(&situation(strategy, instance(phase), &[start()]));
        assert_eq!(decision.action, Action::Delete, "{strategy}");
        assert_eq!(decision.requests, [start()]);
    }
}

#[test]
fn failed_starts_wait_longer_each_time() {
    let mut failure: Option<StartFailure> = None;
    let mut waits = Vec::new();
    let mut now = at(0);
    for n in 0..8 {
        let failed = InstanceView {
            uid: format!("i{n}"),
            ..instance(Failed).unwrap()
        };
        let mut s = situation(Always, Some(failed), &[]);
        (s.failure, s.now) = (failure.as_ref(), now);
        let decision = decide(&s);
        assert_eq!(decision.action, Action::Delete);
        let again = Situation {
            failure: decision.failure.as_ref(),
            ..s.clone()
        };
        assert_eq!(decide(&again).failure, decision.failure, "counted once");
        let until = decision
            .failure
            .as_ref()
            .unwrap()
            .retry_after_timestamp
            .clone()
            .unwrap()
            .0;
        let mut gone = situation(Always, None, &[]);
        (gone.failure, gone.now) = (decision.failure.as_ref(), now);
        let waiting = decide(&gone);
        assert_eq!(
            (waiting.action, waiting.why),
            (Action::Nothing, Why::BackOff)
        );
        assert_eq!(waiting.again_at, Some(until));
        waits.push(until.duration_since(now).as_secs());
        now = until;
        gone.now = now;
        assert_eq!(decide(&gone).action, Action::Create);
        failure = decision.failure;
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
}

#[test]
fn a_minute_of_running_forgets_failures() {
    let failure = StartFailure {
        consecutive_fail_count: Some(4),
        ..StartFailure::default()
    };
    let running = |since| InstanceView {
        running_since: Some(at(since)),
        ..instance(Running).unwrap()
    };
    let mut s = situation(Always, Some(running(-59)), &[]);
    s.failure = Some(&failure);
    let decision = decide(&s);
    assert_eq!(decision.failure.as_ref(), Some(&failure));
    assert_eq!(
        decision.again_at,
        Some(at(1)),
        "looks again when the minute is over"
    );
    s.instance = Some(running(-60));
    assert_eq!(decide(&s).failure, None);
    let mut crashed = running(-3600);
    (crashed.phase, crashed.ended_at) = (Failed, Some(at(-3600 + 59)));
    s.instance = Some(crashed);
    assert_eq!(decide(&s).failure.unwrap().consecutive_fail_count, Some(5));
}

#[test]
fn deletion_of_the_vm_comes_first() {
    let requests = [start()];
    let mut s = situation(Always, instance(Running), &requests);
    s.deleting = true;
    assert_eq!(
        (decide(&s).action, decide(&s).why),
        (Action::Delete, Why::VmDeleted)
    );
    s.instance = None;
    assert_eq!(
        (decide(&s).action, decide(&s).why),
        (Action::Nothing, Why::VmDeleted)
    );
    assert_eq!(decide(&s).requests, []);
}

fn any_phase() -> impl Strategy<Value = VmiPhase> {
    prop::sample::select(vec![
        Pending,
        VmiPhase::Scheduling,
        VmiPhase::Scheduled,
        Running,
        Succeeded,
        Failed,
        VmiPhase::Unknown,
    ])
}

fn any_instance() -> impl Strategy<Value = Option<InstanceView>> {
    let time = || prop::option::of((-5000_i64..5000).prop_map(at));
    prop::option::of(
        ("[ab]", any_phase(), any::<bool>(), time(), time()).prop_map(
            |(uid, phase, deleting, running_since, ended_at)| InstanceView {
                uid,
                phase,
                deleting,
                running_since,
                ended_at,
            },
        ),
    )
}

fn any_requests() -> impl Strategy<Value = Vec<StateChangeRequest>> {
    let request = prop_oneof![
        Just(start()),
        Just(stop("a")),
        Just(stop("b")),
        Just(StateChangeRequest {
            action: StateChangeAction::Stop,
            uid: None
        }),
    ];
    prop::collection::vec(request, 0..4)
}

proptest! {
    #[test]
    fn never_two_instances_never_a_delete_of_nothing(
        strategy in prop::sample::select(RunStrategy::ALL.to_vec()),
        instance in any_instance(),
        requests in any_requests(),
        deleting in any::<bool>(),
        count in prop::option::of(any::<i64>()),
        retry in -5000_i64..5000,
    ) {
        let failure = count.map(|n| StartFailure {
            consecutive_fail_count: Some(n),
            last_failed_vmi_uid: Some("a".into()),
            retry_after_timestamp: Some(Time(at(retry))),
        });
        let s = Situation { strategy, deleting, instance, requests: &requests, failure: failure.as_ref(), now: at(0) };
        let decision = decide(&s);
        match decision.action {
            Action::Create => prop_assert!(s.instance.is_none() && !deleting && strategy != Halted),
            Action::Delete => prop_assert!(s.instance.as_ref().is_some_and(|i| !i.deleting)),
            Action::Nothing => {}
        }
        prop_assert!(decision.again_at.is_none_or(|t| t > s.now), "never looks back");
        prop_assert!(decision.requests.iter().all(|r| requests.contains(r)));
        // Deciding on what was decided changes nothing more.
        let again = Situation { requests: &decision.requests, failure: decision.failure.as_ref(), ..s.clone() };
        prop_assert_eq!(&decide(&again), &decision);
    }

    #[test]
    fn back_off_grows_and_is_bounded(n in any::<i64>()) {
        let wait = back_off(n);
        prop_assert!(wait >= FIRST_BACK_OFF && wait <= MAX_BACK_OFF);
        prop_assert!(back_off(n.saturating_add(1)) >= wait);
    }
}
