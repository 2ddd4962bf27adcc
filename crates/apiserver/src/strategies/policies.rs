//! Admission policies and their bindings: defaults, and expressions that must compile.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use cel::policy::validate;
use serde_json::{Value, json};

use crate::stack;
use crate::strategy::{Context, Strategy};

/// `validatingadmissionpolicies` and `mutatingadmissionpolicies`.
pub(super) struct Policy {
    pub mutating: bool,
}

/// `validatingadmissionpolicybindings` and `mutatingadmissionpolicybindings`.
pub(super) struct Binding {
    pub mutating: bool,
}

fn fill(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), value);
    }
}

/// Defaults of `MatchResources`.
fn complete(resources: &mut Value) {
    fill(resources, "matchPolicy", json!("Equivalent"));
    fill(resources, "namespaceSelector", json!({}));
    fill(resources, "objectSelector", json!({}));
    for key in ["resourceRules", "excludeResourceRules"] {
        let rules = resources.get_mut(key).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            fill(rule, "scope", json!("*"));
        }
    }
}

fn complete_policy(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    fill(spec, "failurePolicy", json!("Fail"));
    if let Some(constraints) = spec.get_mut("matchConstraints") {
        complete(constraints);
    }
}

fn complete_binding(object: &mut Value) {
    if let Some(resources) = object.pointer_mut("/spec/matchResources") {
        complete(resources);
    }
}

#[async_trait]
impl Strategy for Policy {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_policy(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_policy(object);
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        // What did not change was judged before.
        if !cx.subresource.is_empty()
            || old.is_some_and(|old| old.get("spec") == object.get("spec"))
        {
            return Ok(Vec::new());
        }
        Ok(stack::compiling(|| {
            if self.mutating {
                validate::mutating_policy(object)
            } else {
                validate::policy(object)
            }
        })
        .unwrap_or_else(|| {
            let at = FieldPath::new("spec");
            vec![FieldError::internal(&at, stack::NO_STACK)]
        }))
    }
}

#[async_trait]
impl Strategy for Binding {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_binding(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_binding(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(if self.mutating {
            validate::mutating_binding(object)
        } else {
            validate::binding(object)
        })
    }
}
