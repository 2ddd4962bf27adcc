use jiff::SignedDuration;
use launcher_api::{EndReason, Outcome};
use machine::{Accelerator, CpuSpec, MachineSpec};
use proptest::prelude::*;

use super::*;

fn start(uid: &str, grace_seconds: u32) -> Start {
    let machine = MachineSpec {
        name: "default_a".into(),
        uid: uid.into(),
        uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".into(),
        serial: None,
        cpu: CpuSpec {
            model: "qemu64".into(),
            features: vec![],
            sockets: 1,
            cores: 1,
            threads: 1,
        },
        memory_bytes: 64 << 20,
        machine_type: "q35".into(),
        accelerator: Accelerator::Tcg,
        firmware: machine::Firmware::Bios,
        acpi: true,
        disks: vec![],
        serial_console: true,
        graphics: false,
        rng: false,
        balloon: false,
        guest_agent: false,
    };
    Start {
        machine,
        grace_seconds,
        paused: false,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn phases() -> Vec<Phase> {
    vec![
        Phase::Idle,
        Phase::Starting,
        Phase::Running,
        Phase::Paused {
            reason: "User".into(),
        },
        Phase::ShuttingDown {
            deadline: now() + SignedDuration::from_secs(30),
        },
        Phase::Ended {
            outcome: Outcome::Failed,
            reason: EndReason::QemuExited,
            message: String::new(),
        },
    ]
}

/// One letter per phase: what is done (`d`), nothing (`-`) or refused (`R`).
fn row(request: &Request) -> String {
    let started = start("u", 30);
    phases()
        .iter()
        .map(|phase| {
            let started = (*phase != Phase::Idle).then_some(&started);
            match decide(phase, started, request.clone(), now()) {
                Verdict::Do(_) => 'd',
                Verdict::Nothing => '-',
                Verdict::Refuse(_) => 'R',
            }
        })
        .collect()
}

#[test]
fn the_table_is_the_code() {
    assert_eq!(row(&Request::Start(Box::new(start("u", 30)))), "d---RR");
    assert_eq!(row(&Request::Shutdown { grace_seconds: 60 }), "dddd--");
    assert_eq!(row(&Request::Shutdown { grace_seconds: 5 }), "ddddd-");
    assert_eq!(row(&Request::Kill), "ddddd-");
    assert_eq!(row(&Request::Pause), "RRd-RR");
    assert_eq!(row(&Request::Unpause), "RR-dRR");
    assert_eq!(row(&Request::Reset), "RRddRR");
    assert_eq!(row(&Request::PowerButton), "RRdR-R");
    assert_eq!(row(&Request::Console), "RRdddR");
    assert_eq!(row(&Request::State), "------");
}

#[test]
fn another_machine_is_refused_by_name() {
    let verdict = decide(
        &Phase::Running,
        Some(&start("u", 30)),
        Request::Start(Box::new(start("v", 30))),
        now(),
    );
    let Verdict::Refuse(refusal) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(refusal.reason, RefusalReason::NotAllowed);
    assert!(refusal.message.contains("default_a"));
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<u32>().prop_map(|grace| Request::Start(Box::new(start("u", grace)))),
        any::<u32>().prop_map(|grace_seconds| Request::Shutdown { grace_seconds }),
        Just(Request::Kill),
        Just(Request::Pause),
        Just(Request::Unpause),
        Just(Request::Reset),
        Just(Request::PowerButton),
        Just(Request::State),
        Just(Request::Watch),
        Just(Request::Console),
    ]
}

proptest! {
    #[test]
    fn a_shutdown_never_gains_time_and_an_end_is_final(request in any_request(), index in 0_usize..6) {
        let phase = phases()[index].clone();
        let started = start("u", 30);
        let verdict = decide(&phase, (index > 0).then_some(&started), request, now());
        if let (Phase::ShuttingDown { deadline }, Verdict::Do(Action::Shutdown { deadline: new })) = (&phase, &verdict) {
            prop_assert!(new < deadline);
        }
        if phase.is_ended() {
            prop_assert!(!matches!(verdict, Verdict::Do(_)));
        }
        if let Verdict::Do(Action::Start(_)) = verdict {
            prop_assert_eq!(phase, Phase::Idle);
        }
    }
}
