//! What a Job must be like: counts, policies on failure, the template of its Pods, and what of it may change.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::name;
use apimachinery::selector::LabelSelector;
use serde_json::{Map, Value, json};

use super::pod_validate;
use super::spot::{Faults, Spot};

/// Labels that lead from a Pod to its Job: with the name of the Job, or with its UID.
pub(super) const OWN_LABELS: [(&str, bool); 4] = [
    ("batch.kubernetes.io/controller-uid", true),
    ("batch.kubernetes.io/job-name", false),
    ("controller-uid", true),
    ("job-name", false),
];
/// Most Pods that an indexed Job runs at once, and in all.
const INDEXED: i64 = 100_000;

/// Everything wrong with a Job.
pub(super) fn job(object: &Value, faults: &mut Faults) {
    let spec = Spot::of(object, "spec");
    if !spec.flag("manualSelector") {
        generated(object, &spec, faults);
    }
    specification(&spec, faults);
    if spec.has("selector") {
        faults.selector(&spec, "selector");
    } else {
        faults.required(&spec.at("selector"), "");
    }
    let metadata = spec.child("template").child("metadata");
    let empty = Map::new();
    let labels = metadata.map("labels").unwrap_or(&empty);
    let selector = spec.child("selector");
    let matches = spec.has("selector")
        && LabelSelector::from_json(selector.value).map_or(true, |s| s.matches(labels));
    if !matches {
        let detail = "`selector` does not match template `labels`";
        let given = metadata.child("labels");
        faults.invalid(&given.path, given.value.clone(), detail);
    }
    let completions = spec.int("completions").unwrap_or(0);
    if spec.text("completionMode") == "Indexed" && completions > 0 {
        let job = meta::name(object).unwrap_or_default();
        for detail in name::dns1123_label(&format!("{job}-{}", completions - 1)) {
            let detail = format!("will not able to create pod with invalid DNS label: {detail}");
            faults.invalid(&FieldPath::new("metadata").child("name"), job, detail);
        }
    }
}

/// The selector that the server makes selects by the Job's own labels.
fn generated(object: &Value, spec: &Spot<'_>, faults: &mut Faults) {
    let metadata = spec.child("template").child("metadata");
    let given = metadata.child("labels");
    let mut own = Map::new();
    for (label, by_uid) in OWN_LABELS {
        let expected = if by_uid {
            meta::uid(object)
        } else {
            meta::name(object)
        };
        let expected = expected.unwrap_or_default();
        own.insert(label.to_owned(), json!(expected));
        let at = given.path.key(label);
        let detail = format!("must be '{expected}'");
        if !given.has(label) {
            faults.required(&at, detail);
        } else if given.text(label) != expected {
            faults.invalid(&at, given.value.clone(), detail);
        }
    }
    let selector = spec.child("selector");
    let matches = LabelSelector::from_json(selector.value).map_or(true, |s| s.matches(&own));
    if spec.has("selector") && !matches {
        let detail = "`selector` not auto-generated";
        faults.invalid(&selector.path, selector.value.clone(), detail);
    }
}

/// The specification of a Job, or of a template of one.
pub(super) fn specification(spec: &Spot<'_>, faults: &mut Faults) {
    faults.not_negative(
        spec,
        &[
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "backoffLimitPerIndex",
            "maxFailedIndexes",
        ],
    );
    if spec.has("completionMode") {
        faults.choice_if_given(spec, "completionMode", &["NonIndexed", "Indexed"]);
    }
    let indexed = spec.text("completionMode") == "Indexed";
    if indexed {
        if !spec.has("completions") {
            let detail = "when completion mode is Indexed";
            faults.required(&spec.at("completions"), detail);
        }
        for field in ["parallelism", "maxFailedIndexes"] {
            if let Some(given) = spec.int(field).filter(|n| *n > INDEXED) {
                let detail = format!(
                    "must be less than or equal to {INDEXED} when completion mode is Indexed"
                );
                faults.invalid(&spec.at(field), given, detail);
            }
        }
    }
    per_index(spec, indexed, faults);
    let template = spec.child("template");
    pod_validate::template(&template, faults);
    let pod = template.child("spec");
    let restart = pod.text("restartPolicy");
    if restart == "Always" {
        let detail = "valid values: \"OnFailure\", \"Never\"";
        faults.required(&pod.at("restartPolicy"), detail);
    } else if restart == "OnFailure" && spec.has("podFailurePolicy") {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        faults.invalid(&pod.at("restartPolicy"), restart, detail);
    }
    if spec.has("podFailurePolicy") {
        failure_policy(&spec.child("podFailurePolicy"), &template, faults);
    }
    if spec.has("podReplacementPolicy") {
        let known: &[&str] = if spec.has("podFailurePolicy") {
            &["Failed"]
        } else {
            &["Failed", "TerminatingOrFailed"]
        };
        faults.choice_if_given(spec, "podReplacementPolicy", known);
    }
    if spec.has("managedBy") {
        let given = spec.text("managedBy");
        let at = spec.at("managedBy");
        if given.contains('/') {
            faults.named(&at, given, name::qualified_name);
        } else {
            faults.invalid(
                &at,
                given,
                "must be a domain-prefixed path (such as \"acme.io/foo\")",
            );
        }
    }
}

