//! Kinds with little that is special.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupResource;
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{default, default_text, immutable, text};
use super::spot::{Faults, Spot};
use super::workload_rules::count_or_share;
use crate::strategy::{Context, Strategy};

pub(super) struct Lease;
pub(super) struct Budget;
pub(super) struct PriorityClass;

#[async_trait]
impl Strategy for Lease {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        lease(&Spot::of(object, "spec"), &mut faults);
        Ok(faults.0)
    }
}

fn lease(spec: &Spot<'_>, faults: &mut Faults) {
    const DURATION: &str = "leaseDurationSeconds";
    if let Some(seconds) = spec.int(DURATION).filter(|s| *s <= 0) {
        faults.invalid(&spec.at(DURATION), seconds, "must be greater than 0");
    }
    faults.not_negative(spec, &["leaseTransitions"]);
    let strategy = spec.text("strategy");
    if spec.has("strategy") {
        // The path is upstream's.
        let at = spec.at("strategy").child("strategy");
        if strategy.contains('/') {
            faults.named(&at, strategy, name::qualified_name);
        } else if strategy != "OldestEmulationVersion" {
            faults.not_supported(&at, strategy, &["OldestEmulationVersion"]);
        }
    }
    if !spec.text("preferredHolder").is_empty() && strategy.is_empty() {
        let detail = "may only be specified if `strategy` is defined";
        faults.forbidden(&spec.at("preferredHolder"), detail);
    }
}

#[async_trait]
impl Strategy for Budget {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        object["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        if cx.subresource == "status" {
            let status = Spot::of(object, "status");
            let counts = [
                "disruptionsAllowed",
                "currentHealthy",
                "desiredHealthy",
                "expectedPods",
            ];
            faults.not_negative(&status, &counts);
        } else {
            budget(&Spot::of(object, "spec"), &mut faults);
        }
        Ok(faults.0)
    }
}

fn budget(spec: &Spot<'_>, faults: &mut Faults) {
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        faults.invalid(&spec.path, spec.value.clone(), detail);
    }
    for field in ["minAvailable", "maxUnavailable"] {
        count_or_share(spec, field, true, faults);
    }
    faults.selector(spec, "selector");
    faults.choice_if_given(
        spec,
        "unhealthyPodEvictionPolicy",
        &["AlwaysAllow", "IfHealthyBudget"],
    );
}

#[async_trait]
impl Strategy for PriorityClass {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object.as_object_mut() {
            default_text(map, "preemptionPolicy", "PreemptLowerPriority");
            default(map, "value", 0);
        }
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        self.prepare_create(cx, object).await
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let value = object.get("value").and_then(Value::as_i64).unwrap_or(0);
        const SYSTEM: [(&str, i64); 2] = [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ];
        if old.is_some() {
            // The value of a class that exists does not change, and was judged before.
        } else if cx.name.starts_with("system-") {
            if !SYSTEM.contains(&(cx.name, value)) {
                errors.push(FieldError::forbidden(
                    &FieldPath::new("metadata").child("name"),
                    "priority class names with 'system-' prefix are reserved for system use only",
                ));
            }
        } else if value > 1_000_000_000 {
            errors.push(FieldError::forbidden(
                &FieldPath::new("value"),
                "maximum allowed value of a user defined priority is 1000000000",
            ));
        }
        let policy = text(object, "/preemptionPolicy");
        if !matches!(policy, "PreemptLowerPriority" | "Never") {
            errors.push(FieldError::not_supported(
                &FieldPath::new("preemptionPolicy"),
                policy,
                &["Never", "PreemptLowerPriority"],
            ));
        }
        if let Some(old) = old {
            if old.get("value") != object.get("value") {
                errors.push(FieldError::forbidden(
                    &FieldPath::new("value"),
                    "may not be changed in an update.",
                ));
            }
            immutable(object, old, &["/preemptionPolicy"], &mut errors);
        }
        if object.get("globalDefault") == Some(&Value::Bool(true)) {
            let others = cx
                .reader
                .list("scheduling.k8s.io", "priorityclasses", "")
                .await?;
            if let Some(other) = others.iter().find(|c| {
                c.get("globalDefault") == Some(&Value::Bool(true))
                    && apimachinery::meta::name(c) != Some(cx.name)
            }) {
                let name = apimachinery::meta::name(other).unwrap_or_default();
                let why = format!(
                    "PriorityClass {name} is already marked as default. Only one default can exist"
                );
                return Err(ApiError::forbidden(
                    &GroupResource::new("scheduling.k8s.io", "priorityclasses"),
                    cx.name,
                    why,
                ));
            }
        }
        Ok(errors)
    }

    async fn validate_delete(&self, cx: &Context<'_>, _object: &Value) -> Result<(), ApiError> {
        if matches!(cx.name, "system-cluster-critical" | "system-node-critical") {
            return Err(ApiError::forbidden(
                &GroupResource::new("scheduling.k8s.io", "priorityclasses"),
                cx.name,
                "this is a system priority class and cannot be deleted",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;

    #[test]
    fn budgets_and_leases_are_judged_by_field() {
        for (spec, expected) in [
            (json!({"minAvailable": "50%", "selector": {}}), vec![]),
            (
                json!({"minAvailable": -1, "maxUnavailable": "101%", "unhealthyPodEvictionPolicy": "Odd"}),
                vec![
                    "spec Invalid",
                    "spec.maxUnavailable Invalid",
                    "spec.minAvailable Invalid",
                    "spec.unhealthyPodEvictionPolicy NotSupported",
                ],
            ),
        ] {
            let spot = Spot::new(&spec, FieldPath::new("spec"));
            assert_eq!(judged(|faults| budget(&spot, faults)), expected, "{spec}");
        }
        for (spec, expected) in [
            (
                json!({"leaseDurationSeconds": 15, "leaseTransitions": 0}),
                vec![],
            ),
            (
                json!({"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "x"}),
                vec![
                    "spec.leaseDurationSeconds Invalid",
                    "spec.leaseTransitions Invalid",
                    "spec.preferredHolder Forbidden",
                ],
            ),
            (
                json!({"strategy": "Odd"}),
                vec!["spec.strategy.strategy NotSupported"],
            ),
        ] {
            let spot = Spot::new(&spec, FieldPath::new("spec"));
            assert_eq!(judged(|faults| lease(&spot, faults)), expected, "{spec}");
        }
    }
}
