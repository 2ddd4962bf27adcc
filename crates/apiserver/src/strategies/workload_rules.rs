//! What a workload of `apps` must be like: selectors, strategies, counts, and what its status may claim.

use apimachinery::field::FieldPath;
use apimachinery::selector::LabelSelector;
use serde_json::{Map, Value};

use super::pod_validate;
use super::spot::{Faults, NOT_NEGATIVE, Spot};

/// Everything wrong with a workload.
pub(super) fn judge(plural: &str, object: &Value, faults: &mut Faults) {
    let spec = Spot::of(object, "spec");
    faults.not_negative(
        &spec,
        &["replicas", "minReadySeconds", "revisionHistoryLimit"],
    );
    let template = spec.child("template");
    selector(plural, &spec, &template, faults);
    match plural {
        "deployments" => deployment(&spec, faults),
        "daemonsets" => daemon_set(&spec, faults),
        "statefulsets" => stateful_set(&spec, faults),
        _ => {}
    }
    if plural == "statefulsets" {
        // Its Pods mount volumes that its claims provide; upstream judges each Pod when it is made.
        pod_validate::template_metadata(&template, faults);
    } else {
        pod_validate::template(&template, faults);
    }
    let pod = template.child("spec");
    let restart = pod.text("restartPolicy");
    if restart != "Always" {
        faults.not_supported(&pod.at("restartPolicy"), restart, &["Always"]);
    }
    if pod.has("activeDeadlineSeconds") {
        let kind = match plural {
            "daemonsets" => "DaemonSet",
            "statefulsets" => "StatefulSet",
            _ => "ReplicaSet",
        };
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        faults.forbidden(&pod.at("activeDeadlineSeconds"), detail);
    }
}

fn selector(plural: &str, spec: &Spot<'_>, template: &Spot<'_>, faults: &mut Faults) {
    let given = spec.child("selector");
    if !spec.has("selector") {
        // A DaemonSet without one selects nothing, which does not fit its template.
        if plural != "daemonsets" {
            faults.required(&given.path, "");
        }
    } else {
        faults.selector(spec, "selector");
        let parts = ["matchLabels", "matchExpressions"];
        if parts.iter().all(|part| given.count(part) == 0) {
            let kind = match plural {
                "daemonsets" => "daemonset",
                "statefulsets" => "statefulset",
                _ => "deployment",
            };
            let detail = format!("empty selector is invalid for {kind}");
            faults.invalid(&given.path, given.value.clone(), detail);
            return;
        }
    }
    let metadata = template.child("metadata");
    let empty = Map::new();
    let labels = metadata.map("labels").unwrap_or(&empty);
    let matches = spec.has("selector")
        && LabelSelector::from_json(given.value).map_or(true, |s| s.matches(labels));
    if !matches {
        let detail = "`selector` does not match template `labels`";
        let at = metadata.at("labels");
        faults.invalid(&at, metadata.child("labels").value.clone(), detail);
    }
}

/// A number, or a share in percent: not negative, and where `whole` says so not more than everything.
pub(super) fn count_or_share(spot: &Spot<'_>, key: &str, whole: bool, faults: &mut Faults) {
    const NO_SHARE: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
    let at = spot.at(key);
    match spot.child(key).value {
        Value::String(given) => {
            let digits = given.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                faults.invalid(&at, given.as_str(), NO_SHARE);
            } else if whole && digits.parse::<u64>().map_or(true, |share| share > 100) {
                faults.invalid(&at, given.as_str(), "must not be greater than 100%");
            }
        }
        Value::Number(given) if given.as_i64().is_some_and(|n| n < 0) => {
            faults.invalid(&at, given.as_i64(), NOT_NEGATIVE);
        }
        _ => {}
    }
}

/// Whether a count or share comes to nothing.
fn is_none(spot: &Spot<'_>, key: &str) -> bool {
    match spot.child(key).value {
        Value::String(given) => given.trim_end_matches('%').parse::<i64>() == Ok(0),
        other => other.as_i64().unwrap_or(0) == 0,
    }
}