fn per_index(spec: &Spot<'_>, indexed: bool, faults: &mut Faults) {
    if spec.has("backoffLimitPerIndex") && !indexed {
        let given = spec.int("backoffLimitPerIndex");
        faults.invalid(
            &spec.at("backoffLimitPerIndex"),
            given,
            "requires indexed completion mode",
        );
    }
    let Some(most) = spec.int("maxFailedIndexes") else {
        return;
    };
    let at = spec.at("maxFailedIndexes");
    if !spec.has("backoffLimitPerIndex") {
        let detail = "when maxFailedIndexes is specified";
        faults.required(&spec.at("backoffLimitPerIndex"), detail);
    }
    if spec.int("completions").is_some_and(|all| most > all) {
        faults.invalid(&at, most, "must be less than or equal to completions");
    }
}

fn failure_policy(policy: &Spot<'_>, template: &Spot<'_>, faults: &mut Faults) {
    const RULES: usize = 20;
    const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
    let pod = template.child("spec");
    let count = policy.count("rules");
    if count > RULES {
        let at = policy.at("rules");
        faults.0.push(FieldError::too_many(&at, count, RULES));
    }
    for rule in policy.items("rules") {
        faults.choice(&rule, "action", &ACTIONS);
        let codes = rule.child("onExitCodes");
        if rule.has("onExitCodes") {
            faults.choice(&codes, "operator", &["In", "NotIn"]);
            exit_codes(&codes, faults);
            let container = codes.text("containerName");
            let known = ["containers", "initContainers"]
                .into_iter()
                .flat_map(|list| pod.items(list))
                .any(|c| c.text("name") == container);
            if codes.has("containerName") && !known {
                let detail =
                    "must be one of the container or initContainer names in the pod template";
                faults.invalid(&codes.at("containerName"), container, detail);
            }
        }
        for pattern in rule.items("onPodConditions") {
            if pattern.text("type").is_empty() {
                faults.required(&pattern.at("type"), "");
            } else {
                faults.named(
                    &pattern.at("type"),
                    pattern.text("type"),
                    name::qualified_name,
                );
            }
            faults.choice(&pattern, "status", &["False", "True", "Unknown"]);
        }
        match (rule.has("onExitCodes"), rule.count("onPodConditions") > 0) {
            (true, true) => faults.invalid(
                &rule.path,
                rule.value.clone(),
                "specifying both OnExitCodes and OnPodConditions is not supported",
            ),
            (false, false) => faults.invalid(
                &rule.path,
                rule.value.clone(),
                "specifying one of OnExitCodes and OnPodConditions is required",
            ),
            _ => {}
        }
    }
}

fn exit_codes(codes: &Spot<'_>, faults: &mut Faults) {
    let at = codes.at("values");
    let values: Vec<i64> = codes
        .items("values")
        .filter_map(|v| v.value.as_i64())
        .collect();
    if values.is_empty() {
        let given = codes.child("values").value.clone();
        faults.invalid(&at, given, "at least one value is required");
    }
    for (index, code) in values.iter().enumerate() {
        if values.iter().take(index).any(|other| other == code) {
            faults.duplicate(&at.index(index), *code);
        }
        if *code == 0 && codes.text("operator") == "In" {
            faults.invalid(&at.index(index), 0, "must not be 0 for the In operator");
        }
    }
    if values
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a > b))
    {
        faults.invalid(&at, json!(values), "must be ordered");
    }
}

