use std::io;

use super::*;

fn measured(native: f64, guest: f64, traps: f64) -> Measured {
    Measured {
        max_vcpus: Some(64),
        native_loops_per_ms: Some(native),
        loops_per_ms: Some(guest),
        exceptions_per_ms: Some(traps),
        ring_trips_per_ms: Some(traps),
        timer_interrupts_per_ms: Some(traps.min(9.0)),
    }
}

#[test]
fn hardware_is_usable_and_imitation_is_not() {
    assert_eq!(
        judge(&measured(1_000_000.0, 900_000.0, 3000.0), None).0,
        KvmReason::Usable
    );
    let (reason, message) = judge(&measured(1_000_000.0, 400.0, 0.5), None);
    assert_eq!(reason, KvmReason::TooSlow);
    assert!(
        message.contains("2500 times slower") && message.contains("emulation"),
        "{message}"
    );
    assert_eq!(
        judge(&measured(1_000_000.0, 900_000.0, 1.0), None).0,
        KvmReason::TooSlow
    );
}

#[test]
fn a_timer_that_hardly_fires_is_imitation() {
    let late = Measured {
        timer_interrupts_per_ms: Some(0.05),
        ..measured(1e6, 9e5, 3000.0)
    };
    let (reason, message) = judge(&late, None);
    assert_eq!(reason, KvmReason::TooSlow);
    assert!(message.contains("timer interrupts"), "{message}");
}

/// On hosts that only imitate hardware too, where the stages are correct and slow; but imitations are known that
/// cannot change rings by `sysret`.
#[test]
fn every_stage_of_the_guest_ends_as_it_should() {
    let stages = match machine::try_all(Instant::now() + Duration::from_secs(60)) {
        Ok(stages) => stages,
        Err(KvmError::Open(error)) => return println!("there is no KVM here: {error}"),
        Err(error) => panic!("{error}"),
    };
    let imitates = probe(Duration::from_secs(1)).reason == KvmReason::TooSlow;
    for (stage, outcome) in stages {
        println!("{}: {outcome:?}", stage.name);
        let excused = imitates && stage.name == guest::RING_TRIPS.name;
        assert!(outcome.is_ok() || excused, "{}: {outcome:?}", stage.name);
    }
}

#[test]
fn a_slow_loop_explains_a_missed_deadline() {
    let slow = Measured {
        exceptions_per_ms: None,
        ring_trips_per_ms: None,
        ..measured(1e6, 100.0, 0.0)
    };
    assert_eq!(
        judge(
            &slow,
            Some(&KvmError::Deadline {
                stage: "exceptions"
            })
        )
        .0,
        KvmReason::TooSlow
    );
    assert_eq!(
        judge(
            &Measured::default(),
            Some(&KvmError::Deadline { stage: "x" })
        )
        .0,
        KvmReason::TimedOut
    );
}

#[test]
fn refusals_say_what_to_do() {
    let cases = [
        (io::ErrorKind::NotFound, KvmReason::NoDevice, "kvm_intel"),
        (
            io::ErrorKind::PermissionDenied,
            KvmReason::NotPermitted,
            "group",
        ),
        (
            io::ErrorKind::ResourceBusy,
            KvmReason::Refused,
            "cannot be opened",
        ),
    ];
    for (kind, expected, word) in cases {
        let (reason, message) = judge(&Measured::default(), Some(&KvmError::Open(kind.into())));
        assert_eq!(reason, expected);
        assert!(message.contains(word), "{message}");
    }
}

/// On any host: in time, and consistent with itself.
#[test]
fn the_probe_ends_in_time_with_a_verdict_that_fits_its_measurements() {
    let budget = Duration::from_secs(1);
    let started = Instant::now();
    let report = probe(budget);
    println!("{report:#?}");
    assert!(started.elapsed() < budget + limits::KVM_RETURN + Duration::from_millis(500));
    assert_eq!(report.usable, report.reason == KvmReason::Usable);
    if report.usable {
        assert!(report.measured.slowdown().unwrap() < 16.0);
        assert!(report.measured.exceptions_per_ms.unwrap() > 50.0);
        assert!(report.measured.timer_interrupts_per_ms.unwrap() > 0.2);
    }
    if report.reason == KvmReason::TooSlow {
        assert!(report.message.contains("emulation"));
    }
    assert_ne!(report.reason, KvmReason::Broken, "{}", report.message);
}

#[test]
fn no_budget_is_no_time() {
    let report = probe(Duration::ZERO);
    assert!(!report.usable);
}