fn deployment(spec: &Spot<'_>, faults: &mut Faults) {
    let strategy = spec.child("strategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.text("type") {
        "Recreate" => {
            if strategy.has("rollingUpdate") {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                faults.forbidden(&rolling.path, detail);
            }
        }
        "RollingUpdate" => {
            count_or_share(&rolling, "maxUnavailable", true, faults);
            count_or_share(&rolling, "maxSurge", false, faults);
            if is_none(&rolling, "maxUnavailable") && is_none(&rolling, "maxSurge") {
                let at = rolling.at("maxUnavailable");
                let given = rolling.child("maxUnavailable");
                faults.invalid(
                    &at,
                    given.value.clone(),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
        }
        other => faults.not_supported(&strategy.path, other, &["Recreate", "RollingUpdate"]),
    }
    const DEADLINE: &str = "progressDeadlineSeconds";
    faults.not_negative(spec, &[DEADLINE]);
    if let Some(deadline) = spec.int(DEADLINE)
        && deadline <= spec.int("minReadySeconds").unwrap_or(0)
    {
        faults.invalid(
            &spec.at(DEADLINE),
            deadline,
            "must be greater than minReadySeconds",
        );
    }
}

fn daemon_set(spec: &Spot<'_>, faults: &mut Faults) {
    let strategy = spec.child("updateStrategy");
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = strategy.child("rollingUpdate");
            count_or_share(&rolling, "maxUnavailable", true, faults);
            count_or_share(&rolling, "maxSurge", true, faults);
            let without = is_none(&rolling, "maxUnavailable");
            match (without, is_none(&rolling, "maxSurge")) {
                (false, false) => {
                    let given = rolling.child("maxSurge");
                    let detail = "may not be set when maxUnavailable is non-zero";
                    faults.invalid(&given.path, given.value.clone(), detail);
                }
                (true, true) => {
                    let detail = "cannot be 0 when maxSurge is 0";
                    faults.required(&rolling.at("maxUnavailable"), detail);
                }
                _ => {}
            }
        }
        other => faults.not_supported(&strategy.path, other, &["OnDelete", "RollingUpdate"]),
    }
}

