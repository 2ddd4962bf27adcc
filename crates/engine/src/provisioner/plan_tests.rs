//! What happens to claims and volumes, case by case.

use super::*;
use serde_json::json;

fn claim_from(v: serde_json::Value) -> PersistentVolumeClaim {
    serde_json::from_value(v).unwrap()
}

fn pending() -> PersistentVolumeClaim {
    claim_from(json!({
        "metadata": {"name": "root", "namespace": "ns", "uid": "u1", "finalizers": [CLAIM_PROTECTION]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"}
    }))
}

fn class() -> StorageClass {
    serde_json::from_value(json!({
        "metadata": {"name": "local", "annotations": {IS_DEFAULT: "true"}},
        "provisioner": PROVISIONER, "reclaimPolicy": "Delete"
    }))
    .unwrap()
}

fn config() -> Config {
    Config {
        root: "/data/volumes".into(),
        node: "n1".into(),
        owner: (107, 107),
    }
}

fn decide(claim: &PersistentVolumeClaim, classes: &[StorageClass], users: &[String]) -> ClaimPlan {
    super::claim(&ClaimFacts {
        claim,
        classes,
        volume: None,
        users,
    })
}

#[test]
fn a_new_claim_is_protected_before_anything_is_made_for_it() {
    let mut claim = pending();
    claim.metadata.finalizers = None;
    assert_eq!(decide(&claim, &[class()], &[]), ClaimPlan::Protect);
}

#[test]
fn the_default_class_serves_a_claim_that_names_none() {
    assert_eq!(
        decide(&pending(), &[class()], &[]),
        ClaimPlan::Provision {
            class: "local".into(),
            volume: "pvc-u1".into()
        }
    );
}

#[test]
fn a_claim_that_cannot_be_served_is_told_why() {
    let refused =
        |claim: &PersistentVolumeClaim, classes: &[StorageClass]| match decide(claim, classes, &[])
        {
            ClaimPlan::Refuse { message } => message,
            other => panic!("{other:?}"),
        };
    assert!(refused(&pending(), &[]).contains("no StorageClass is the default"));
    let mut named = pending();
    named.spec.as_mut().unwrap().storage_class_name = Some("fast".into());
    assert_eq!(
        refused(&named, &[class()]),
        "storageclass.storage.k8s.io \"fast\" not found"
    );
    let mut block = pending();
    block.spec.as_mut().unwrap().volume_mode = Some("Block".into());
    assert!(refused(&block, &[class()]).contains("set spec.volumeMode to Filesystem"));
    let mut named = pending();
    named.spec.as_mut().unwrap().volume_name = Some("pv-x".into());
    assert!(refused(&named, &[class()]).contains("\"pv-x\""));
}

#[test]
fn a_claim_of_another_provisioner_is_left_alone() {
    let mut other = class();
    other.provisioner = "example.com/other".into();
    assert_eq!(decide(&pending(), &[other], &[]), ClaimPlan::Nothing);
}

#[test]
fn a_used_claim_stays_until_its_users_have_ended() {
    let mut claim = pending();
    claim.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        jiff::Timestamp::UNIX_EPOCH,
    ));
    assert_eq!(
        decide(&claim, &[class()], &["pod-a".into()]),
        ClaimPlan::Keep {
            users: vec!["pod-a".into()]
        }
    );
    assert_eq!(decide(&claim, &[class()], &[]), ClaimPlan::Release);
}

#[test]
fn the_volume_is_reserved_for_its_claim_and_tied_to_its_node() {
    let pv = volume_for(&pending(), &class(), "pvc-u1", &config());
    assert!(claimed_by(&pv, &pending()));
    assert_eq!(
        serde_json::to_value(&pv).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {
                "name": "pvc-u1",
                "annotations": {PROVISIONED_BY: PROVISIONER},
                "finalizers": [VOLUME_FINALIZER]
            },
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "root", "namespace": "ns", "uid": "u1"},
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": "local",
                "volumeMode": "Filesystem",
                "local": {"path": "/data/volumes/pvc-u1"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}
                ]}}
            }
        })
    );
}

#[test]
fn a_volume_is_reclaimed_after_its_claim_unless_it_is_to_be_retained() {
    let mut pv = volume_for(&pending(), &class(), "pvc-u1", &config());
    assert_eq!(volume(&pv, true), VolumePlan::Phase("Bound"));
    assert_eq!(volume(&pv, false), VolumePlan::Reclaim);
    pv.spec.as_mut().unwrap().persistent_volume_reclaim_policy = Some("Retain".into());
    assert_eq!(volume(&pv, false), VolumePlan::Phase("Released"));
    let mut deleted = pv.clone();
    deleted.metadata.deletion_timestamp = Some(
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
    );
    assert_eq!(volume(&deleted, false), VolumePlan::LetGo);
    pv.metadata.annotations = None;
    assert_eq!(volume(&pv, false), VolumePlan::Nothing);
}
