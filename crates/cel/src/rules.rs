//! Rules of schemas (`x-kubernetes-validations`).
//!
//! ```text
//!  Schema ─ compile ─► CompiledRules: a tree with only the parts of the schema that have rules below them
//!                           │ evaluate(object, old object): value and tree are walked together
//!                           ▼
//!                      field errors, in the words of Kubernetes
//! ```
//!
//! A rule that speaks of `oldSelf` is a transition rule: it runs where there is an old value, which is found at
//! the same place: the same member, the element of a map list with the same keys. Other rules do not run
//! again for a value that did not change (ratcheting, KEP-4008).

mod compile;

use std::collections::BTreeMap;

use apimachinery::field::{FieldError, FieldErrorKind as Kind, FieldPath};
use serde_json::Value as Json;

use crate::budget::{Budget, Fault};
use crate::eval::Machine;
use crate::expression::Ast;
use crate::limits;
use crate::types::Type;
use crate::{ops, value};

pub use compile::compile;

/// The rules of one schema, checked.
#[derive(Debug, Default)]
pub struct CompiledRules {
    root: Option<Node>,
}

/// A part of a schema with rules at or below it.
#[derive(Debug)]
struct Node {
    ty: Type,
    /// `type` of the schema.
    name: &'static str,
    rules: Vec<Rule>,
    properties: BTreeMap<String, Node>,
    items: Option<Box<Node>>,
    additional: Option<Box<Node>>,
    /// Keys of a map list: its elements have old values.
    keys: Option<Vec<String>>,
}

#[derive(Debug)]
struct Rule {
    source: String,
    ast: Ast,
    uses_old: bool,
    optional_old: bool,
    message: Option<String>,
    message_expression: Option<Ast>,
    kind: Kind,
    /// Members below the value, to which the error points.
    field: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Key(String),
}

impl CompiledRules {
    /// Whether there is nothing to evaluate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// What the rules say of an object, with paths below `root`.
    ///
    /// Call it with objects that are valid by their schema, defaults filled in. Ends when the budget is
    /// spent, with an error that says so.
    #[must_use]
    pub fn evaluate(
        &self,
        object: &Json,
        old: Option<&Json>,
        root: &FieldPath,
        budget: &mut Budget,
    ) -> Vec<FieldError> {
        let mut walk = Walk {
            errors: Vec::new(),
            budget,
            stopped: false,
        };
        if let Some(node) = &self.root {
            walk.node(node, object, old, root);
        }
        walk.errors
    }
}

struct Walk<'b> {
    errors: Vec<FieldError>,
    budget: &'b mut Budget,
    stopped: bool,
}

