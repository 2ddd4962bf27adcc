//! What a VM does and says. The table of run strategies is tested in `machine::lifecycle`.

use super::*;
use api::kubevirt::condition;
use api::printable::PrintableStatus;
use api::vmruntime::EmulationPolicy;
use serde_json::{Value, json};

fn vm(strategy: &str) -> Vm {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"name": "vm1", "namespace": "ns", "uid": "vm-1", "generation": 3, "finalizers": [VM_FINALIZER]},
        "spec": {
            "runStrategy": strategy,
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"domain": {"devices": {}}}},
            "dataVolumeTemplates": [{"metadata": {"name": "vm1-root"}, "spec": {}}]
        }
    }))
    .unwrap()
}

fn instance(status: Value) -> Vmi {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm1", "namespace": "ns", "uid": "vmi-1", "ownerReferences": [
            {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "vm1", "uid": "vm-1", "controller": true}
        ]},
        "spec": {"domain": {"devices": {}}},
        "status": status
    }))
    .unwrap()
}

fn data_volume(phase: &str) -> DataVolume {
    serde_json::from_value(json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": {"name": "vm1-root"}, "spec": {}, "status": {"phase": phase}
    }))
    .unwrap()
}

fn facts(strategy: &str, instance: Option<Vmi>) -> Facts {
    Facts {
        vm: Arc::new(vm(strategy)),
        runtime: RuntimeFacts {
            phase: Some(api::vmruntime::RuntimePhase::Enabled),
            enabled: true,
            emulation: EmulationPolicy::Automatic,
            waits: None,
            storage_class: None,
        },
        instance,
        data_volumes: vec![data_volume("Succeeded")],
        missing_claims: vec![],
    }
}

fn plan(facts: &Facts) -> Plan {
    decide(facts, Timestamp::UNIX_EPOCH)
}

fn printed(facts: &Facts) -> PrintableStatus {
    plan(facts).status.unwrap().printable_status.unwrap()
}

fn ready_reason(plan: &Plan) -> String {
    let all = &plan.status.as_ref().unwrap().conditions;
    condition(all, "Ready").unwrap().reason.clone().unwrap()
}

#[test]
fn templates_come_before_the_instance_and_belong_to_the_vm() {
    let mut f = facts("Always", None);
    f.data_volumes.clear();
    let Step::MakeDataVolumes(all) = plan(&f).step else {
        panic!()
    };
    assert_eq!(all.len(), 1);
    assert!(controls(f.vm.as_ref(), &all[0]));
}

#[test]
fn the_instance_is_the_template_under_the_name_of_the_vm() {
    let f = facts("Always", None);
    let Step::MakeInstance(vmi) = plan(&f).step else {
        panic!()
    };
    assert_eq!(vmi.name_any(), "vm1");
    assert_eq!(vmi.labels()["app"], "x");
    assert_eq!(vmi.labels()["vm.kubevirt.io/name"], "vm1");
    assert_eq!(vmi.annotations()["kubevirt.io/vm-generation"], "3");
    assert!(controls(f.vm.as_ref(), &*vmi));
}

#[test]
fn a_halted_vm_is_stopped() {
    let f = facts("Halted", None);
    assert_eq!(plan(&f).step, Step::Nothing);
    assert_eq!(printed(&f), PrintableStatus::Stopped);
    let f = facts("Halted", Some(instance(json!({"phase": "Running"}))));
    assert_eq!(plan(&f).step, Step::DeleteInstance);
}

#[test]
fn a_disabled_runtime_is_named_as_the_reason() {
    let mut f = facts("Always", None);
    f.runtime.enabled = false;
    let p = plan(&f);
    assert_eq!(p.step, Step::Nothing);
    assert_eq!(ready_reason(&p), "VMRuntimeDisabled");
    assert_eq!(p.event.unwrap().reason, "VMRuntimeDisabled");
}

#[test]
fn a_vmi_of_somebody_else_is_not_touched() {
    let mut foreign = instance(json!({}));
    foreign.metadata.owner_references = None;
    let p = plan(&facts("Halted", Some(foreign)));
    assert_eq!(p.step, Step::Nothing);
    assert_eq!(p.event.unwrap().reason, "FailedCreate");
}

#[test]
fn the_status_follows_instance_and_disks() {
    let with = |status: Value| facts("Always", Some(instance(status)));
    let mut importing = with(json!({"phase": "Pending"}));
    importing.data_volumes = vec![data_volume("ImportInProgress")];
    assert_eq!(printed(&importing), PrintableStatus::Provisioning);
    assert_eq!(
        printed(&with(json!({"phase": "Scheduled"}))),
        PrintableStatus::Starting
    );
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    assert_eq!(printed(&with(ready.clone())), PrintableStatus::Running);
    assert_eq!(plan(&with(ready)).status.unwrap().ready, Some(true));
    let paused = json!({"phase": "Running", "conditions": [{"type": "Paused", "status": "True"}]});
    assert_eq!(printed(&with(paused)), PrintableStatus::Paused);
    let unschedulable = json!({"phase": "Scheduling", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    ]});
    assert_eq!(
        printed(&with(unschedulable)),
        PrintableStatus::ErrorUnschedulable
    );
    let mut missing = facts("Always", None);
    missing.missing_claims = vec!["gone".into()];
    assert_eq!(printed(&missing), PrintableStatus::ErrorPvcNotFound);
}

#[test]
fn failed_starts_wait_and_say_until_when() {
    let mut f = facts("Always", None);
    let mut vm = vm("Always");
    vm.status = serde_json::from_value(json!({"startFailure": {
        "consecutiveFailCount": 2, "retryAfterTimestamp": "1970-01-01T00:00:20Z"
    }}))
    .unwrap();
    f.vm = Arc::new(vm);
    let p = plan(&f);
    assert_eq!(p.step, Step::Nothing);
    assert_eq!(printed(&f), PrintableStatus::CrashLoopBackOff);
    assert_eq!(ready_reason(&p), "CrashLoopBackOff");
    assert_eq!(p.again_at, Some(Timestamp::from_second(20).unwrap()));
}

#[test]
fn deletion_takes_the_instance_first_and_the_finalizer_last() {
    let mut going = vm("Always");
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        Timestamp::UNIX_EPOCH,
    ));
    let mut f = facts("Always", Some(instance(json!({"phase": "Running"}))));
    f.vm = Arc::new(going);
    assert_eq!(plan(&f).step, Step::DeleteInstance);
    assert_eq!(printed(&f), PrintableStatus::Terminating);
    f.instance = None;
    assert_eq!(plan(&f).step, Step::RemoveFinalizer);
}
