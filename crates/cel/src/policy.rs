//! Admission policies (`ValidatingAdmissionPolicy`, `MutatingAdmissionPolicy`): compiled, matched and evaluated.
//!
//! ```text
//!  policy object ── compile ──► Policy ◄─ evaluate(object, oldObject, request, params, namespaceObject)
//!                                  │
//!  binding object ─ Binding ───────┘        verdicts: messages with reasons, audit annotations
//!  resource rules, selectors ─ matching ─► does it concern this request at all?
//! ```
//!
//! Objects are untyped here: a policy may match many kinds, so fields are checked when they are read.

mod compile;
mod conditions;
pub mod matching;
mod mutate;
mod typecheck;
pub mod validate;

use std::sync::Arc;

use apimachinery::meta;
pub use conditions::Conditions;
use kube_cel::cel::Value;
pub use mutate::{MutatingPolicy, Patch};
use serde_json::Value as Json;
pub use typecheck::{Matched, Warning, type_check};

use crate::authorizer::{self, Authorizer};
use crate::budget::{Budget, Fault};
use crate::eval::{Lazy, Machine};
use crate::expression::Ast;
use crate::rules::usable_message;
use crate::types::Type;
use crate::value::{as_text, from_json};

/// What happens when an expression fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The request is refused.
    Fail,
    /// The request passes.
    Ignore,
}

/// A policy, compiled.
pub struct Policy {
    /// Name of the policy.
    pub name: String,
    /// What a failing expression means.
    pub failure_policy: FailurePolicy,
    /// `spec.paramKind`: apiVersion and kind of parameters.
    pub param_kind: Option<(String, String)>,
    /// `spec.matchConstraints`.
    pub constraints: matching::Matcher,
    variables: Vec<Lazy>,
    conditions: Vec<Ast>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Ast)>,
    /// A stored policy that does not compile decides by its failure policy.
    broken: Option<String>,
}

struct Validation {
    source: String,
    ast: Ast,
    message: Option<String>,
    message_expression: Option<Ast>,
    reason: String,
}

/// What expressions see.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The object as it will be; absent for deletions.
    pub object: Option<&'a Json>,
    /// The object as it was; absent for creations.
    pub old_object: Option<&'a Json>,
    /// The request, in the form of `AdmissionRequest`.
    pub request: &'a Json,
    /// The parameters, when the policy takes any.
    pub params: Option<&'a Json>,
    /// The namespace of the request.
    pub namespace_object: Option<&'a Json>,
    /// Answers the questions of `authorizer` for the caller of the request.
    pub authorizer: &'a Arc<dyn Authorizer>,
}

impl Inputs<'_> {
    /// The values of the variables, charged; `params` only where the policy takes them.
    fn roots(
        &self,
        params: bool,
        budget: &mut Budget,
    ) -> Result<Vec<(&'static str, Value)>, Fault> {
        let json = |given: Option<&Json>| from_json(given.unwrap_or(&Json::Null), &Type::Dyn);
        let mut roots = vec![
            ("object", json(self.object)),
            ("oldObject", json(self.old_object)),
            ("request", json(Some(self.request))),
            ("namespaceObject", json(self.namespace_object)),
            (
                "authorizer",
                authorizer::value(self.authorizer, self.request),
            ),
        ];
        if params {
            roots.push(("params", json(self.params)));
        }
        for (_, value) in &roots {
            budget.charge_for(value)?;
        }
        Ok(roots)
    }
}

/// One reason to refuse a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For people.
    pub message: String,
    /// `Invalid`, `Forbidden`, ...
    pub reason: String,
}

/// What a policy says of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Validations that did not hold.
    pub refusals: Vec<Refusal>,
    /// Audit annotations: `<policy>/<key>` and value.
    pub annotations: Vec<(String, String)>,
}

impl Policy {
    /// Compiles a policy object. What is wrong with its expressions is told by [`validate::policy`]; a policy
    /// that is broken all the same decides by its failure policy.
    #[must_use]
    pub fn compile(object: &Json) -> Policy {
        compile::policy(object)
    }

