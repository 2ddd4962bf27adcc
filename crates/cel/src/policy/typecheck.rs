//! Type checking of a `ValidatingAdmissionPolicy` against the kinds that it names: warnings for its status.
//!
//! A policy is accepted with objects of any type, as it may match kinds that do not exist yet. Where kinds exist, its
//! validations are checked once more with their schemas. What is found is only a warning: it changes nothing of
//! what the policy does.

use std::sync::Arc;

use schema::Schema;
use serde_json::Value as Json;

use super::compile::{environment, list, text};
use crate::check::{Env, check};
use crate::expression::parse;
use crate::types::{Object, Type};

/// A kind that a policy names.
pub struct Matched {
    /// Group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Its schema, metadata included.
    pub schema: Arc<Schema>,
}

/// Something that cannot be right for one of the kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The expression: `spec.validations[0].expression`.
    pub field: String,
    /// What is wrong, for each kind, in the words of kube-apiserver.
    pub warning: String,
}

/// Checks the validations of a policy, and the expressions of their messages, with the types of `kinds` and of its
/// parameters. They were parsed when the policy was stored.
#[must_use]
pub fn type_check(policy: &Json, kinds: &[Matched], params: Option<&Schema>) -> Vec<Warning> {
    let spec = policy.get("spec").unwrap_or(&Json::Null);
    let params = params.and_then(|schema| Type::of_kind(schema, "params"));
    let environments: Vec<(String, Env)> = kinds
        .iter()
        .map(|matched| {
            let Matched {
                group,
                version,
                kind,
                schema,
            } = matched;
            let object = Type::of_kind(schema, kind).unwrap_or(Type::Dyn);
            let env = typed(spec, &object, params.as_ref());
            (format!("{group}/{version}, Kind={kind}"), env)
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in list(spec, "validations").iter().enumerate() {
        for key in ["expression", "messageExpression"] {
            let source = text(validation, key);
            if source.is_empty() {
                continue;
            }
            let found: Vec<String> = environments
                .iter()
                .filter_map(|(kind, env)| {
                    let why = judge(source, env)?;
                    Some(format!("{kind}: {why}\n"))
                })
                .collect();
            if !found.is_empty() {
                warnings.push(Warning {
                    field: format!("spec.validations[{index}].{key}"),
                    warning: found.join("\n"),
                });
            }
        }
    }
    warnings
}

/// What is wrong with an expression.
fn judge(source: &str, env: &Env) -> Option<String> {
    let checked = parse(source).and_then(|ast| check(env, source, &ast));
    checked.err()
}

/// The environment of a policy for objects of a type, its variables included; one that does not check is untyped.
fn typed(spec: &Json, object: &Type, params: Option<&Type>) -> Env {
    let mut env = environment(params.is_some());
    for (name, ty) in &mut env.variables {
        match (name.as_str(), params) {
            ("object" | "oldObject", _) => *ty = object.clone(),
            ("params", Some(params)) => *ty = params.clone(),
            _ => {}
        }
    }
    let mut fields = Object {
        name: "kubernetes.variables".to_owned(),
        ..Object::default()
    };
    for variable in list(spec, "variables") {
        let source = text(variable, "expression");
        let checked = parse(source).and_then(|ast| check(&env, source, &ast));
        let ty = checked.map_or(Type::Dyn, |checked| checked.ty);
        fields.fields.insert(text(variable, "name").to_owned(), ty);
        env.variables.retain(|(name, _)| name != "variables");
        let shape = Object {
            name: fields.name.clone(),
            fields: fields.fields.clone(),
        };
        env.variables
            .push(("variables".to_owned(), Type::Object(Arc::new(shape))));
    }
    env
}
