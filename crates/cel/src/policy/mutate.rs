//! `MutatingAdmissionPolicy`: expressions that make patches.
//!
//! ```text
//!  policy object ── compile ──► MutatingPolicy ─ matches? ─► patch(0) ─► the caller applies it ─► patch(1) ─► ..
//! ```
//! Each mutation sees the object as those before it left it. How a patch is applied is the caller's: an apply
//! configuration is merged by the schema of the kind.

use apimachinery::field::FieldPath;
use apimachinery::meta;
use serde_json::Value as Json;

use super::{FailurePolicy, Inputs, compile, conditions, matching};
use crate::budget::Budget;
use crate::construct;
use crate::eval::{Lazy, Machine};
use crate::expression::Ast;
use crate::limits;

/// One entry of `spec.mutations`.
pub(super) enum Mutation {
    /// An expression that makes a JSON patch.
    Patch(Ast),
    /// An expression that makes an apply configuration.
    Configuration(Ast),
}

/// What a mutation wants changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// A JSON patch (RFC 6902).
    Json(Json),
    /// An object without apiVersion and kind, to be merged as by server-side apply.
    Configuration(Json),
}

/// A mutating policy, compiled.
pub struct MutatingPolicy {
    /// Name of the policy.
    pub name: String,
    /// What a failing expression means.
    pub failure_policy: FailurePolicy,
    /// `spec.paramKind`: apiVersion and kind of parameters.
    pub param_kind: Option<(String, String)>,
    /// `spec.matchConstraints`.
    pub constraints: matching::Matcher,
    /// `spec.reinvocationPolicy: IfNeeded`.
    pub reinvoke: bool,
    conditions: Vec<Ast>,
    variables: Vec<Lazy>,
    mutations: Vec<Mutation>,
    /// A stored policy that does not compile decides by its failure policy.
    broken: Option<String>,
}

impl MutatingPolicy {
    /// Compiles a policy object. What is wrong with its expressions is told by
    /// [`super::validate::mutating_policy`].
    #[must_use]
    pub fn compile(object: &Json) -> MutatingPolicy {
        let spec = object.get("spec").unwrap_or(&Json::Null);
        let mut errors = Vec::new();
        let (conditions, variables, mutations) =
            compile::mutating(spec, &FieldPath::new("spec"), &mut errors);
        let constraints = spec.get("matchConstraints").unwrap_or(&Json::Null);
        MutatingPolicy {
            name: meta::name(object).unwrap_or_default().to_owned(),
            failure_policy: compile::failure_policy(spec),
            param_kind: compile::param_kind(spec),
            constraints: matching::Matcher::read(constraints),
            reinvoke: compile::text(spec, "reinvocationPolicy") == "IfNeeded",
            conditions,
            variables,
            mutations,
            broken: errors.first().map(ToString::to_string),
        }
    }

    /// How many mutations there are.
    #[must_use]
    pub fn mutations(&self) -> usize {
        self.mutations.len()
    }

    /// Whether the match conditions hold.
    ///
    /// # Errors
    /// When one fails and none is false, in words for people.
    pub fn matches(&self, inputs: &Inputs<'_>, budget: &mut Budget) -> Result<bool, String> {
        if let Some(why) = &self.broken {
            return Err(format!("compilation error: {why}"));
        }
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let roots = inputs.roots(self.param_kind.is_some(), budget);
        let roots = roots.map_err(|e| e.to_string())?;
        let mut machine = Machine::new(&roots, &[]);
        conditions::hold(&self.conditions, &mut machine, budget).map_err(|e| e.to_string())
    }

    /// What mutation `index` makes of the object.
    ///
    /// # Errors
    /// When its expression fails, or gives what is no patch, in words for people.
    pub fn patch(
        &self,
        index: usize,
        inputs: &Inputs<'_>,
        budget: &mut Budget,
    ) -> Result<Patch, String> {
        let mutation = self.mutations.get(index);
        let mutation = mutation.ok_or("there is no such mutation")?;
        let (Mutation::Patch(ast) | Mutation::Configuration(ast)) = mutation;
        let roots = inputs.roots(self.param_kind.is_some(), budget);
        let roots = roots.map_err(|e| e.to_string())?;
        let mut machine = Machine::new(&roots, &self.variables);
        let made = machine.run(ast, budget).map_err(|e| e.to_string())?;
        let mut part = budget.take(limits::CALL_COST);
        let patch = match mutation {
            Mutation::Patch(_) => construct::json_patch(&made, &mut part).map(Patch::Json),
            Mutation::Configuration(_) => {
                construct::configuration(&made, &mut part).map(Patch::Configuration)
            }
        };
        budget.put_back(&part);
        patch
    }
}
