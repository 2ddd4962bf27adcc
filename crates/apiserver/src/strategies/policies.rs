//! Admission policies and their bindings: defaults, expressions that must compile, and parameters that whoever
//! writes them may read.

use ::authz::Attributes;
use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupVersion;
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
        let mut errors = stack::compiling(|| {
            if self.mutating {
                validate::mutating_policy(object)
            } else {
                validate::policy(object)
            }
        })
        .unwrap_or_else(|| {
            let at = FieldPath::new("spec");
            vec![FieldError::internal(&at, stack::NO_STACK)]
        });
        if errors.is_empty() {
            errors.extend(may_read_kind(cx, object, old));
        }
        Ok(errors)
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
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = if self.mutating {
            validate::mutating_binding(object)
        } else {
            validate::binding(object)
        };
        if errors.is_empty() {
            errors.extend(self.may_read_object(cx, object, old).await?);
        }
        Ok(errors)
    }
}

/// Group and resource of a `paramKind`; `*` for what is not known.
fn resource(cx: &Context<'_>, param_kind: Option<&Value>) -> (String, String) {
    let text = |key: &str| param_kind.and_then(|kind| kind.get(key)?.as_str());
    let any = || "*".to_owned();
    let Some(of) = text("apiVersion").and_then(|text| GroupVersion::parse(text).ok()) else {
        return (any(), any());
    };
    let kinds = cx.reader.registry.kinds.load();
    let versions = kinds.versions(&of.group).into_iter().flatten();
    let mut found = versions
        .filter(|(version, _)| *version == of.version)
        .flat_map(|(_, kinds)| kinds)
        .filter(|kind| Some(kind.kind()) == text("kind"));
    let resource = found
        .next()
        .map_or_else(any, |kind| kind.plural().to_owned());
    (of.group, resource)
}

/// Who makes a policy lets it read all objects of its `paramKind`: only who may read them.
fn may_read_kind(cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Option<FieldError> {
    let at = "/spec/paramKind";
    let kind = object.pointer(at).filter(|kind| kind.is_object())?;
    if old.and_then(|old| old.pointer(at)) == Some(kind) || cx.user.is_privileged() {
        return None;
    }
    let (group, resource) = resource(cx, Some(kind));
    let question = Attributes::resource(cx.user, "get", &group, &resource)
        .in_namespace("*")
        .named("*");
    if cx.reader.registry.authorizer.allows(&question) {
        return None;
    }
    let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default();
    let why = format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        cx.user.name,
        text("kind"),
        text("apiVersion")
    );
    let path = FieldPath::new("spec").child("paramKind");
    Some(FieldError::forbidden(&path, why))
}

impl Binding {
    /// Who makes a binding lets its policy read the parameters: only who may read them.
    async fn may_read_object(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Option<FieldError>, ApiError> {
        let at = |object: &Value, pointer: &str| {
            let found = object.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let reference = object.pointer("/spec/paramRef").filter(|r| r.is_object());
        let policy = at(object, "/spec/policyName");
        let unchanged = old.is_some_and(|old| {
            old.pointer("/spec/paramRef") == reference && at(old, "/spec/policyName") == policy
        });
        if reference.is_none() || unchanged || cx.user.is_privileged() {
            return Ok(None);
        }
        let policies = if self.mutating {
            "mutatingadmissionpolicies"
        } else {
            "validatingadmissionpolicies"
        };
        let found = cx
            .reader
            .get(cx.kind.group(), policies, "", &policy)
            .await?;
        let kind = found.as_ref().and_then(|p| p.pointer("/spec/paramKind"));
        let (group, resource) = resource(cx, kind);
        let name = at(object, "/spec/paramRef/name");
        let namespace = at(object, "/spec/paramRef/namespace");
        let verb = if name.is_empty() { "list" } else { "get" };
        let question = Attributes::resource(cx.user, verb, &group, &resource)
            .in_namespace(&namespace)
            .named(&name);
        if cx.reader.registry.authorizer.allows(&question) {
            return Ok(None);
        }
        let why = format!(
            "user {} does not have \"{verb}\" permission on the object referenced by paramRef",
            cx.user.name
        );
        let path = FieldPath::new("spec").child("paramRef");
        Ok(Some(FieldError::forbidden(&path, why)))
    }
}