fn stateful_set(spec: &Spot<'_>, faults: &mut Faults) {
    let at = spec.at("podManagementPolicy");
    match spec.text("podManagementPolicy") {
        "" => faults.required(&at, ""),
        "OrderedReady" | "Parallel" => {}
        other => faults.invalid(&at, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    let strategy = spec.child("updateStrategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.text("type") {
        "" => faults.required(&strategy.path, ""),
        "OnDelete" => {
            if strategy.has("rollingUpdate") {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                faults.invalid(&rolling.path, rolling.value.clone(), detail);
            }
        }
        "RollingUpdate" => {
            faults.not_negative(&rolling, &["partition"]);
            count_or_share(&rolling, "maxUnavailable", true, faults);
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            faults.invalid(&strategy.path, strategy.value.clone(), detail);
        }
    }
    let retention = spec.child("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        faults.choice_if_given(&retention, field, &["Delete", "Retain"]);
    }
    faults.not_negative(&spec.child("ordinals"), &["start"]);
}

/// What a status may claim: counts that are not negative, and parts that are not more than the whole.
pub(super) fn status(plural: &str, object: &Value, old: &Value, faults: &mut Faults) {
    let status = Spot::of(object, "status");
    let parts: &[&str] = match plural {
        "deployments" => &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "replicasets" => &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "statefulsets" => &[
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
        ],
        _ => {
            faults.not_negative(
                &status,
                &[
                    "currentNumberScheduled",
                    "numberMisscheduled",
                    "desiredNumberScheduled",
                    "numberReady",
                    "observedGeneration",
                    "updatedNumberScheduled",
                    "numberAvailable",
                    "numberUnavailable",
                    "collisionCount",
                ],
            );
            return;
        }
    };
    faults.not_negative(
        &status,
        &["replicas", "observedGeneration", "unavailableReplicas"],
    );
    faults.not_negative(&status, parts);
    faults.not_negative(&status, &["collisionCount"]);
    let count = |key: &str| status.int(key).unwrap_or(0);
    for part in parts {
        if count(part) > count("replicas") {
            let detail = "cannot be greater than status.replicas";
            faults.invalid(&status.at(part), count(part), detail);
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        let at = status.at("availableReplicas");
        let detail = "cannot be greater than readyReplicas";
        faults.invalid(&at, count("availableReplicas"), detail);
    }
    let before = Spot::of(old, "status").int("collisionCount").unwrap_or(0);
    if count("collisionCount") < before {
        let at = FieldPath::new("status").child("collisionCount");
        faults.invalid(&at, count("collisionCount"), "cannot be decremented");
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use serde_json::json;

    fn of(plural: &str, more: Value) -> Vec<String> {
        let mut spec = json!({
            "replicas": 1, "podManagementPolicy": "Parallel", "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                "containers": [{"name": "c", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}],
            }},
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let object = json!({"spec": spec});
        judged(|faults| judge(plural, &object, faults))
    }

    #[test]
    fn workloads_are_judged_by_field() {
        let rolling = |more: Value| json!({"type": "RollingUpdate", "rollingUpdate": more});
        for (plural, more, expected) in [
            ("deployments", json!({}), vec![]),
            ("daemonsets", json!({}), vec![]),
            ("statefulsets", json!({}), vec![]),
            ("replicasets", json!({}), vec![]),
            (
                "deployments",
                json!({"selector": null}),
                vec![
                    "spec.selector Required",
                    "spec.template.metadata.labels Invalid",
                ],
            ),
            (
                "daemonsets",
                json!({"selector": null}),
                vec!["spec.template.metadata.labels Invalid"],
            ),
            (
                "replicasets",
                json!({"selector": {}}),
                vec!["spec.selector Invalid"],
            ),
            (
                "deployments",
                json!({"selector": {"matchLabels": {"a": "c"}}}),
                vec!["spec.template.metadata.labels Invalid"],
            ),
            (
                "deployments",
                json!({"strategy": {"type": "Odd"}}),
                vec!["spec.strategy NotSupported"],
            ),
            (
                "deployments",
                json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
                vec!["spec.strategy.rollingUpdate Forbidden"],
            ),
            (
                "deployments",
                json!({"strategy": rolling(json!({"maxSurge": "0%", "maxUnavailable": 0})), "minReadySeconds": 600}),
                vec![
                    "spec.progressDeadlineSeconds Invalid",
                    "spec.strategy.rollingUpdate.maxUnavailable Invalid",
                ],
            ),
            (
                "deployments",
                json!({"strategy": rolling(json!({"maxSurge": "x", "maxUnavailable": "101%"})), "replicas": -1}),
                vec![
                    "spec.replicas Invalid",
                    "spec.strategy.rollingUpdate.maxSurge Invalid",
                    "spec.strategy.rollingUpdate.maxUnavailable Invalid",
                ],
            ),
            (
                "daemonsets",
                json!({"updateStrategy": rolling(json!({"maxSurge": 1, "maxUnavailable": 1}))}),
                vec!["spec.updateStrategy.rollingUpdate.maxSurge Invalid"],
            ),
            (
                "daemonsets",
                json!({"updateStrategy": rolling(json!({"maxSurge": 0, "maxUnavailable": 0}))}),
                vec!["spec.updateStrategy.rollingUpdate.maxUnavailable Required"],
            ),
            (
                "statefulsets",
                json!({
                    "podManagementPolicy": "Odd", "updateStrategy": {"type": "Odd"}, "ordinals": {"start": -1},
                    "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Odd"},
                }),
                vec![
                    "spec.ordinals.start Invalid",
                    "spec.persistentVolumeClaimRetentionPolicy.whenDeleted NotSupported",
                    "spec.podManagementPolicy Invalid",
                    "spec.updateStrategy Invalid",
                ],
            ),
        ] {
            assert_eq!(of(plural, more.clone()), expected, "{plural} {more}");
        }
    }

    #[test]
    fn pods_of_a_stateful_set_are_judged_when_they_are_made() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "restartPolicy": "Never", "dnsPolicy": "ClusterFirst",
            "containers": [{
                "name": "c", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always",
                "volumeMounts": [{"name": "data", "mountPath": "/d"}],
            }],
        }});
        assert_eq!(
            of("statefulsets", json!({"template": template})),
            ["spec.template.spec.restartPolicy NotSupported"]
        );
        assert_eq!(
            of("deployments", json!({"template": template})),
            [
                "spec.template.spec.containers[0].volumeMounts[0].name NotFound",
                "spec.template.spec.restartPolicy NotSupported",
            ]
        );
    }

    #[test]
    fn a_status_adds_up() {
        let old = json!({"status": {"collisionCount": 2}});
        let new = json!({"status": {
            "replicas": 1, "readyReplicas": 0, "availableReplicas": 2, "updatedReplicas": -1, "collisionCount": 1,
        }});
        assert_eq!(
            judged(|faults| status("deployments", &new, &old, faults)),
            [
                "status.availableReplicas Invalid",
                "status.collisionCount Invalid",
                "status.updatedReplicas Invalid",
            ]
        );
    }
}
