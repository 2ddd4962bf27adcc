//! StorageClasses: defaults, topologies, and parts that are fixed once volumes depend on them.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::Value;

use super::fields::{default_text, immutable, text};
use super::spot::{Faults, Spot};
use crate::strategy::{Context, Strategy};

pub(super) struct StorageClass;

#[async_trait]
impl Strategy for StorageClass {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(map) = object.as_object_mut() {
            default_text(map, "reclaimPolicy", "Delete");
            default_text(map, "volumeBindingMode", "Immediate");
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
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let provisioner = text(object, "/provisioner");
        let at = FieldPath::new("provisioner");
        if provisioner.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else {
            for detail in name::qualified_name(&provisioner.to_lowercase()) {
                errors.push(FieldError::invalid(&at, provisioner, detail));
            }
        }
        parameters(object, &mut errors);
        for (field, known) in [
            ("reclaimPolicy", ["Delete", "Retain"]),
            ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
        ] {
            let given = text(object, &format!("/{field}"));
            if !known.contains(&given) {
                errors.push(FieldError::not_supported(
                    &FieldPath::new(field),
                    given,
                    &known,
                ));
            }
        }
        let mut faults = Faults::default();
        topologies(object, &mut faults);
        errors.extend(faults.0);
        if let Some(old) = old {
            immutable(
                object,
                old,
                &[
                    "/parameters",
                    "/provisioner",
                    "/reclaimPolicy",
                    "/volumeBindingMode",
                ],
                &mut errors,
            );
        }
        Ok(errors)
    }
}

fn parameters(object: &Value, errors: &mut Vec<FieldError>) {
    const COUNT: usize = 512;
    const SIZE: usize = 256 * 1024;
    let at = FieldPath::new("parameters");
    let Some(map) = object.get("parameters").and_then(Value::as_object) else {
        return;
    };
    if map.len() > COUNT {
        errors.push(FieldError::too_long(&at, COUNT));
        return;
    }
    let mut size = 0;
    for (key, value) in map {
        if key.is_empty() {
            errors.push(FieldError::invalid(&at, "", "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > SIZE {
        errors.push(FieldError::too_long(&at, SIZE));
    }
}

/// Where volumes of a class may lie: labels with distinct keys and values, and no term twice.
fn topologies(object: &Value, faults: &mut Faults) {
    let root = Spot::new(object, FieldPath::root());
    let mut seen: Vec<Vec<(&str, Vec<&str>)>> = Vec::new();
    for term in root.items("allowedTopologies") {
        let mut whole: Vec<(&str, Vec<&str>)> = Vec::new();
        for one in term.items("matchLabelExpressions") {
            let key = one.text("key");
            let mut values: Vec<&str> = one.items("values").map(|v| v.as_text()).collect();
            if values.is_empty() {
                faults.required(&one.at("values"), "");
            }
            for (index, value) in values.iter().enumerate() {
                if values.iter().take(index).any(|other| other == value) {
                    faults.duplicate(&one.at("values").index(index), *value);
                }
            }
            faults.named(&one.at("key"), key, name::label_key);
            if whole.iter().any(|(other, _)| *other == key) {
                faults.duplicate(&one.at("key"), key);
            }
            values.sort_unstable();
            values.dedup();
            whole.push((key, values));
        }
        whole.sort();
        if seen.contains(&whole) {
            faults.duplicate(&term.at("matchLabelExpressions"), "");
        }
        seen.push(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use serde_json::json;

    #[test]
    fn topologies_are_distinct() {
        let one = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]});
        let again = json!({"matchLabelExpressions": [{"key": "zone", "values": ["b", "a"]}]});
        let wrong = json!({"matchLabelExpressions": [
            {"key": "zone", "values": ["a", "a"]}, {"key": "zone"}, {"key": "a b", "values": ["x"]},
        ]});
        let object = json!({"allowedTopologies": [one, again, wrong]});
        assert_eq!(
            judged(|faults| topologies(&object, faults)),
            [
                "allowedTopologies[1].matchLabelExpressions Duplicate",
                "allowedTopologies[2].matchLabelExpressions[0].values[1] Duplicate",
                "allowedTopologies[2].matchLabelExpressions[1].key Duplicate",
                "allowedTopologies[2].matchLabelExpressions[1].values Required",
                "allowedTopologies[2].matchLabelExpressions[2].key Invalid",
            ]
        );
    }
}
