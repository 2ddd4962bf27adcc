//! Match conditions: expressions that decide whether a webhook or policy is asked at all.

use apimachinery::field::FieldPath;
use kube_cel::cel::Value;
use serde_json::Value as Json;

use super::{Inputs, compile};
use crate::budget::{Budget, Fault};
use crate::eval::Machine;
use crate::expression::Ast;

/// The match conditions of a webhook, compiled.
#[derive(Default)]
pub struct Conditions {
    asts: Vec<Ast>,
    /// A stored condition that does not compile any more counts as one that fails.
    broken: Option<String>,
}

impl std::fmt::Debug for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conditions")
            .field("count", &self.asts.len())
            .field("broken", &self.broken)
            .finish()
    }
}

impl Conditions {
    /// Compiles `matchConditions`. What is wrong with them is told by [`super::validate::match_conditions`].
    #[must_use]
    pub fn compile(given: &[Json]) -> Conditions {
        let mut errors = Vec::new();
        let at = FieldPath::new("matchConditions");
        let asts = compile::webhook_conditions(given, &at, &mut errors);
        Conditions {
            asts,
            broken: errors.first().map(ToString::to_string),
        }
    }

    /// True without conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asts.is_empty() && self.broken.is_none()
    }

    /// Whether all hold.
    ///
    /// # Errors
    /// When one fails and none is false: a condition that is false decides, even when another fails.
    pub fn hold(&self, inputs: &Inputs<'_>, budget: &mut Budget) -> Result<bool, String> {
        if let Some(why) = &self.broken {
            return Err(format!("compilation error: {why}"));
        }
        let roots = inputs.roots(false, budget).map_err(|e| e.to_string())?;
        let mut machine = Machine::new(&roots, &[]);
        hold(&self.asts, &mut machine, budget).map_err(|e| e.to_string())
    }
}

/// A condition that is false decides, even when another fails.
pub(super) fn hold<'e>(
    conditions: &'e [Ast],
    machine: &mut Machine<'e>,
    budget: &mut Budget,
) -> Result<bool, Fault> {
    let mut failed = None;
    for condition in conditions {
        match machine.run(condition, budget) {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Bool(false)) => return Ok(false),
            Ok(_) => failed = Some(Fault::Overload),
            Err(fault) => failed = Some(fault),
        }
    }
    failed.map_or(Ok(true), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(expressions: &[&str]) -> Result<bool, String> {
        let given: Vec<Json> = expressions
            .iter()
            .map(|e| json!({"name": "x", "expression": e}))
            .collect();
        let object = json!({"metadata": {"name": "a"}, "spec": {"n": 1}});
        let inputs = Inputs {
            object: Some(&object),
            old_object: None,
            request: &json!({"operation": "CREATE", "userInfo": {"username": "joe"}}),
            params: None,
            namespace_object: None,
            authorizer: &crate::tests::nobody(),
        };
        Conditions::compile(&given).hold(&inputs, &mut Budget::of_object())
    }

    #[test]
    fn all_must_hold_and_a_false_one_decides() {
        assert_eq!(holds(&[]), Ok(true));
        assert_eq!(
            holds(&["object.spec.n == 1", "request.userInfo.username == 'joe'"]),
            Ok(true)
        );
        assert_eq!(holds(&["object.spec.absent == 1", "false"]), Ok(false));
        assert!(holds(&["true", "object.spec.absent == 1"]).is_err());
        assert!(holds(&["this is no expression"]).is_err());
    }
}