impl Walk<'_> {
    fn node(&mut self, node: &Node, value: &Json, old: Option<&Json>, path: &FieldPath) {
        // A null stands for an absent value.
        let old = old.filter(|old| !old.is_null());
        if value.is_null() || self.stopped || self.errors.len() >= limits::ERRORS {
            return;
        }
        if !node.rules.is_empty() {
            self.rules(node, value, old, path);
        }
        match value {
            Json::Object(members) => {
                for (name, member) in members {
                    let (child, at) = if let Some(child) = node.properties.get(name) {
                        (child, path.child(name))
                    } else if let Some(child) = &node.additional {
                        (&**child, path.key(name))
                    } else {
                        continue;
                    };
                    self.node(child, member, old.and_then(|old| old.get(name)), &at);
                }
            }
            Json::Array(list) => {
                let Some(child) = &node.items else { return };
                let before = OldElements::new(node, old);
                for (index, item) in list.iter().enumerate() {
                    self.node(child, item, before.of(item), &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, node: &Node, value: &Json, old: Option<&Json>, path: &FieldPath) {
        let unchanged = old == Some(value);
        let due = |rule: &&Rule| {
            if rule.uses_old {
                old.is_some() || rule.optional_old
            } else {
                !unchanged
            }
        };
        if !node.rules.iter().any(|rule| due(&rule)) {
            return;
        }
        let this = value::from_json(value, &node.ty);
        let before = old.map(|old| value::from_json(old, &node.ty));
        // Values are made for the evaluation, so their size is part of its cost.
        let made = self.budget.charge_for(&this).and_then(|()| {
            before
                .iter()
                .try_for_each(|old| self.budget.charge_for(old))
        });
        if made.is_err() {
            return self.out_of_budget(path);
        }
        for rule in node.rules.iter().filter(due) {
            let mut roots = vec![("self", this.clone())];
            match &before {
                Some(old) if rule.optional_old => roots.push(("oldSelf", ops::some(old.clone()))),
                Some(old) => roots.push(("oldSelf", old.clone())),
                None if rule.optional_old => roots.push(("oldSelf", ops::none())),
                None => {}
            }
            let mut machine = Machine::new(&roots, &[]);
            match machine.run(&rule.ast, self.budget) {
                Ok(kube_cel::cel::Value::Bool(true)) => {}
                Ok(kube_cel::cel::Value::Bool(false)) => {
                    let message = self.message(rule, &mut machine);
                    self.violated(rule, value, path, &message);
                }
                Ok(_) => self.failed(node, rule, &Fault::Overload, path),
                Err(fault) => self.failed(node, rule, &fault, path),
            }
            if self.stopped || self.errors.len() >= limits::ERRORS {
                return;
            }
        }
    }

    /// The message of a violated rule: made, given, or the rule itself.
    fn message<'e>(&mut self, rule: &'e Rule, machine: &mut Machine<'e>) -> String {
        if let Some(expression) = &rule.message_expression
            && let Ok(made) = machine.run(expression, self.budget)
            && let Some(text) = value::as_text(&made).and_then(usable_message)
        {
            return text.to_owned();
        }
        match &rule.message {
            Some(message) => message.trim().to_owned(),
            None => format!("failed rule: {}", rule.source.trim()),
        }
    }

    fn violated(&mut self, rule: &Rule, value: &Json, path: &FieldPath, message: &str) {
        let at = rule
            .field
            .iter()
            .fold(path.clone(), |path, step| match step {
                Step::Field(name) => path.child(name),
                Step::Key(key) => path.key(key),
            });
        // Scalars are shown; objects and lists are not.
        let shown = (!value.is_object() && !value.is_array()).then(|| value.clone());
        let error = match rule.kind {
            Kind::Required => FieldError::required(&at, message),
            Kind::Forbidden => FieldError::forbidden(&at, message),
            Kind::Duplicate => FieldError::new(Kind::Duplicate, &at, shown, ""),
            _ => FieldError::new(Kind::Invalid, &at, shown, message),
        };
        self.errors.push(error);
    }

    fn failed(&mut self, node: &Node, rule: &Rule, fault: &Fault, path: &FieldPath) {
        let source = rule.source.trim();
        let detail = match fault {
            Fault::Exhausted => {
                self.stopped = true;
                format!(
                    "'{path}': no further validation rules will be run due to call cost exceeds limit for rule: {source}"
                )
            }
            Fault::Overload => format!(
                "'{path}': call arguments did not match a supported operator, function or macro signature for rule: {source}"
            ),
            other => format!("{other} evaluating rule: {source}"),
        };
        self.errors
            .push(FieldError::invalid(path, node.name, detail));
    }

    fn out_of_budget(&mut self, path: &FieldPath) {
        self.stopped = true;
        self.errors.push(FieldError::new(
            Kind::Invalid,
            path,
            None,
            "validation failed due to running out of cost budget, no further validation rules will be run",
        ));
    }
}

/// A text that may serve as a message.
pub(crate) fn usable_message(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= limits::MESSAGE && !text.contains('\n')).then_some(text)
}

/// The old elements of a map list, by their keys.
struct OldElements<'o> {
    keys: &'o [String],
    by_key: BTreeMap<String, &'o Json>,
}

impl<'o> OldElements<'o> {
    fn new(node: &'o Node, old: Option<&'o Json>) -> Self {
        let mut found = OldElements {
            keys: node.keys.as_deref().unwrap_or_default(),
            by_key: BTreeMap::new(),
        };
        if !found.keys.is_empty()
            && let Some(Json::Array(list)) = old
        {
            found.by_key = list
                .iter()
                .map(|item| (found.identity(item), item))
                .collect();
        }
        found
    }

    fn identity(&self, item: &Json) -> String {
        let keys: Vec<&Json> = self
            .keys
            .iter()
            .map(|key| item.get(key).unwrap_or(&Json::Null))
            .collect();
        serde_json::to_string(&keys).unwrap_or_default()
    }

    fn of(&self, item: &Json) -> Option<&'o Json> {
        if self.by_key.is_empty() {
            return None;
        }
        self.by_key.get(&self.identity(item)).copied()
    }
}
