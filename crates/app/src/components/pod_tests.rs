//! The life of a mirror Pod, case by case.

use super::*;

const SHOWN: Shown = Shown {
    name: "virt-controller",
    labels: &[("kubevirt.io", "virt-controller")],
};

fn node() -> Node {
    serde_json::from_value(serde_json::json!({"metadata": {"name": "n1", "uid": "node-1"}}))
        .unwrap()
}

fn report(state: State) -> Report {
    Report {
        state,
        ..Report::UNKNOWN
    }
}

fn running() -> Report {
    report(State::Running {
        since: Timestamp::UNIX_EPOCH,
    })
}

fn step(report: &Report, before: &Before, pod: Option<&Pod>) -> Step {
    let now = Timestamp::UNIX_EPOCH;
    decide(&SHOWN, &node(), "127.0.0.1", report, before, pod, now)
}

fn made() -> Pod {
    let Step::Create(pod) = step(&running(), &Before::default(), None) else {
        panic!("no Pod is made");
    };
    *pod
}

fn said(report: &Report, before: &Before, pod: &Pod) -> PodStatus {
    let Step::Say(status) = step(report, before, Some(pod)) else {
        panic!("nothing is said");
    };
    *status
}

fn is(status: &PodStatus, type_: &str) -> bool {
    let all = status.conditions.as_ref().unwrap();
    all.iter().any(|c| c.type_ == type_ && c.status == "True")
}

#[test]
fn a_component_that_runs_has_a_pod_and_one_that_is_off_has_none() {
    let pod = made();
    assert_eq!(pod.name_any(), "virt-controller-n1");
    assert_eq!(pod.labels()["kubevirt.io"], "virt-controller");
    assert!(is_mirror(&pod));
    let none = Before::default();
    let stopped = report(State::Stopped);
    assert_eq!(step(&stopped, &none, None), Step::Nothing);
    assert_eq!(step(&stopped, &none, Some(&pod)), Step::Remove);
    // Before it is decided whether it runs, a Pod from before stays as it is.
    assert_eq!(step(&Report::UNKNOWN, &none, Some(&pod)), Step::Nothing);
    assert_eq!(step(&Report::UNKNOWN, &none, None), Step::Nothing);
}

#[test]
fn what_is_said_is_said_once() {
    let mut pod = made();
    let none = Before::default();
    let status = said(&running(), &none, &pod);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(is(&status, "Ready") && is(&status, "ContainersReady"));
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!((container.restart_count, container.ready), (0, true));
    pod.status = Some(status);
    assert_eq!(step(&running(), &none, Some(&pod)), Step::Nothing);
}

#[test]
fn a_pod_that_was_deleted_or_is_not_ours_is_made_again() {
    let none = Before::default();
    let mut going = made();
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(step(&running(), &none, Some(&going)), Step::Remove);
    let mut foreign = made();
    foreign.metadata.annotations = None;
    assert_eq!(step(&running(), &none, Some(&foreign)), Step::Remove);
    let mut of_a_former_node = made();
    of_a_former_node.metadata.owner_references.as_mut().unwrap()[0].uid = "node-0".into();
    assert_eq!(
        step(&running(), &none, Some(&of_a_former_node)),
        Step::Remove
    );
    let mut of_another_version = made();
    of_another_version
        .annotations_mut()
        .insert(CONFIG_HASH.into(), "0".into());
    assert_eq!(
        step(&running(), &none, Some(&of_another_version)),
        Step::Remove
    );
}

#[test]
fn a_crash_shows_with_its_reason_and_its_count() {
    let last = Ended {
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        message: "it panicked: a bug".into(),
    };
    let broken = Report {
        state: State::BackOff {
            until: Timestamp::UNIX_EPOCH,
        },
        restarts: 2,
        last: Some(last),
    };
    let mut pod = made();
    let status = said(&broken, &Before::default(), &pod);
    assert!(!is(&status, "Ready"));
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.restart_count, 2);
    let waiting = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    let ended = container.last_state.as_ref().unwrap().terminated.as_ref();
    assert_eq!(
        ended.unwrap().message.as_deref(),
        Some("it panicked: a bug")
    );
    // The process is started again: that counts, too.
    pod.status = Some(status);
    let before = Before::of(&pod, Timestamp::UNIX_EPOCH);
    let status = said(&running(), &before, &pod);
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.restart_count, 3);
    let ended = container.last_state.as_ref().unwrap().terminated.as_ref();
    assert_eq!(ended.unwrap().exit_code, 137);
}

#[test]
fn names_are_bounded() {
    let name = name_of("vmruntime-controller-manager", &"n".repeat(253));
    assert_eq!(name.len(), 253);
}
