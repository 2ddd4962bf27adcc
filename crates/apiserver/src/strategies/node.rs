//! Nodes: what may be used of them, and what keeps Pods away.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::text;
use super::spot::{Faults, NOT_A_CIDR, Spot};
use super::{address, pod_placement, pod_resources};
use crate::strategy::{Context, Strategy};

pub(super) struct Node;

#[async_trait]
impl Strategy for Node {
    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        pod_ranges(object);
        Ok(())
    }

    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object.as_object_mut() {
            map.entry("spec").or_insert_with(|| json!({}));
            let status = map.entry("status").or_insert_with(|| json!({}));
            // What is there may be used until the node says otherwise.
            if let (None, Some(capacity)) =
                (status.get("allocatable"), status.get("capacity").cloned())
            {
                status["allocatable"] = capacity;
            }
        }
        pod_ranges(object);
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        node(object, &mut faults);
        if let Some(old) = old.filter(|_| cx.subresource.is_empty()) {
            unchanged(object, old, &mut faults);
        }
        Ok(faults.0)
    }
}

/// `podCIDR` is the first of `podCIDRs`.
fn pod_ranges(object: &mut Value) {
    let first = text(object, "/spec/podCIDR").to_owned();
    if !first.is_empty() && text(object, "/spec/podCIDRs/0") != first {
        object["spec"]["podCIDRs"] = json!([first]);
    }
}

fn node(object: &Value, faults: &mut Faults) {
    let (spec, status) = (Spot::of(object, "spec"), Spot::of(object, "status"));
    let mut seen = Vec::new();
    for (index, taint) in spec.items("taints").enumerate() {
        // Upstream tells them below the metadata.
        let path = FieldPath::new("metadata").child("taints").index(index);
        let taint = Spot::new(taint.value, path);
        let (key, effect) = (taint.text("key"), taint.text("effect"));
        faults.named(&taint.at("key"), key, name::label_key);
        faults.named(&taint.at("value"), taint.text("value"), name::label_value);
        faults.choice(&taint, "effect", &pod_placement::EFFECTS);
        if seen.contains(&(key, effect)) {
            faults.duplicate(&taint.path, taint.value.clone());
        }
        seen.push((key, effect));
    }
    for list in ["capacity", "allocatable"] {
        for (resource, amount) in status.entries(list) {
            let amount = Spot::new(amount.value, status.at(list).child(resource));
            pod_resources::amount(&amount, resource, faults);
        }
    }
    let mut addresses = Vec::new();
    for address in status.items("addresses") {
        if addresses.contains(&address.value) {
            faults.duplicate(&address.path, address.value.clone());
        }
        addresses.push(address.value);
    }
    pod_ranges_are_one_of_a_family(&spec, faults);
}

fn pod_ranges_are_one_of_a_family(spec: &Spot<'_>, faults: &mut Faults) {
    let ranges: Vec<&str> = spec.items("podCIDRs").map(|r| r.as_text()).collect();
    for (index, range) in ranges.iter().enumerate() {
        let at = spec.at("podCIDRs").index(index);
        if address::cidr(range).is_none() {
            faults.invalid(&at, *range, NOT_A_CIDR);
        }
        if ranges.iter().take(index).any(|other| other == range) {
            faults.duplicate(&at, *range);
        }
    }
    let sixes = ranges.iter().filter(|range| range.contains(':')).count();
    if ranges.len() > 2 || (ranges.len() == 2 && sixes != 1) {
        let all = spec.child("podCIDRs");
        let detail = "may specify no more than one CIDR for each IP family";
        faults.invalid(&all.path, all.value.clone(), detail);
    }
}

/// What is empty may be filled in once.
fn unchanged(object: &Value, old: &Value, faults: &mut Faults) {
    let (spec, before) = (Spot::of(object, "spec"), Spot::of(old, "spec"));
    for (field, what) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
        if before.has(field) && before.child(field).value != spec.child(field).value {
            let detail = format!("node updates may not change {what} except from \"\" to valid");
            faults.forbidden(&spec.at(field), detail);
        }
    }
    if spec.text("externalID") != before.text("externalID") {
        faults.forbidden(&spec.at("externalID"), "may not be updated");
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;

    #[test]
    fn a_node_is_judged_by_field() {
        let object = json!({
            "spec": {
                "podCIDRs": ["10.0.0.0/24", "10.0.1.0/99"],
                "taints": [
                    {"key": "k", "effect": "NoSchedule"}, {"key": "k", "effect": "NoSchedule"},
                    {"key": "a b", "value": "c d", "effect": "Odd"}, {"key": "k", "effect": ""},
                ],
            },
            "status": {
                "capacity": {"cpu": "-1", "pods": "1500m"},
                "addresses": [{"type": "InternalIP", "address": "a"}, {"type": "InternalIP", "address": "a"}],
            },
        });
        assert_eq!(
            judged(|faults| node(&object, faults)),
            [
                "metadata.taints[1] Duplicate",
                "metadata.taints[2].effect NotSupported",
                "metadata.taints[2].key Invalid",
                "metadata.taints[2].value Invalid",
                "metadata.taints[3].effect Required",
                "spec.podCIDRs Invalid",
                "spec.podCIDRs[1] Invalid",
                "status.addresses[1] Duplicate",
                "status.capacity.cpu Invalid",
                "status.capacity.pods Invalid",
            ]
        );
    }

    #[test]
    fn ranges_and_the_provider_are_set_once() {
        let old = json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "a://b"}});
        let new = json!({"spec": {"podCIDRs": ["10.0.1.0/24"], "unschedulable": true, "externalID": "x"}});
        assert_eq!(
            judged(|faults| unchanged(&new, &old, faults)),
            [
                "spec.externalID Forbidden",
                "spec.podCIDRs Forbidden",
                "spec.providerID Forbidden",
            ]
        );
        let empty = json!({"spec": {}});
        let filled = json!({"spec": {"podCIDRs": ["10.0.1.0/24"], "providerID": "a://b"}});
        assert!(judged(|faults| unchanged(&filled, &empty, faults)).is_empty());
    }
}
