//! A policy object's expressions, parsed and checked.

use std::sync::Arc;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::{meta, name};
use serde_json::Value as Json;

use super::mutate::Mutation;
use super::{FailurePolicy, Policy, Validation, matching};
use crate::authorizer;
use crate::check::{Env, check};
use crate::construct;
use crate::eval::Lazy;
use crate::expression::{Ast, parse};
use crate::types::{Object, Type};

pub(super) fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value.get(key).and_then(Json::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Json, key: &str) -> &'a [Json] {
    let list = value.get(key).and_then(Json::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// Compiles a stored policy.
pub(super) fn policy(object: &Json) -> Policy {
    let spec = object.get("spec").unwrap_or(&Json::Null);
    let mut errors = Vec::new();
    let parts = expressions(spec, &FieldPath::new("spec"), &mut errors);
    Policy {
        name: meta::name(object).unwrap_or_default().to_owned(),
        failure_policy: failure_policy(spec),
        param_kind: param_kind(spec),
        constraints: matching::Matcher::read(spec.get("matchConstraints").unwrap_or(&Json::Null)),
        variables: parts.variables,
        conditions: parts.conditions,
        validations: parts.validations,
        annotations: parts.annotations,
        broken: errors.first().map(ToString::to_string),
    }
}

/// `spec.failurePolicy`.
pub(super) fn failure_policy(spec: &Json) -> FailurePolicy {
    match text(spec, "failurePolicy") {
        "Ignore" => FailurePolicy::Ignore,
        _ => FailurePolicy::Fail,
    }
}

/// apiVersion and kind of `spec.paramKind`.
pub(super) fn param_kind(spec: &Json) -> Option<(String, String)> {
    let kind = spec.get("paramKind").filter(|kind| kind.is_object())?;
    Some((
        text(kind, "apiVersion").to_owned(),
        text(kind, "kind").to_owned(),
    ))
}

/// The compiled expressions of a policy.
#[derive(Default)]
pub(super) struct Parts {
    variables: Vec<Lazy>,
    conditions: Vec<Ast>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Ast)>,
}

/// Compiles all expressions, in the order in which one may speak of another.
pub(super) fn expressions(spec: &Json, at: &FieldPath, errors: &mut Vec<FieldError>) -> Parts {
    let mut parts = Parts::default();
    let mut env = environment(spec.get("paramKind").is_some_and(Json::is_object));
    // Conditions are checked before there are variables.
    parts.conditions = conditions(
        list(spec, "matchConditions"),
        &env,
        &at.child("matchConditions"),
        errors,
    );
    parts.variables = variables(spec, at, &mut env, errors);
    let mut messages = env.clone();
    messages.variables.retain(|(name, _)| name != "authorizer");
    for (index, given) in list(spec, "validations").iter().enumerate() {
        let path = at.child("validations").index(index);
        let source = text(given, "expression");
        let ast = expression(
            source,
            &env,
            Wanted::Bool,
            &path.child("expression"),
            errors,
        );
        let made = text(given, "messageExpression");
        let message_expression = if made.trim().is_empty() {
            None
        } else {
            let path = path.child("messageExpression");
            expression(made, &messages, Wanted::Text, &path, errors)
        };
        if let Some(ast) = ast {
            parts.validations.push(Validation {
                source: source.to_owned(),
                ast,
                message: Some(text(given, "message").to_owned()).filter(|m| !m.trim().is_empty()),
                message_expression,
                reason: match text(given, "reason") {
                    "" => "Invalid".to_owned(),
                    reason => reason.to_owned(),
                },
            });
        }
    }
    for (index, given) in list(spec, "auditAnnotations").iter().enumerate() {
        let path = at
            .child("auditAnnotations")
            .index(index)
            .child("valueExpression");
        let source = text(given, "valueExpression");
        if let Some(ast) = expression(source, &env, Wanted::TextOrNull, &path, errors) {
            parts.annotations.push((text(given, "key").to_owned(), ast));
        }
    }
    parts
}

/// Compiles variables, each of which may speak of those before it; what follows may speak of all.
fn variables(
    spec: &Json,
    at: &FieldPath,
    env: &mut Env,
    errors: &mut Vec<FieldError>,
) -> Vec<Lazy> {
    let mut compiled = Vec::new();
    let mut fields = Object {
        name: "kubernetes.variables".to_owned(),
        ..Object::default()
    };
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        let path = at.child("variables").index(index);
        let (given, source) = (text(variable, "name"), text(variable, "expression"));
        let found = typed(source, env, Wanted::Any, &path.child("expression"), errors);
        let ty = match found {
            Some((ast, ty)) => {
                compiled.push(Lazy {
                    name: given.to_owned(),
                    ast,
                });
                ty
            }
            None => Type::Dyn,
        };
        fields.fields.insert(given.to_owned(), ty);
        env.variables.retain(|(name, _)| name != "variables");
        let shape = Object {
            name: fields.name.clone(),
            fields: fields.fields.clone(),
        };
        env.variables
            .push(("variables".to_owned(), Type::Object(Arc::new(shape))));
    }
    compiled
}

