use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

fn vm(strategy: &str) -> VirtualMachine {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "vm", "generation": 3},
        "spec": {"runStrategy": strategy, "template": {"spec": {
            "domain": {"devices": {}, "memory": {"guest": "1Gi"}},
        }}},
    }))
    .unwrap()
}

fn vmi(phase: &str) -> VirtualMachineInstance {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "uid": "u", "annotations": {"kubevirt.io/vm-generation": "2"}},
        "spec": {"domain": {"devices": {}, "memory": {"guest": "1Gi"}, "machine": {"type": "q35"}}},
        "status": {"phase": phase},
    }))
    .unwrap()
}

fn dv(status: Value) -> DataVolume {
    serde_json::from_value(json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": {"name": "dv"},
        "spec": {}, "status": status,
    }))
    .unwrap()
}

fn printed(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    dvs: &[DataVolume],
) -> Printed {
    print(&Facts {
        vm,
        vmi,
        data_volumes: dvs,
        missing_claims: &[],
        now: now(),
    })
}

#[test]
fn words_are_those_of_the_api() {
    for status in [
        PrintableStatus::CrashLoopBackOff,
        PrintableStatus::ErrorPvcNotFound,
    ] {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}

#[test]
fn phases_and_strategies() {
    use PrintableStatus::{Running, Starting, Stopped, Unknown};
    let table = [
        ("Always", None, Starting),
        ("Always", Some("Pending"), Starting),
        ("Always", Some("Scheduling"), Starting),
        ("Always", Some("Scheduled"), Starting),
        ("Always", Some("Running"), Running),
        ("Always", Some("Succeeded"), Starting),
        ("Always", Some("Unknown"), Unknown),
        ("Halted", None, Stopped),
        ("Halted", Some("Running"), Running),
        ("Halted", Some("Failed"), Stopped),
        ("Manual", None, Stopped),
        ("RerunOnFailure", None, Starting),
        ("RerunOnFailure", Some("Succeeded"), Stopped),
        ("RerunOnFailure", Some("Failed"), Starting),
        ("Once", Some("Failed"), Stopped),
    ];
    for (strategy, phase, expected) in table {
        let vmi = phase.map(vmi);
        let found = printed(&vm(strategy), vmi.as_ref(), &[]);
        assert_eq!(found.status, expected, "{strategy} {phase:?}");
        assert!(
            found.status == Running || !found.message.is_empty(),
            "{found:?} has a reason"
        );
    }
}

#[test]
fn what_is_on_its_way_out() {
    let mut machine = vm("Always");
    let mut instance = vmi("Running");
    let gone = serde_json::from_value(json!("2026-11-21T08:00:00Z")).unwrap();
    instance.metadata.deletion_timestamp = Some(gone);
    assert_eq!(
        printed(&machine, Some(&instance), &[]).status,
        PrintableStatus::Stopping
    );
    machine.metadata.deletion_timestamp = instance.metadata.deletion_timestamp.clone();
    assert_eq!(
        printed(&machine, Some(&instance), &[]).status,
        PrintableStatus::Terminating
    );
}

#[test]
fn paused_and_unschedulable_come_from_conditions() {
    let with = |phase: &str, type_: &str, status: bool, reason: &str| {
        let mut instance = vmi(phase);
        let condition = Condition::new(type_, status, reason, "0/1 nodes are available", now());
        instance.status.as_mut().unwrap().conditions.push(condition);
        printed(&vm("Always"), Some(&instance), &[])
    };
    assert_eq!(
        with("Running", "Paused", true, "PausedByUser").status,
        PrintableStatus::Paused
    );
    let unschedulable = with("Scheduling", "PodScheduled", false, "Unschedulable");
    assert_eq!(unschedulable.status, PrintableStatus::ErrorUnschedulable);
    assert_eq!(unschedulable.message, "0/1 nodes are available");
    let missing = with("Pending", "Ready", false, "FailedPvcNotFound");
    assert_eq!(missing.status, PrintableStatus::ErrorPvcNotFound);
}

#[test]
fn volumes_say_what_they_wait_for() {
    let of = |status: Value| printed(&vm("Halted"), None, &[dv(status)]);
    let importing = of(json!({"phase": "ImportInProgress", "progress": "12.34%"}));
    assert_eq!(importing.status, PrintableStatus::Provisioning);
    assert_eq!(importing.message, "DataVolume dv: ImportInProgress, 12.34%");
    assert_eq!(
        of(json!({"phase": "WaitForFirstConsumer"})).status,
        PrintableStatus::WaitingForVolumeBinding
    );
    assert_eq!(
        of(json!({"phase": "Succeeded"})).status,
        PrintableStatus::Stopped
    );
    assert_eq!(
        of(json!({"phase": "Failed"})).status,
        PrintableStatus::DataVolumeError
    );
    let error = of(json!({"phase": "ImportInProgress", "conditions": [
        {"type": "Running", "status": "False", "reason": "Error", "message": "Unable to connect: 404 Not Found"},
    ]}));
    assert_eq!(error.status, PrintableStatus::DataVolumeError);
    assert_eq!(
        error.message,
        "DataVolume dv: Unable to connect: 404 Not Found"
    );
    let missing = print(&Facts {
        vm: &vm("Always"),
        vmi: None,
        data_volumes: &[],
        missing_claims: &["root".to_owned()],
        now: now(),
    });
    assert_eq!(missing.status, PrintableStatus::ErrorPvcNotFound);
}

#[test]
fn a_crash_loop_says_when_it_goes_on() {
    let mut machine = vm("Always");
    machine.status = Some(serde_json::from_value(json!({
        "startFailure": {"consecutiveFailCount": 3, "retryAfterTimestamp": "2026-11-21T09:00:40Z"},
    })).unwrap());
    let found = printed(&machine, None, &[]);
    assert_eq!(found.status, PrintableStatus::CrashLoopBackOff);
    assert_eq!(
        found.message,
        "3 failed starts in a row; the next one is at 2026-11-21T09:00:40Z"
    );
}

fn status_of(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> VirtualMachineStatus {
    vm_status(&Facts {
        vm,
        vmi,
        data_volumes: &[],
        missing_claims: &[],
        now: now(),
    })
}

#[test]
fn the_status_carries_the_conditions_of_the_instance() {
    let mut instance = vmi("Running");
    instance.status.as_mut().unwrap().conditions = vec![
        Condition::new("Ready", true, "", "", now()),
        Condition::new("SoftwareEmulation", true, "", "", now()),
    ];
    let mut machine = vm("Always");
    let running = status_of(&machine, Some(&instance));
    assert_eq!((running.created, running.ready), (Some(true), Some(true)));
    assert_eq!(
        (running.observed_generation, running.desired_generation),
        (Some(2), Some(3))
    );
    assert!(is_true(&running.conditions, "SoftwareEmulation"));
    assert!(condition(&running.conditions, "RestartRequired").is_none());
    machine.status = Some(running);
    let gone = status_of(&machine, None);
    assert_eq!((gone.created, gone.ready), (Some(false), Some(false)));
    let types: Vec<&str> = gone.conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(types, ["Ready"]);
    assert_eq!(gone.conditions[0].reason.as_deref(), Some("VMINotExists"));
}

#[test]
fn a_changed_template_needs_a_restart() {
    let mut machine = vm("Always");
    let instance = vmi("Running");
    assert!(
        !restart_required(&machine, &instance),
        "more by defaults is no change"
    );
    machine.spec.template.spec.hostname = Some("other".into());
    assert!(restart_required(&machine, &instance));
    let facts = Facts {
        vm: &machine,
        vmi: Some(&instance),
        data_volumes: &[],
        missing_claims: &[],
        now: now(),
    };
    assert!(is_true(&vm_status(&facts).conditions, "RestartRequired"));
    assert!(
        !restart_required(&machine, &vmi("Succeeded")),
        "an ended instance needs none"
    );
}
