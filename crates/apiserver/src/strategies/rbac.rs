//! Roles and bindings: nobody grants what they do not hold.

use ::authz::{Attributes, PolicyRule, escalation_message};
use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::selector::label_selector_errors;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{list, text};
use super::spot::{Faults, Spot};
use crate::strategy::{Context, Strategy};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) struct Role;
pub(super) struct Binding;

fn check(cx: &Context<'_>, rules: &[PolicyRule]) -> Result<(), ApiError> {
    cx.reader
        .registry
        .authorizer
        .index()
        .escalation(cx.user, cx.namespace, rules)
        .map_err(|missing| {
            ApiError::forbidden(
                &cx.kind.group_resource(),
                cx.name,
                escalation_message(cx.user, &missing),
            )
        })
}

#[async_trait]
impl Strategy for Role {
    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("rules");
        for (index, rule) in list(object, "/rules").enumerate() {
            let at = path.index(index);
            let count = |key: &str| rule.get(key).and_then(Value::as_array).map_or(0, Vec::len);
            if count("verbs") == 0 {
                errors.push(FieldError::required(
                    &at.child("verbs"),
                    "verbs must contain at least one value",
                ));
            }
            if count("nonResourceURLs") > 0 {
                if !cx.namespace.is_empty() {
                    errors.push(FieldError::invalid(
                        &at.child("nonResourceURLs"),
                        rule["nonResourceURLs"].clone(),
                        "namespaced rules cannot apply to non-resource URLs",
                    ));
                }
                if count("apiGroups") + count("resources") + count("resourceNames") > 0 {
                    errors.push(FieldError::invalid(
                        &at.child("nonResourceURLs"),
                        rule["nonResourceURLs"].clone(),
                        "rules cannot apply to both regular resources and non-resource URLs",
                    ));
                }
                continue;
            }
            if count("apiGroups") == 0 {
                errors.push(FieldError::required(
                    &at.child("apiGroups"),
                    "resource rules must supply at least one api group",
                ));
            }
            if count("resources") == 0 {
                errors.push(FieldError::required(
                    &at.child("resources"),
                    "resource rules must supply at least one resource",
                ));
            }
        }
        if object.get("aggregationRule").is_some_and(Value::is_object) {
            let mut faults = Faults::default();
            aggregation(&Spot::of(object, "aggregationRule"), &mut faults);
            errors.extend(faults.0);
        }
        if !errors.is_empty()
            || cx.user.is_privileged()
            || old.is_some_and(|old| {
                old.get("rules") == object.get("rules")
                    && old.get("aggregationRule") == object.get("aggregationRule")
            })
        {
            return Ok(errors);
        }
        let escalate = Attributes::resource(cx.user, "escalate", GROUP, cx.kind.plural())
            .in_namespace(cx.namespace)
            .named(cx.name);
        if cx.reader.registry.authorizer.allows(&escalate) {
            return Ok(errors);
        }
        if object.get("aggregationRule").is_some_and(Value::is_object) {
            // Whoever writes an aggregation rule may come to grant anything.
            check(
                cx,
                &[
                    PolicyRule::resources(&["*"], &["*"], &["*"]),
                    PolicyRule::urls(&["*"], &["*"]),
                ],
            )?;
        }
        check(cx, &PolicyRule::of_role(object))?;
        Ok(errors)
    }
}

/// Which roles a role is made of: at least one selector.
fn aggregation(rule: &Spot<'_>, faults: &mut Faults) {
    if rule.count("clusterRoleSelectors") == 0 {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        faults.required(&rule.at("clusterRoleSelectors"), detail);
    }
    for selector in rule.items("clusterRoleSelectors") {
        let found = label_selector_errors(selector.value, &selector.path);
        if !found.is_empty() {
            let detail = "invalid label selector.";
            faults.invalid(&selector.path, selector.value.clone(), detail);
        }
        faults.0.extend(found);
    }
}

