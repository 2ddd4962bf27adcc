use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(name: &str, created: &str, status: serde_json::Value) -> VMRuntimePreflightCheck {
    serde_json::from_value(json!({
        "apiVersion": "vm.cluster.gke.io/v1", "kind": "VMRuntimePreflightCheck",
        "metadata": {"name": name, "namespace": "vm-system", "creationTimestamp": created},
        "spec": {}, "status": status,
    }))
    .unwrap()
}

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

#[test]
fn an_older_success_does_not_help_and_an_older_failure_does_not_hurt() {
    let all = [
        check("b", T1, json!({"pass": true})),
        check("a", T2, json!({"pass": false})),
    ];
    assert_eq!(newest(&all).unwrap().name_any(), "a");
    let all = [
        check("a", T2, json!({"pass": true})),
        check("b", T1, json!({"pass": false})),
    ];
    assert_eq!(verdict(newest(&all)), Verdict::Passed);
}

#[test]
fn of_checks_of_one_second_the_one_that_has_begun_last_is_the_newest() {
    let over = check(
        "z",
        T1,
        json!({"pass": true, "startTime": "2026-01-01T00:00:01.100000Z"}),
    );
    let begun = check("y", T1, json!({"startTime": "2026-01-01T00:00:01.200000Z"}));
    let new = check("a", T1, json!({}));
    let name = |all: &[&VMRuntimePreflightCheck]| {
        let all: Vec<_> = all.iter().map(|c| (*c).clone()).collect();
        newest(&all).unwrap().name_any()
    };
    assert_eq!(name(&[&over, &begun]), "y");
    assert_eq!(name(&[&new, &over, &begun]), "a");
}

#[test]
fn a_check_on_its_way_out_does_not_count() {
    let mut going = check("b", T2, json!({"pass": false}));
    going.metadata.deletion_timestamp = serde_json::from_value(json!(T2)).unwrap();
    let all = [check("a", T1, json!({"pass": true})), going];
    assert_eq!(verdict(newest(&all)), Verdict::Passed);
}

#[test]
fn a_refusal_names_the_check_each_node_and_what_failed() {
    let status = json!({"pass": false, "checks": {
        "n1": {"passed": true, "results": [{"checkName": "CPU", "passed": true}]},
        "n2": {"passed": false, "results": [
            {"checkName": "CPU", "passed": true},
            {"checkName": "KVM", "passed": false,
             "message": "command terminated with exit code 1\nls: /mnt/dev/kvm: No such file or directory\n"}]},
    }});
    let Verdict::Failed(text) = verdict(Some(&check("c", T1, status))) else {
        panic!()
    };
    assert_eq!(
        text,
        "VMRuntimePreflightCheck vm-system/c has failed: node n2: KVM: command terminated with exit code 1 ls: \
         /mnt/dev/kvm: No such file or directory; correct this, then check again: bmctl check vmruntimepfc"
    );
}

#[test]
fn while_none_has_completed_the_answer_is_to_retry() {
    for check in [None, Some(&check("c", T1, json!({})))] {
        assert!(
            matches!(verdict(check), Verdict::Running(t) if t.contains("check still running, retry"))
        );
    }
}

#[test]
fn the_summary_counts_nodes_that_failed() {
    let node = |kvm: bool| {
        json!({"passed": kvm, "results": [
            {"checkName": "CPU", "passed": true}, {"checkName": "KVM", "passed": kvm}]})
    };
    let checks = json!({"n1": node(true), "n2": node(false), "n3": node(false)});
    let done = summary(&check("c", T1, json!({"pass": false, "checks": checks})));
    assert_eq!(
        serde_json::to_value(done).unwrap(),
        json!({
            "preflightCheckName": "c", "preflightCheckPassed": false,
            "featureStatuses": {"CPU": {"passed": true}, "KVM": {"passed": false, "failedNodeNum": 2}},
        })
    );
    let running = summary(&check("c", T1, json!({"checks": checks})));
    assert_eq!(
        serde_json::to_value(running).unwrap(),
        json!({"preflightCheckName": "c"})
    );
}

#[test]
fn failures_are_those_of_at_most_ten_nodes() {
    let mut status = VMRuntimePreflightCheckStatus::default();
    for i in 0..20 {
        let results = vec![CheckResult::passed("CPU"), CheckResult::failed("KVM", "no")];
        status
            .checks
            .insert(format!("n{i}"), NodeChecks::of(results));
    }
    let failures = status.failures_of_checks();
    assert_eq!(failures.len(), 10);
    assert!(failures.values().all(|f| f.results.len() == 1));
}

proptest! {
    /// The verdict depends on which checks there are, not on the order in which they are listed.
    #[test]
    fn everybody_agrees_on_the_newest(
        all in proptest::collection::vec((0..4_u8, 0..3_u8, any::<bool>()), 1..8),
        turn in 0..8_usize,
    ) {
        let mut checks: Vec<_> = all.iter().enumerate().map(|(i, (second, phase, pass))| {
            let status = match phase {
                0 => json!({}),
                1 => json!({"startTime": T1}),
                _ => json!({"startTime": T1, "completionTime": T2, "pass": pass}),
            };
            check(&format!("c{i}"), &format!("2026-01-01T00:00:0{second}Z"), status)
        }).collect();
        let first = newest(&checks).unwrap().name_any();
        let turn = turn % checks.len();
        checks.rotate_left(turn);
        prop_assert_eq!(newest(&checks).unwrap().name_any(), first);
    }
}