    /// Evaluates for one request with one set of parameters.
    #[must_use]
    pub fn evaluate(&self, inputs: &Inputs<'_>, budget: &mut Budget) -> Verdict {
        let mut verdict = Verdict::default();
        if let Some(why) = &self.broken {
            self.failed(&mut verdict, &format!("compilation error: {why}"));
            return verdict;
        }
        let roots = match inputs.roots(self.param_kind.is_some(), budget) {
            Ok(roots) => roots,
            Err(fault) => {
                self.failed(&mut verdict, &fault.to_string());
                return verdict;
            }
        };
        let mut machine = Machine::new(&roots, &self.variables);
        match conditions::hold(&self.conditions, &mut machine, budget) {
            Ok(true) => {}
            Ok(false) => return verdict,
            Err(fault) => {
                self.failed(&mut verdict, &fault.to_string());
                return verdict;
            }
        }
        for validation in &self.validations {
            self.judge(validation, &mut machine, budget, &mut verdict);
        }
        for (key, ast) in &self.annotations {
            match machine.run(ast, budget) {
                Ok(value) => {
                    if let Some(text) = as_text(&value) {
                        verdict
                            .annotations
                            .push((format!("{}/{key}", self.name), text.to_owned()));
                    }
                }
                Err(fault) => self.failed(
                    &mut verdict,
                    &format!("auditAnnotation '{key}' resulted in error: {fault}"),
                ),
            }
        }
        verdict
    }

    fn judge<'e>(
        &'e self,
        validation: &'e Validation,
        machine: &mut Machine<'e>,
        budget: &mut Budget,
        verdict: &mut Verdict,
    ) {
        let source = validation.source.trim();
        let fault = match machine.run(&validation.ast, budget) {
            Ok(Value::Bool(true)) => return,
            Ok(Value::Bool(false)) => {
                let made = validation
                    .message_expression
                    .as_ref()
                    .and_then(|expression| machine.run(expression, budget).ok());
                let made = made.as_ref().and_then(as_text).and_then(usable_message);
                let message = match (made, &validation.message) {
                    (Some(made), _) => made.to_owned(),
                    (None, Some(message)) => message.trim().to_owned(),
                    (None, None) => format!("failed expression: {source}"),
                };
                verdict.refusals.push(Refusal {
                    message,
                    reason: validation.reason.clone(),
                });
                return;
            }
            Ok(_) => Fault::Overload,
            Err(fault) => fault,
        };
        self.failed(
            verdict,
            &format!("expression '{source}' resulted in error: {fault}"),
        );
    }

    /// An expression failed: the failure policy decides.
    fn failed(&self, verdict: &mut Verdict, message: &str) {
        if self.failure_policy == FailurePolicy::Fail {
            verdict.refusals.push(Refusal {
                message: message.to_owned(),
                reason: "Invalid".to_owned(),
            });
        }
    }

    /// Whether the policy takes parameters.
    #[must_use]
    pub fn takes_params(&self) -> bool {
        self.param_kind.is_some()
    }
}

/// What to do with a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The request fails.
    Deny,
    /// The client is warned.
    Warn,
    /// The audit event says so.
    Audit,
}

/// A binding of a policy.
pub struct Binding {
    /// Name of the binding.
    pub name: String,
    /// Name of the policy.
    pub policy: String,
    /// `spec.validationActions`.
    pub actions: Vec<Action>,
    /// `spec.matchResources`; `None` matches whatever the policy matches.
    pub resources: Option<matching::Matcher>,
    /// `spec.paramRef`.
    pub param_ref: Option<ParamRef>,
}

/// Which objects are the parameters.
#[derive(Debug, Clone)]
pub struct ParamRef {
    /// One object, by name.
    pub name: Option<String>,
    /// Its namespace; that of the request when absent.
    pub namespace: Option<String>,
    /// All objects that a selector (`metav1.LabelSelector`) matches.
    pub selector: Option<Json>,
    /// Whether a request passes when there are no parameters.
    pub allow_not_found: bool,
}

impl Binding {
    /// Reads a binding object.
    #[must_use]
    pub fn read(object: &Json) -> Binding {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Json::as_str)
                .map(str::to_owned)
        };
        let actions = object
            .pointer("/spec/validationActions")
            .and_then(Json::as_array);
        let actions = actions.into_iter().flatten().filter_map(|action| {
            Some(match action.as_str()? {
                "Deny" => Action::Deny,
                "Warn" => Action::Warn,
                "Audit" => Action::Audit,
                _ => return None,
            })
        });
        let param_ref = object
            .pointer("/spec/paramRef")
            .filter(|given| given.is_object());
        Binding {
            name: meta::name(object).unwrap_or_default().to_owned(),
            policy: text("/spec/policyName").unwrap_or_default(),
            actions: actions.collect(),
            resources: object
                .pointer("/spec/matchResources")
                .filter(|given| given.is_object())
                .map(matching::Matcher::read),
            param_ref: param_ref.map(|given| ParamRef {
                name: text("/spec/paramRef/name").filter(|name| !name.is_empty()),
                namespace: text("/spec/paramRef/namespace").filter(|name| !name.is_empty()),
                selector: given.get("selector").filter(|s| s.is_object()).cloned(),
                allow_not_found: given.get("parameterNotFoundAction").and_then(Json::as_str)
                    == Some("Allow"),
            }),
        }
    }
}
