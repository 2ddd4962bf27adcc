//! What decides where a Pod runs: node selectors, affinity, tolerations, spreading, gates.

use std::collections::HashSet;

use apimachinery::name;

use super::node_selector;
use super::spot::{Faults, NOT_POSITIVE, Spot};

/// Everything about placement in the specification of a Pod.
pub(super) fn placement(spec: &Spot<'_>, faults: &mut Faults) {
    faults.labels(spec, "nodeSelector");
    affinity(&spec.child("affinity"), faults);
    let mut gates = HashSet::new();
    for gate in spec.items("schedulingGates") {
        let given = gate.text("name");
        faults.named(&gate.path, given, name::qualified_name);
        if !gates.insert(given) {
            faults.duplicate(&gate.path, given);
        }
    }
    spread(spec, faults);
    for one in spec.items("tolerations") {
        toleration(&one, faults);
    }
}

fn affinity(spot: &Spot<'_>, faults: &mut Faults) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let nodes = spot.child("nodeAffinity");
    if let Some(given) = nodes.given(REQUIRED) {
        node_selector::selector(&given, faults);
    }
    for one in nodes.items(PREFERRED) {
        weight(&one, faults);
        node_selector::term(&one.child("preference"), false, faults);
    }
    for side in ["podAffinity", "podAntiAffinity"] {
        let pods = spot.child(side);
        for one in pods.items(REQUIRED) {
            pod_term(&one, faults);
        }
        for one in pods.items(PREFERRED) {
            weight(&one, faults);
            pod_term(&one.child("podAffinityTerm"), faults);
        }
    }
}

fn weight(spot: &Spot<'_>, faults: &mut Faults) {
    let given = spot.int("weight").unwrap_or(0);
    if !(1..=100).contains(&given) {
        faults.invalid(&spot.at("weight"), given, "must be in the range 1-100");
    }
}

fn pod_term(term: &Spot<'_>, faults: &mut Faults) {
    faults.selector(term, "labelSelector");
    faults.selector(term, "namespaceSelector");
    for namespace in term.items("namespaces") {
        faults.named(
            &term.at("namespace"),
            namespace.as_text(),
            name::dns1123_label,
        );
    }
    let mismatched: HashSet<&str> = term
        .items("mismatchLabelKeys")
        .map(|k| k.as_text())
        .collect();
    for keys in ["matchLabelKeys", "mismatchLabelKeys"] {
        if term.count(keys) > 0 && !term.has("labelSelector") {
            let detail = "must not be specified when labelSelector is not set";
            faults.forbidden(&term.at(keys), detail);
            continue;
        }
        for key in term.items(keys) {
            faults.named(&key.path, key.as_text(), name::label_key);
            if keys == "matchLabelKeys" && mismatched.contains(key.as_text()) {
                let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
                faults.invalid(&key.path, key.as_text(), detail);
            }
        }
    }
    let key = term.text("topologyKey");
    if key.is_empty() {
        faults.required(&term.at("topologyKey"), "can not be empty");
    }
    faults.named(&term.at("topologyKey"), key, name::label_key);
}

fn spread(spec: &Spot<'_>, faults: &mut Faults) {
    const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
    let all: Vec<Spot<'_>> = spec.items("topologySpreadConstraints").collect();
    let pair = |one: &Spot<'_>| {
        (
            one.text("topologyKey").to_owned(),
            one.text("whenUnsatisfiable").to_owned(),
        )
    };
    for (index, one) in all.iter().enumerate() {
        let skew = one.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            faults.invalid(&one.at("maxSkew"), skew, NOT_POSITIVE);
        }
        if one.text("topologyKey").is_empty() {
            faults.required(&one.at("topologyKey"), "can not be empty");
        }
        let action = one.text("whenUnsatisfiable");
        if !ACTIONS.contains(&action) {
            faults.not_supported(&one.at("whenUnsatisfiable"), action, &ACTIONS);
        }
        let (key, action) = pair(one);
        if all
            .iter()
            .skip(index + 1)
            .any(|other| pair(other) == pair(one))
        {
            let at = one.at("{topologyKey, whenUnsatisfiable}");
            faults.duplicate(&at, format!("{{{key}, {action}}}"));
        }
        if let Some(domains) = one.int("minDomains") {
            let at = one.at("minDomains");
            if domains <= 0 {
                faults.invalid(&at, domains, NOT_POSITIVE);
            }
            if action != "DoNotSchedule" {
                let detail = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                faults.invalid(&at, domains, detail);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            faults.choice_if_given(one, policy, &["Honor", "Ignore"]);
        }
        spread_keys(one, faults);
        faults.selector(one, "labelSelector");
    }
}