fn complete(object: &mut Value) {
    if let Some(role) = object.get_mut("roleRef").and_then(Value::as_object_mut) {
        super::fields::default_text(role, "apiGroup", GROUP);
    }
    for subject in object
        .get_mut("subjects")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let group = match text(subject, "/kind") {
            "User" | "Group" => GROUP,
            _ => continue,
        };
        if let Some(map) = subject.as_object_mut() {
            super::fields::default_text(map, "apiGroup", group);
        }
    }
}

fn shape(cx: &Context<'_>, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("roleRef");
    if text(object, "/roleRef/apiGroup") != GROUP {
        errors.push(FieldError::not_supported(
            &path.child("apiGroup"),
            text(object, "/roleRef/apiGroup"),
            &[GROUP],
        ));
    }
    let kinds: &[&str] = if cx.namespace.is_empty() {
        &["ClusterRole"]
    } else {
        &["ClusterRole", "Role"]
    };
    if !kinds.contains(&text(object, "/roleRef/kind")) {
        errors.push(FieldError::not_supported(
            &path.child("kind"),
            text(object, "/roleRef/kind"),
            kinds,
        ));
    }
    if text(object, "/roleRef/name").is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    for detail in name::path_segment(text(object, "/roleRef/name")) {
        let given = text(object, "/roleRef/name");
        errors.push(FieldError::invalid(&path.child("name"), given, detail));
    }
    for (index, subject) in list(object, "/subjects").enumerate() {
        let at = FieldPath::new("subjects").index(index);
        if text(subject, "/name").is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        let group = text(subject, "/apiGroup");
        match text(subject, "/kind") {
            "ServiceAccount" => {
                let given = text(subject, "/name");
                for detail in name::dns1123_subdomain(given) {
                    if !given.is_empty() {
                        errors.push(FieldError::invalid(&at.child("name"), given, detail));
                    }
                }
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(
                        &at.child("apiGroup"),
                        group,
                        &[""],
                    ));
                }
                if text(subject, "/namespace").is_empty() && cx.namespace.is_empty() {
                    errors.push(FieldError::required(&at.child("namespace"), ""));
                }
            }
            kind @ ("User" | "Group") => {
                if text(subject, "/name").is_empty() {
                    let detail = format!("{} name cannot be empty", kind.to_lowercase());
                    errors.push(FieldError::invalid(&at.child("name"), "", detail));
                }
                if group != GROUP {
                    errors.push(FieldError::not_supported(
                        &at.child("apiGroup"),
                        group,
                        &[GROUP],
                    ));
                }
            }
            other => errors.push(FieldError::not_supported(
                &at.child("kind"),
                other,
                &["Group", "ServiceAccount", "User"],
            )),
        }
    }
    errors
}

#[async_trait]
impl Strategy for Binding {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete(object);
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = shape(cx, object);
        if let Some(old) = old
            && old.get("roleRef") != object.get("roleRef")
        {
            errors.push(FieldError::invalid(
                &FieldPath::new("roleRef"),
                object.get("roleRef").cloned().unwrap_or(json!(null)),
                "cannot change roleRef",
            ));
        }
        if !errors.is_empty()
            || cx.user.is_privileged()
            || old.is_some_and(|old| old.get("subjects") == object.get("subjects"))
        {
            return Ok(errors);
        }
        let (plural, namespace) = match text(object, "/roleRef/kind") {
            "Role" => ("roles", cx.namespace),
            _ => ("clusterroles", ""),
        };
        let name = text(object, "/roleRef/name");
        let bind = Attributes::resource(cx.user, "bind", GROUP, plural)
            .in_namespace(cx.namespace)
            .named(name);
        if cx.reader.registry.authorizer.allows(&bind) {
            return Ok(errors);
        }
        let Some(role) = cx.reader.get(GROUP, plural, namespace, name).await? else {
            return Err(ApiError::not_found(
                &apimachinery::gvk::GroupResource::new(GROUP, plural),
                name,
            ));
        };
        check(cx, &PolicyRule::of_role(&role))?;
        Ok(errors)
    }
}
