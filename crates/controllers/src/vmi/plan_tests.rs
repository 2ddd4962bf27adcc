//! The life of a VMI, as this controller sees it.

use super::*;
use serde_json::{Value, json};

fn vmi(status: Value) -> Vmi {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm1", "namespace": "ns", "uid": "u-1", "generation": 1,
                     "finalizers": [VMI_FINALIZER]},
        "spec": {
            "domain": {"memory": {"guest": "128Mi"}, "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]}},
            "volumes": [{"name": "root", "dataVolume": {"name": "vm1-root"}}],
            "terminationGracePeriodSeconds": 30
        },
        "status": status
    }))
    .unwrap()
}

fn ready_volume() -> VolumeFacts {
    VolumeFacts {
        volume: "root".into(),
        claim_name: "vm1-root".into(),
        is_data_volume: true,
        claim: serde_json::from_value(json!({
            "metadata": {"name": "vm1-root"}, "status": {"phase": "Bound"}
        }))
        .unwrap(),
        data_volume: data_volume("Succeeded", "100.0%"),
    }
}

fn data_volume(phase: &str, progress: &str) -> Option<DataVolume> {
    serde_json::from_value(json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": {"name": "vm1-root"}, "spec": {},
        "status": {"phase": phase, "progress": progress, "conditions": []}
    }))
    .unwrap()
}

fn facts(vmi: Vmi) -> Facts {
    Facts {
        vmi: Arc::new(vmi),
        runtime: RuntimeFacts {
            phase: Some(api::vmruntime::RuntimePhase::Enabled),
            enabled: true,
            emulation: EmulationPolicy::Automatic,
            waits: None,
            storage_class: None,
        },
        pods: vec![],
        volumes: vec![ready_volume()],
        kvm: vec![],
        name_taken: None,
    }
}

fn pod(value: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "virt-launcher-vm1-abcde", "uid": "p-1"}, "spec": {"containers": []}});
    if let (Value::Object(all), Value::Object(more)) = (&mut pod, value) {
        all.extend(more);
    }
    serde_json::from_value(pod).unwrap()
}

fn plan(facts: &Facts) -> Plan {
    decide(facts, Timestamp::UNIX_EPOCH)
}

fn phase(plan: &Plan) -> VmiPhase {
    plan.status.as_ref().unwrap().phase.unwrap()
}

fn ready(plan: &Plan) -> (String, String) {
    let all = &plan.status.as_ref().unwrap().conditions;
    let c = api::kubevirt::condition(all, "Ready").unwrap();
    (
        c.reason.clone().unwrap_or_default(),
        c.message.clone().unwrap_or_default(),
    )
}

#[test]
fn the_finalizer_comes_before_anything_else() {
    let mut new = vmi(json!({}));
    new.metadata.finalizers = None;
    assert_eq!(plan(&facts(new)).step, Step::AddFinalizer);
}

#[test]
fn whatever_it_waits_for_is_said() {
    let reasons = |change: fn(&mut Facts)| {
        let mut f = facts(vmi(json!({})));
        change(&mut f);
        let p = plan(&f);
        assert_eq!(p.step, Step::Nothing);
        assert_eq!(phase(&p), VmiPhase::Pending);
        assert!(p.event.is_some(), "a waiting VMI has an Event");
        ready(&p)
    };
    let (reason, message) = reasons(|f| f.runtime.enabled = false);
    assert_eq!(reason, "VMRuntimeDisabled");
    assert!(message.contains("ferrovirt enable vmruntime"));
    let (reason, message) = reasons(|f| {
        f.volumes[0].claim = None;
        f.volumes[0].data_volume = None;
    });
    assert_eq!(reason, "FailedPvcNotFound");
    assert!(message.contains("DataVolume vm1-root does not exist"));
    let (reason, message) =
        reasons(|f| f.volumes[0].data_volume = data_volume("ImportInProgress", "42.00%"));
    assert_eq!(reason, "NotAllDVsReady");
    assert!(message.contains("ImportInProgress 42.00%"), "{message}");
    let (reason, message) = reasons(|f| f.name_taken = Some("virt-launcher-vm1-abcde".into()));
    assert_eq!(reason, "FailedCreate");
    assert!(message.contains("virt-launcher-vm1-abcde"));
    let (reason, _) = reasons(|f| f.volumes[0].claim.as_mut().unwrap().status = None);
    assert_eq!(reason, "PVCNotReady");
    let (reason, message) = reasons(|f| {
        f.runtime.emulation = EmulationPolicy::Never;
        f.kvm = vec![NodeKvm {
            node: "n1".into(),
            usable: false,
            finding: "too slow".into(),
        }];
    });
    assert_eq!(reason, "NoHardwareVirtualization");
    assert!(message.contains("n1: too slow"));
}

