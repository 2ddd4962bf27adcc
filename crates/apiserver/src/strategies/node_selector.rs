//! Selectors of nodes: affinity of Pods, and where a PersistentVolume can be reached.

use apimachinery::name;

use super::spot::{Faults, Spot};

/// A `NodeSelector`: at least one term. `strict` also judges the values.
pub(super) fn selector(spot: &Spot<'_>, faults: &mut Faults) {
    let terms = spot.at("nodeSelectorTerms");
    if spot.count("nodeSelectorTerms") == 0 {
        faults.required(&terms, "must have at least one node selector term");
    }
    for one in spot.items("nodeSelectorTerms") {
        term(&one, true, faults);
    }
}

/// A `NodeSelectorTerm`. What is only preferred may ask for values that no label can have.
pub(super) fn term(spot: &Spot<'_>, strict: bool, faults: &mut Faults) {
    for one in spot.items("matchExpressions") {
        expression(&one, strict, faults);
    }
    for one in spot.items("matchFields") {
        field(&one, faults);
    }
}

fn expression(spot: &Spot<'_>, strict: bool, faults: &mut Faults) {
    let at = spot.at("values");
    let count = spot.count("values");
    match spot.text("operator") {
        "In" | "NotIn" if count == 0 => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            faults.required(&at, detail);
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            faults.forbidden(&at, detail);
        }
        "Gt" | "Lt" if count != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            faults.required(&at, detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => faults.invalid(&spot.at("operator"), other, "not a valid selector operator"),
    }
    faults.named(&spot.at("key"), spot.text("key"), name::label_key);
    for value in spot.items("values").filter(|_| strict) {
        faults.named(&value.path, value.as_text(), name::label_value);
    }
}

fn field(spot: &Spot<'_>, faults: &mut Faults) {
    match spot.text("operator") {
        "In" | "NotIn" => {
            if spot.count("values") != 1 {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                faults.required(&spot.at("values"), detail);
            }
        }
        other => faults.invalid(&spot.at("operator"), other, "not a valid selector operator"),
    }
    if spot.text("key") != "metadata.name" {
        let detail = "not a valid field selector key";
        faults.invalid(&spot.at("key"), spot.text("key"), detail);
        return;
    }
    for value in spot.items("values") {
        faults.named(&value.path, value.as_text(), name::dns1123_subdomain);
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::json;

    #[test]
    fn terms_are_judged_by_field() {
        let given = json!({"nodeSelectorTerms": [
            {"matchExpressions": [
                {"key": "k", "operator": "In", "values": ["v"]},
                {"key": "a b", "operator": "In"},
                {"key": "k", "operator": "Exists", "values": ["v"]},
                {"key": "k", "operator": "Gt", "values": []},
                {"key": "k", "operator": "Near", "values": ["a b"]},
            ]},
            {"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["Bad_"]},
                {"key": "spec.x", "operator": "Exists"},
            ]},
        ]});
        let spot = Spot::new(&given, FieldPath::new("n"));
        assert_eq!(
            judged(|faults| selector(&spot, faults)),
            [
                "n.nodeSelectorTerms[0].matchExpressions[1].key Invalid",
                "n.nodeSelectorTerms[0].matchExpressions[1].values Required",
                "n.nodeSelectorTerms[0].matchExpressions[2].values Forbidden",
                "n.nodeSelectorTerms[0].matchExpressions[3].values Required",
                "n.nodeSelectorTerms[0].matchExpressions[4].operator Invalid",
                "n.nodeSelectorTerms[0].matchExpressions[4].values[0] Invalid",
                "n.nodeSelectorTerms[1].matchFields[0].values[0] Invalid",
                "n.nodeSelectorTerms[1].matchFields[1].key Invalid",
                "n.nodeSelectorTerms[1].matchFields[1].operator Invalid",
            ]
        );
        let nothing = json!({});
        let spot = Spot::new(&nothing, FieldPath::new("n"));
        assert_eq!(
            judged(|faults| selector(&spot, faults)),
            ["n.nodeSelectorTerms Required"]
        );
    }
}
