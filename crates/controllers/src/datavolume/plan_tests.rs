//! The life of a DataVolume, phase by phase.

use super::*;
use serde_json::{Value, json};

use api::vmruntime::EmulationPolicy;

const ENABLED: RuntimeFacts = RuntimeFacts {
    phase: Some(api::vmruntime::RuntimePhase::Enabled),
    enabled: true,
    emulation: EmulationPolicy::Automatic,
    waits: None,
    storage_class: None,
};

fn volume(status: Value) -> Arc<DataVolume> {
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
            "metadata": {"name": "root", "namespace": "ns", "uid": "dv1"},
            "spec": {
                "source": {"http": {"url": "http://127.0.0.1/tiny.qcow2"}},
                "storage": {"resources": {"requests": {"storage": "1Gi"}}}
            },
            "status": status
        }))
        .unwrap(),
    )
}

fn owned(kind: &str, name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "ownerReferences": [
            {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "name": "root", "uid": "dv1", "controller": true}
        ]},
        "spec": {"containers": []},
        "status": status
    })
}

fn claim(phase: &str) -> Option<PersistentVolumeClaim> {
    let mut value = owned("PersistentVolumeClaim", "root", json!({"phase": phase}));
    value["spec"] = json!({});
    serde_json::from_value(value).unwrap()
}

fn pod(status: Value) -> Option<Pod> {
    serde_json::from_value(owned("Pod", "importer-root", status)).unwrap()
}

fn facts() -> Facts {
    Facts {
        volume: volume(json!({})),
        runtime: ENABLED,
        claim: None,
        pod: None,
        progress: None,
    }
}

fn plan(facts: &Facts) -> Plan {
    decide(facts, Timestamp::UNIX_EPOCH)
}

fn phase(plan: &Plan) -> DataVolumePhase {
    plan.status.as_ref().unwrap().phase.unwrap()
}

fn condition(plan: &Plan, type_: &str) -> (String, String) {
    let all = &plan.status.as_ref().unwrap().conditions;
    let c = all.iter().find(|c| c.type_ == type_).unwrap();
    (
        c.reason.clone().unwrap_or_default(),
        c.message.clone().unwrap_or_default(),
    )
}

#[test]
fn a_disabled_runtime_is_named_as_the_reason() {
    let p = plan(&Facts {
        runtime: RuntimeFacts::UNKNOWN,
        ..facts()
    });
    assert_eq!(phase(&p), DataVolumePhase::Pending);
    assert_eq!(condition(&p, "Ready").0, "VMRuntimeDisabled");
    assert!(
        condition(&p, "Ready")
            .1
            .contains("ferrovirt enable vmruntime")
    );
    assert_eq!(p.step, Step::Nothing);
}

#[test]
fn a_disable_ends_an_import_and_takes_one_that_is_done() {
    let during = plan(&Facts {
        runtime: RuntimeFacts::UNKNOWN,
        claim: claim("Bound"),
        pod: pod(json!({"phase": "Running"})),
        ..facts()
    });
    assert_eq!(during.step, Step::RemoveImporter);
    assert_eq!(condition(&during, "Ready").0, "VMRuntimeDisabled");
    let done = plan(&Facts {
        runtime: RuntimeFacts::UNKNOWN,
        claim: claim("Bound"),
        pod: pod(json!({"phase": "Succeeded"})),
        ..facts()
    });
    assert_eq!(phase(&done), DataVolumePhase::Succeeded);
}

#[test]
fn the_claim_comes_first_and_belongs_to_the_data_volume() {
    let p = plan(&facts());
    let Step::MakeClaim(claim) = p.step else {
        panic!("{:?}", p.step)
    };
    assert_eq!(claim.name_any(), "root");
    assert!(controls(facts().volume.as_ref(), &*claim));
    let spec = claim.spec.unwrap();
    assert_eq!(spec.access_modes.unwrap(), ["ReadWriteOnce"]);
    assert_eq!(
        spec.resources.unwrap().requests.unwrap()["storage"].0,
        "1Gi"
    );
}

#[test]
fn a_claim_of_somebody_else_is_not_touched() {
    let mut foreign = claim("Bound").unwrap();
    foreign.metadata.owner_references = None;
    let p = plan(&Facts {
        claim: Some(foreign),
        ..facts()
    });
    assert_eq!(p.step, Step::Nothing);
    assert_eq!(condition(&p, "Bound").0, "ErrResourceExists");
    assert_eq!(p.event.unwrap().kind, EventKind::Warning);
}