#[test]
fn progress_is_in_the_status_and_not_in_events() {
    let at = |progress: &str| {
        let mut f = facts(vmi(json!({})));
        f.volumes[0].data_volume = data_volume("ImportInProgress", progress);
        plan(&f)
    };
    let (one, two) = (at("1.00%"), at("2.00%"));
    assert_ne!(ready(&one), ready(&two));
    assert_eq!(one.event, two.event);
    assert_eq!(
        one.event.unwrap().message,
        "waiting for DataVolumes: vm1-root"
    );
}

#[test]
fn the_pod_is_made_once_and_belongs_to_the_vmi() {
    let f = facts(vmi(json!({})));
    let (Step::MakePod(one), Step::MakePod(two)) = (plan(&f).step, plan(&f).step) else {
        panic!()
    };
    assert_eq!(one, two);
    assert!(one.name_any().starts_with("virt-launcher-vm1-"));
    assert!(reconcile::controls(f.vmi.as_ref(), &*one));
    let spec = one.spec.unwrap();
    assert_eq!(spec.termination_grace_period_seconds, Some(45));
    assert_eq!(spec.node_selector.unwrap()[SCHEDULABLE_LABEL], "true");
    let names: Vec<_> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["compute", "guest-console-log"]);
}

#[test]
fn hardware_is_demanded_of_the_node_when_emulation_is_ruled_out() {
    let mut f = facts(vmi(json!({})));
    f.runtime.emulation = EmulationPolicy::Never;
    f.kvm = vec![NodeKvm {
        node: "n1".into(),
        usable: true,
        finding: String::new(),
    }];
    let Step::MakePod(pod) = plan(&f).step else {
        panic!()
    };
    assert_eq!(pod.spec.unwrap().node_selector.unwrap()[KVM_LABEL], "true");
}

#[test]
fn an_unschedulable_pod_is_explained_on_the_vmi() {
    let mut f = facts(vmi(json!({"phase": "Pending"})));
    f.pods = vec![pod(json!({"status": {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."}
    ]}}))];
    let p = plan(&f);
    assert_eq!(phase(&p), VmiPhase::Scheduling);
    assert!(ready(&p).1.contains("Insufficient memory"));
    let conditions = p.status.unwrap().conditions;
    let scheduled = api::kubevirt::condition(&conditions, "PodScheduled").unwrap();
    assert_eq!(scheduled.reason.as_deref(), Some("Unschedulable"));
}

#[test]
fn a_running_pod_hands_the_vmi_to_the_node_agent() {
    let mut f = facts(vmi(json!({"phase": "Scheduling"})));
    f.pods = vec![pod(json!({
        "spec": {"containers": [], "nodeName": "n1"}, "status": {"phase": "Running"}
    }))];
    let p = plan(&f);
    assert_eq!(phase(&p), VmiPhase::Scheduled);
    let status = p.status.clone().unwrap();
    assert_eq!(status.node_name.as_deref(), Some("n1"));
    assert_eq!(status.active_pods["p-1"], "n1");
    // From here on the node agent writes: a further pass changes nothing.
    f.vmi = Arc::new(vmi(serde_json::to_value(&status).unwrap()));
    assert_eq!(plan(&f).status.unwrap(), status);
}

#[test]
fn the_end_of_the_pod_is_the_end_of_the_guest() {
    for (pod_phase, vmi_phase) in [
        ("Succeeded", VmiPhase::Succeeded),
        ("Failed", VmiPhase::Failed),
    ] {
        let mut f = facts(vmi(json!({"phase": "Running"})));
        f.pods = vec![pod(
            json!({"status": {"phase": pod_phase, "containerStatuses": [
                {"name": "compute", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": 1, "message": "QEMU exited: no memory"}}}
            ]}}),
        )];
        let p = plan(&f);
        assert_eq!(phase(&p), vmi_phase);
        assert_eq!(
            ready(&p),
            ("PodCompleted".into(), "QEMU exited: no memory".into())
        );
    }
}

#[test]
fn a_vanished_pod_is_a_failed_guest() {
    let p = plan(&facts(vmi(json!({"phase": "Running"}))));
    assert_eq!(phase(&p), VmiPhase::Failed);
    assert_eq!(p.step, Step::Nothing);
    assert_eq!(p.status.unwrap().reason.as_deref(), Some("PodNotExists"));
}

#[test]
fn deletion_ends_the_pod_with_grace_and_waits_for_it() {
    let mut going = vmi(json!({"phase": "Running"}));
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut f = facts(going);
    f.pods = vec![pod(json!({"status": {"phase": "Running"}}))];
    assert_eq!(
        plan(&f).step,
        Step::DeletePod {
            name: "virt-launcher-vm1-abcde".into(),
            grace_seconds: 45
        }
    );
    f.pods[0].metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(plan(&f).step, Step::Nothing);
    f.pods.clear();
    let p = plan(&f);
    assert_eq!(p.step, Step::RemoveFinalizer);
    assert_eq!(phase(&p), VmiPhase::Succeeded);
}
