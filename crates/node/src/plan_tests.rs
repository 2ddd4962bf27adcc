//! From a launcher's state to the status of its VMI.

use super::*;
use api::kubevirt::{condition, is_true};
use serde_json::{Value, json};

fn vmi(phase: &str) -> Vmi {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm1", "namespace": "ns", "uid": "u"},
        "spec": {"domain": {"devices": {}}},
        "status": {"phase": phase, "nodeName": "n1", "activePods": {"p": "n1"}}
    }))
    .unwrap()
}

fn state(phase: Value) -> LauncherState {
    serde_json::from_value(json!({
        "sequence": 1, "phase": phase,
        "launcher": {"pid": 1, "startTime": 1},
        "times": {"running": "1970-01-01T00:00:05Z"}
    }))
    .unwrap()
}

fn says(phase: Value) -> Launcher {
    Launcher::Says(Box::new(state(phase)))
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[test]
fn the_agent_has_a_vmi_from_scheduled_until_it_ends() {
    assert!(is_ours(&vmi("Scheduled"), "n1"));
    assert!(is_ours(&vmi("Running"), "n1"));
    assert!(!is_ours(&vmi("Running"), "n2"));
    assert!(!is_ours(&vmi("Scheduling"), "n1"));
    assert!(!is_ours(&vmi("Failed"), "n1"));
}

#[test]
fn an_idle_launcher_is_given_its_guest_unless_the_vmi_goes() {
    assert_eq!(
        decide(&vmi("Scheduled"), &says(json!({"name": "Idle"}))),
        Action::Start
    );
    let mut going = vmi("Scheduled");
    going.metadata.deletion_timestamp = Some(Time(NOW));
    assert_eq!(
        decide(&going, &says(json!({"name": "Idle"}))),
        Action::Nothing
    );
    assert_eq!(
        decide(&vmi("Scheduled"), &Launcher::Silent),
        Action::Nothing
    );
}

#[test]
fn a_shorter_grace_period_is_passed_on_once() {
    let going = |grace: i64| {
        let mut vmi = vmi("Running");
        vmi.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(100).unwrap()));
        vmi.spec.termination_grace_period_seconds = Some(grace);
        vmi
    };
    let shutting = |deadline: i64| {
        let at = Timestamp::from_second(deadline).unwrap();
        says(json!({"name": "ShuttingDown", "deadline": at.to_string()}))
    };
    assert_eq!(
        decide(&going(30), &says(json!({"name": "Running"}))),
        Action::Shutdown { grace_seconds: 30 }
    );
    assert_eq!(decide(&going(30), &shutting(130)), Action::Report);
    assert_eq!(
        decide(&going(0), &shutting(130)),
        Action::Shutdown { grace_seconds: 0 }
    );
    assert_eq!(decide(&going(0), &shutting(100)), Action::Report);
}

#[test]
fn running_is_reported_with_the_time_the_cpus_started() {
    let state = state(json!({"name": "Running"}));
    let status = report(&vmi("Scheduled"), &state, NOW);
    assert_eq!(status.phase, Some(VmiPhase::Running));
    assert!(is_true(&status.conditions, "Ready"));
    let since = &status.phase_transition_timestamps[0].phase_transition_timestamp;
    assert_eq!(since.0, Timestamp::from_second(5).unwrap());
    let mut again = vmi("Running");
    again.status = Some(status.clone());
    assert_eq!(
        report(&again, &state, NOW),
        status,
        "a second report changes nothing"
    );
}

#[test]
fn a_pause_says_who_paused() {
    let by = |reason: &str| {
        let state = state(json!({"name": "Paused", "reason": reason}));
        let status = report(&vmi("Running"), &state, NOW);
        condition(&status.conditions, "Paused")
            .unwrap()
            .reason
            .clone()
            .unwrap()
    };
    assert_eq!(by("User"), "PausedByUser");
    assert_eq!(by("io-error"), "PausedIOError");
    let mut resumed = vmi("Running");
    let paused = report(
        &vmi("Running"),
        &state(json!({"name": "Paused", "reason": "User"})),
        NOW,
    );
    resumed.status = Some(paused);
    let status = report(&resumed, &state(json!({"name": "Running"})), NOW);
    assert!(condition(&status.conditions, "Paused").is_none());
}

#[test]
fn a_refusal_is_on_the_vmi() {
    let status = refuse(&vmi("Scheduled"), "no machine type 'x'", NOW);
    let c = condition(&status.conditions, "Synchronized").unwrap();
    assert_eq!(c.message.as_deref(), Some("no machine type 'x'"));
    assert_eq!(status.phase, Some(VmiPhase::Scheduled));
}