#[test]
fn the_importer_is_made_once_the_claim_is_bound() {
    let waiting = plan(&Facts {
        claim: claim("Pending"),
        ..facts()
    });
    assert_eq!(waiting.step, Step::Nothing);
    assert_eq!(condition(&waiting, "Bound").0, "Pending");
    let bound = plan(&Facts {
        claim: claim("Bound"),
        ..facts()
    });
    assert_eq!(phase(&bound), DataVolumePhase::PvcBound);
    let Step::MakeImporter(pod) = bound.step else {
        panic!("{:?}", bound.step)
    };
    let env = pod.spec.unwrap().containers[0].env.clone().unwrap();
    let value = |name: &str| {
        let var = env.iter().find(|e| e.name == name).unwrap();
        var.value.clone().unwrap()
    };
    assert_eq!(value("IMPORTER_SOURCE"), "http");
    assert_eq!(value("IMPORTER_ENDPOINT"), "http://127.0.0.1/tiny.qcow2");
    assert_eq!(value("IMPORTER_IMAGE_SIZE"), "1Gi");
}

#[test]
fn progress_is_shown_while_the_importer_runs_and_never_falls_back() {
    let running = pod(json!({"phase": "Running", "containerStatuses": [
        {"name": "importer", "image": "", "imageID": "", "ready": true, "restartCount": 0,
         "state": {"running": {"startedAt": null}}}
    ]}));
    let first = plan(&Facts {
        claim: claim("Bound"),
        pod: running.clone(),
        progress: Some("42.00%".into()),
        ..facts()
    });
    assert_eq!(phase(&first), DataVolumePhase::ImportInProgress);
    assert_eq!(first.step, Step::WatchProgress);
    let status = first.status.unwrap();
    assert_eq!(status.progress.as_deref(), Some("42.00%"));
    let second = plan(&Facts {
        volume: volume(serde_json::to_value(&status).unwrap()),
        claim: claim("Bound"),
        pod: running,
        ..facts()
    });
    assert_eq!(second.status.unwrap().progress.as_deref(), Some("42.00%"));
}

#[test]
fn a_failed_import_says_why_and_is_tried_again() {
    let failed = pod(json!({"phase": "Running", "containerStatuses": [
        {"name": "importer", "image": "", "imageID": "", "ready": false, "restartCount": 2,
         "state": {"waiting": {"reason": "CrashLoopBackOff"}},
         "lastState": {"terminated": {"exitCode": 1, "message": "http://127.0.0.1/tiny.qcow2: 404 Not Found"}}}
    ]}));
    let p = plan(&Facts {
        claim: claim("Bound"),
        pod: failed,
        ..facts()
    });
    assert_eq!(phase(&p), DataVolumePhase::ImportInProgress);
    assert_eq!(
        condition(&p, "Ready"),
        (
            "Error".into(),
            "http://127.0.0.1/tiny.qcow2: 404 Not Found".into()
        )
    );
    assert_eq!(p.status.as_ref().unwrap().restart_count, Some(2));
    assert_eq!(p.event.unwrap().reason, "ImportFailed");
}

#[test]
fn success_is_final_and_written_before_the_importer_goes() {
    let done = pod(json!({"phase": "Succeeded"}));
    let p = plan(&Facts {
        claim: claim("Bound"),
        pod: done.clone(),
        ..facts()
    });
    assert_eq!(phase(&p), DataVolumePhase::Succeeded);
    assert_eq!(p.step, Step::Nothing);
    let status = p.status.unwrap();
    assert_eq!(status.progress.as_deref(), Some("100.0%"));
    let after = Facts {
        volume: volume(serde_json::to_value(&status).unwrap()),
        claim: claim("Bound"),
        pod: done,
        ..facts()
    };
    let p = plan(&after);
    assert_eq!(p.step, Step::RemoveImporter);
    assert_eq!(p.status, after.volume.status);
    // Even when the runtime is disabled later.
    let p = plan(&Facts {
        runtime: RuntimeFacts::UNKNOWN,
        ..after
    });
    assert_eq!(phase(&p), DataVolumePhase::Succeeded);
}