/// Compiles the expressions of a mutating policy, in the order in which one may speak of another.
pub(super) fn mutating(
    spec: &Json,
    at: &FieldPath,
    errors: &mut Vec<FieldError>,
) -> (Vec<Ast>, Vec<Lazy>, Vec<Mutation>) {
    let mut env = environment(spec.get("paramKind").is_some_and(Json::is_object));
    let path = at.child("matchConditions");
    let conditions = conditions(list(spec, "matchConditions"), &env, &path, errors);
    let variables = variables(spec, at, &mut env, errors);
    env.patches = true;
    let mut mutations = Vec::new();
    for (index, given) in list(spec, "mutations").iter().enumerate() {
        let path = at.child("mutations").index(index);
        let (key, wanted) = match text(given, "patchType") {
            "JSONPatch" => ("jsonPatch", Wanted::Patch),
            "ApplyConfiguration" => ("applyConfiguration", Wanted::Configuration),
            _ => continue,
        };
        let source = given.get(key).map_or("", |given| text(given, "expression"));
        let path = path.child(key).child("expression");
        if let Some(ast) = expression(source.trim(), &env, wanted, &path, errors) {
            mutations.push(match wanted {
                Wanted::Patch => Mutation::Patch(ast),
                _ => Mutation::Configuration(ast),
            });
        }
    }
    (conditions, variables, mutations)
}

fn conditions(given: &[Json], env: &Env, at: &FieldPath, errors: &mut Vec<FieldError>) -> Vec<Ast> {
    let compiled = given.iter().enumerate().filter_map(|(index, condition)| {
        let path = at.index(index).child("expression");
        let source = text(condition, "expression");
        expression(source, env, Wanted::Bool, &path, errors)
    });
    compiled.collect()
}

/// Compiles the match conditions of a webhook, which see what those of a policy without parameters see.
pub(super) fn webhook_conditions(
    given: &[Json],
    at: &FieldPath,
    errors: &mut Vec<FieldError>,
) -> Vec<Ast> {
    conditions(given, &environment(false), at, errors)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Bool,
    Text,
    TextOrNull,
    /// A list of `JSONPatch`.
    Patch,
    /// An `Object`.
    Configuration,
    Any,
}

fn expression(
    source: &str,
    env: &Env,
    wanted: Wanted,
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) -> Option<Ast> {
    typed(source, env, wanted, path, errors).map(|(ast, _)| ast)
}

fn typed(
    source: &str,
    env: &Env,
    wanted: Wanted,
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) -> Option<(Ast, Type)> {
    if source.trim().is_empty() {
        // Reported as missing, with the structure of the policy.
        return None;
    }
    let compiled = parse(source).and_then(|ast| {
        let checked = check(env, source, &ast)?;
        Ok((ast, checked.ty))
    });
    let (ast, ty) = match compiled {
        Ok(found) => found,
        Err(why) => {
            let detail = format!("compilation failed: {why}");
            errors.push(FieldError::invalid(path, source, detail));
            return None;
        }
    };
    let made = |ty: &Type, name: &str| matches!(ty, Type::Made(made) if &**made == name);
    let (fits, must) = match (wanted, &ty) {
        (Wanted::Patch, ty) => (
            matches!(ty, Type::List(of, _) if made(of, construct::JSON_PATCH)),
            "must evaluate to list(JSONPatch)",
        ),
        (Wanted::Configuration, ty) => (made(ty, construct::OBJECT), "must evaluate to Object"),
        (_, Type::Dyn) | (Wanted::Any, _) => (true, ""),
        (Wanted::Bool, ty) => (*ty == Type::Bool, "must evaluate to bool"),
        (Wanted::Text, ty) => (matches!(ty, Type::String(_)), "must evaluate to string"),
        (Wanted::TextOrNull, ty) => (
            matches!(ty, Type::String(_) | Type::Null),
            "must evaluate to one of: string, null_type",
        ),
    };
    if !fits {
        errors.push(FieldError::invalid(path, source, must));
        return None;
    }
    Some((ast, ty))
}

/// What expressions of policies may speak of. The request has the fields of `AdmissionRequest`.
pub(super) fn environment(params: bool) -> Env {
    let text = || Type::String(1024);
    let object = |name: &str, fields: Vec<(&str, Type)>| {
        let fields = fields.into_iter().map(|(name, ty)| (name.to_owned(), ty));
        Type::Object(Arc::new(Object {
            name: name.to_owned(),
            fields: fields.collect(),
        }))
    };
    let kind = || {
        object(
            "kubernetes.GroupVersionKind",
            vec![("group", text()), ("version", text()), ("kind", text())],
        )
    };
    let resource = || {
        object(
            "kubernetes.GroupVersionResource",
            vec![("group", text()), ("version", text()), ("resource", text())],
        )
    };
    let user = object(
        "kubernetes.UserInfo",
        vec![
            ("username", text()),
            ("uid", text()),
            ("groups", Type::list(text(), 1000)),
            ("extra", Type::map(Type::list(text(), 1000), 1000)),
        ],
    );
    let request = object(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    );
    let mut env = Env::default();
    for name in ["object", "oldObject", "namespaceObject"] {
        env.variables.push((name.to_owned(), Type::Dyn));
    }
    env.variables.push(("request".to_owned(), request));
    let none = object("kubernetes.variables", Vec::new());
    env.variables.push(("variables".to_owned(), none));
    env.variables
        .push(("authorizer".to_owned(), authorizer::AUTHORIZER));
    if params {
        env.variables.push(("params".to_owned(), Type::Dyn));
    }
    env
}

/// Whether a name can be spelled in an expression.
pub(super) fn is_identifier(given: &str) -> bool {
    let mut chars = given.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What is wrong with a qualified name.
pub(super) fn qualified(given: &str) -> Vec<String> {
    name::qualified_name(given)
}