fn spread_keys(one: &Spot<'_>, faults: &mut Faults) {
    if one.count("matchLabelKeys") == 0 {
        return;
    }
    let selector = one.child("labelSelector");
    if !one.has("labelSelector") {
        let detail = "must not be specified when labelSelector is not set";
        faults.forbidden(&one.at("matchLabelKeys"), detail);
    }
    let mut selected: HashSet<&str> = selector
        .items("matchExpressions")
        .map(|e| e.text("key"))
        .collect();
    selected.extend(selector.entries("matchLabels").map(|(key, _)| key));
    for key in one.items("matchLabelKeys") {
        faults.named(&key.path, key.as_text(), name::label_key);
        if selected.contains(key.as_text()) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            faults.invalid(&key.path, key.as_text(), detail);
        }
    }
}

/// What a taint does.
pub(super) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn toleration(spot: &Spot<'_>, faults: &mut Faults) {
    let (key, operator) = (spot.text("key"), spot.text("operator"));
    let (value, effect) = (spot.text("value"), spot.text("effect"));
    let at = spot.at("operator");
    if !key.is_empty() {
        faults.named(&spot.at("key"), key, name::label_key);
    } else if operator != "Exists" {
        faults.invalid(
            &at,
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    if spot.has("tolerationSeconds") && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        faults.invalid(&spot.at("effect"), effect, detail);
    }
    match operator {
        "" | "Equal" => {
            let wrong = name::label_value(value).join(";");
            if !wrong.is_empty() {
                faults.invalid(&at, value, wrong);
            }
        }
        "Exists" => {
            if !value.is_empty() {
                let detail = "value must be empty when `operator` is 'Exists'";
                faults.invalid(&at, value, detail);
            }
        }
        other => faults.not_supported(&at, other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        faults.not_supported(&spot.at("effect"), effect, &EFFECTS);
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::{Value, json};

    fn of(spec: &Value) -> Vec<String> {
        judged(|faults| placement(&Spot::new(spec, FieldPath::new("s")), faults))
    }

    #[test]
    fn tolerations_fit_taints() {
        for (given, expected) in [
            (json!({"operator": "Exists"}), vec![]),
            (
                json!({"key": "k", "value": "v", "effect": "NoSchedule"}),
                vec![],
            ),
            (
                json!({"operator": "Equal"}),
                vec!["s.tolerations[0].operator Invalid"],
            ),
            (
                json!({"key": "k", "tolerationSeconds": 5}),
                vec!["s.tolerations[0].effect Invalid"],
            ),
            (
                json!({"key": "k", "operator": "Exists", "value": "v"}),
                vec!["s.tolerations[0].operator Invalid"],
            ),
            (
                json!({"key": "k", "operator": "Odd", "effect": "Odd"}),
                vec![
                    "s.tolerations[0].effect NotSupported",
                    "s.tolerations[0].operator NotSupported",
                ],
            ),
        ] {
            assert_eq!(of(&json!({"tolerations": [given]})), expected, "{given}");
        }
    }

    #[test]
    fn affinity_names_topologies_and_weights() {
        let spec = json!({"affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {},
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 0, "preference": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["a b"]}]}},
                ],
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchExpressions": [{"key": "k", "operator": "In"}]}, "topologyKey": "a/b/c"}],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 101, "podAffinityTerm": {"matchLabelKeys": ["k"]}}],
            },
        }});
        assert_eq!(
            of(&spec),
            [
                "s.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight Invalid",
                "s.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms Required",
                "s.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.matchLabelKeys Forbidden",
                "s.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey Invalid",
                "s.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey Required",
                "s.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight Invalid",
                "s.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].values Required",
                "s.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey Invalid",
            ]
        );
    }

    #[test]
    fn spreading_and_gates_are_judged_by_field() {
        let one =
            json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
        let spec = json!({
            "topologySpreadConstraints": [
                one, one,
                {"maxSkew": 0, "whenUnsatisfiable": "Odd", "minDomains": 0, "nodeTaintsPolicy": "Odd", "matchLabelKeys": ["k"]},
            ],
            "schedulingGates": [{"name": "a"}, {"name": "a"}, {"name": ""}],
            "nodeSelector": {"a b": "c"},
        });
        assert_eq!(
            of(&spec),
            [
                "s.nodeSelector Invalid",
                "s.schedulingGates[1] Duplicate",
                "s.schedulingGates[2] Invalid",
                "s.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable} Duplicate",
                "s.topologySpreadConstraints[2].matchLabelKeys Forbidden",
                "s.topologySpreadConstraints[2].maxSkew Invalid",
                "s.topologySpreadConstraints[2].minDomains Invalid",
                "s.topologySpreadConstraints[2].nodeTaintsPolicy NotSupported",
                "s.topologySpreadConstraints[2].topologyKey Required",
                "s.topologySpreadConstraints[2].whenUnsatisfiable NotSupported",
            ]
        );
    }
}