/// What of a Job may not change.
pub(super) fn unchanged(object: &Value, old: &Value, faults: &mut Faults) {
    let (spec, before) = (Spot::of(object, "spec"), Spot::of(old, "spec"));
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        faults.immutable(&spec.child(field), &before.child(field));
    }
    // An indexed Job is scaled by both numbers together.
    let (all, at_once) = (spec.int("completions"), spec.int("parallelism"));
    let elastic = spec.text("completionMode") == "Indexed" && all.is_some() && all == at_once;
    if !elastic {
        faults.immutable(&spec.child("completions"), &before.child("completions"));
    }
    // One that never ran can still be sent elsewhere.
    let started = Spot::of(old, "status").has("startTime");
    let (mut template, mut was) = (
        spec.child("template").value.clone(),
        before.child("template").value.clone(),
    );
    if before.flag("suspend") && !started {
        for value in [&mut template, &mut was] {
            forget_placement(value);
        }
    }
    if template != was {
        faults.immutable(&spec.child("template"), &before.child("template"));
    }
}

fn forget_placement(template: &mut Value) {
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("labels");
        metadata.remove("annotations");
    }
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        pod.remove(field);
    }
    if let Some(affinity) = pod.get_mut("affinity").and_then(Value::as_object_mut) {
        affinity.remove("nodeAffinity");
        if affinity.is_empty() {
            pod.remove("affinity");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;

    fn object(more: Value) -> Value {
        let labels = json!({
            "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j",
            "controller-uid": "u", "job-name": "j",
        });
        let mut spec = json!({
            "parallelism": 1, "completions": 1, "completionMode": "NonIndexed",
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "restartPolicy": "Never", "dnsPolicy": "ClusterFirst",
                "containers": [{"name": "c", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}],
            }},
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": spec})
    }

    #[test]
    fn a_job_is_judged_by_field() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"parallelism": -1, "completionMode": "Odd", "managedBy": "me"}),
                vec![
                    "spec.completionMode NotSupported",
                    "spec.managedBy Invalid",
                    "spec.parallelism Invalid",
                ],
            ),
            (
                json!({"completionMode": "Indexed", "completions": null}),
                vec!["spec.completions Required"],
            ),
            (
                json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 2}),
                vec![
                    "spec.backoffLimitPerIndex Invalid",
                    "spec.maxFailedIndexes Invalid",
                ],
            ),
            (
                json!({"selector": {"matchLabels": {"a": "b"}}}),
                vec![
                    "spec.selector Invalid",
                    "spec.template.metadata.labels Invalid",
                ],
            ),
            (
                json!({"podFailurePolicy": {"rules": [
                    {"action": "Odd", "onExitCodes": {"operator": "In", "values": [0, 3, 2], "containerName": "x"}}, {"action": "Count"},
                ]}, "podReplacementPolicy": "TerminatingOrFailed"}),
                vec![
                    "spec.podFailurePolicy.rules[0].action NotSupported",
                    "spec.podFailurePolicy.rules[0].onExitCodes.containerName Invalid",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values Invalid",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[0] Invalid",
                    "spec.podFailurePolicy.rules[1] Invalid",
                    "spec.podReplacementPolicy NotSupported",
                ],
            ),
        ] {
            let object = object(more.clone());
            assert_eq!(judged(|faults| job(&object, faults)), expected, "{more}");
        }
    }

    #[test]
    fn the_work_of_a_job_stays() {
        let change =
            |old: Value, new: Value| judged(|faults| unchanged(&object(new), &object(old), faults));
        assert!(change(json!({}), json!({"parallelism": 3, "suspend": true})).is_empty());
        assert_eq!(
            change(json!({}), json!({"completions": 2})),
            ["spec.completions Invalid"]
        );
        let indexed =
            |n: i64| json!({"completionMode": "Indexed", "completions": n, "parallelism": n});
        assert!(change(indexed(1), indexed(3)).is_empty());
        let mut moved = object(json!({}))["spec"]["template"].clone();
        moved["spec"]["nodeSelector"] = json!({"a": "b"});
        assert_eq!(
            change(json!({}), json!({"template": moved})),
            ["spec.template Invalid"]
        );
        assert!(
            change(
                json!({"suspend": true}),
                json!({"suspend": true, "template": moved})
            )
            .is_empty()
        );
    }
}
