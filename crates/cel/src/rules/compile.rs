//! From schema to rules: every rule is parsed, typed, and its cost estimated.
//!
//! A rule's estimate is that of one evaluation, times how often its schema may occur in one object: as
//! often as the lists and maps around it allow, or as often as its smallest value fits into a request.

use apimachinery::field::{FieldError, FieldErrorKind as Kind, FieldPath};
use schema::{AdditionalProperties, ListType, MapType, Schema, ValidationRule};
use serde_json::json;

use super::{CompiledRules, Node, Rule, Step};
use crate::check::{Checked, Env, check};
use crate::expression::{mentions, parse};
use crate::limits;
use crate::types::{Type, min_size};

/// Compiles all rules of a schema; errors have paths below `at`.
pub fn compile(schema: &Schema, at: &FieldPath) -> Result<CompiledRules, Vec<FieldError>> {
    let mut compiler = Compiler {
        errors: Vec::new(),
        total: 0,
        costly: Vec::new(),
    };
    let place = Place {
        path: at.clone(),
        times: Some(1),
        uncorrelatable: None,
        depth: 0,
    };
    let root = compiler.node(schema, &place);
    compiler.total(at);
    if compiler.errors.is_empty() {
        Ok(CompiledRules { root })
    } else {
        Err(compiler.errors)
    }
}

/// Where in the schema the compiler is.
#[derive(Clone)]
struct Place {
    path: FieldPath,
    /// How often the schema occurs in one object, if that is bounded.
    times: Option<u64>,
    /// The outermost list or map whose parts have no old values.
    uncorrelatable: Option<FieldPath>,
    depth: usize,
}

struct Compiler {
    errors: Vec<FieldError>,
    total: u64,
    /// The most expensive rules.
    costly: Vec<(u64, FieldPath)>,
}

/// How many rules are named when all together are too expensive.
const NAMED: usize = 4;

impl Compiler {
    fn node(&mut self, schema: &Schema, place: &Place) -> Option<Node> {
        if place.depth > limits::SCHEMA_DEPTH || self.errors.len() >= limits::ERRORS {
            return None;
        }
        let below =
            |path: FieldPath, times: Option<u64>, uncorrelatable: Option<FieldPath>| Place {
                path,
                times,
                uncorrelatable,
                depth: place.depth + 1,
            };
        let times = |max: Option<i64>| {
            let max = u64::try_from(max?).ok()?;
            place.times?.checked_mul(max)
        };
        let mut node = Node {
            ty: Type::Dyn,
            name: schema.ty.map_or("", |ty| ty.as_str()),
            rules: Vec::new(),
            properties: Default::default(),
            items: None,
            additional: None,
            keys: match &schema.list_type {
                Some(ListType::Map { keys }) => Some(keys.clone()),
                _ => None,
            },
        };
        if !schema.validations.is_empty() {
            let name = if place.depth == 0 {
                "object"
            } else {
                "selfType"
            };
            node.ty = Type::of(schema, name, place.depth).unwrap_or(Type::Dyn);
            node.rules = self.rules(schema, &node.ty, place);
        }
        for (name, child) in &schema.properties {
            let path = place.path.child("properties").key(name);
            let uncorrelatable = match &place.uncorrelatable {
                None if schema.map_type == Some(MapType::Atomic) => Some(place.path.clone()),
                outer => outer.clone(),
            };
            let child_place = below(path, place.times, uncorrelatable);
            if let Some(child) = self.node(child, &child_place) {
                node.properties.insert(name.clone(), child);
            }
        }
        if let Some(child) = &schema.items {
            let path = place.path.child("items");
            let uncorrelatable = match (&place.uncorrelatable, &node.keys) {
                (Some(path), _) => Some(path.clone()),
                (None, Some(_)) => None,
                (None, None) => Some(path.clone()),
            };
            let child_place = below(path, times(schema.bounds.max_items), uncorrelatable);
            node.items = self.node(child, &child_place).map(Box::new);
        }
        if let AdditionalProperties::Schema(child) = &schema.additional_properties {
            let path = place.path.child("additionalProperties");
            let times = times(schema.bounds.max_properties);
            let child_place = below(path, times, place.uncorrelatable.clone());
            node.additional = self.node(child, &child_place).map(Box::new);
        }
        let bare = node.rules.is_empty()
            && node.properties.is_empty()
            && node.items.is_none()
            && node.additional.is_none();
        (!bare).then_some(node)
    }

    fn rules(&mut self, schema: &Schema, ty: &Type, place: &Place) -> Vec<Rule> {
        let most = (limits::REQUEST / (min_size(schema, place.depth) + 1)).max(1);
        let times = place.times.unwrap_or(most);
        let mut rules = Vec::new();
        for (index, given) in schema.validations.iter().enumerate() {
            // An empty rule is reported with the structure of the schema.
            if given.rule.trim().is_empty() || self.errors.len() >= limits::ERRORS {
                continue;
            }
            let path = place.path.child("x-kubernetes-validations").index(index);
            if let Some(rule) = self.rule(given, ty, place, &path, times) {
                rules.push(rule);
            }
        }
        rules
    }

    fn rule(
        &mut self,
        given: &ValidationRule,
        ty: &Type,
        place: &Place,
        path: &FieldPath,
        times: u64,
    ) -> Option<Rule> {
        let optional_old = given.optional_old_self == Some(true);
        let mut env = Env::default();
        env.variables.push(("self".to_owned(), ty.clone()));
        let old = if optional_old {
            Type::Optional(ty.clone().into())
        } else {
            ty.clone()
        };
        env.variables.push(("oldSelf".to_owned(), old));
        let shown = || shown(given);
        let at = path.child("rule");
        let compiled = parse(&given.rule).and_then(|ast| {
            let checked = check(&env, &given.rule, &ast)?;
            Ok((ast, checked))
        });
        let (ast, checked) = match compiled {
            Ok(found) => found,
            Err(text) => {
                let detail = format!("compilation failed: {text}");
                self.errors.push(FieldError::invalid(&at, shown(), detail));
                return None;
            }
        };
        if !matches!(checked.ty, Type::Bool | Type::Dyn) {
            let detail = "cel expression must evaluate to a bool";
            self.errors.push(FieldError::invalid(&at, shown(), detail));
            return None;
        }
        let cost = self.cost(&checked, times, &at, "estimated rule cost");
        self.total = self.total.saturating_add(cost);
        self.costly.push((cost, at.clone()));
        self.costly
            .sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        self.costly.truncate(NAMED);
        let uses_old = mentions(&ast, "oldSelf");
        if uses_old && let Some(list) = &place.uncorrelatable {
            let detail = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
            );
            self.errors
                .push(FieldError::invalid(&at, given.rule.as_str(), detail));
        }
        if !uses_old && let Some(optional) = given.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(
                &path.child("optionalOldSelf"),
                optional,
                detail,
            ));
        }
        Some(Rule {
            source: given.rule.clone(),
            ast,
            uses_old,
            optional_old,
            message: given.message.clone().filter(|m| !m.trim().is_empty()),
            message_expression: self.message_expression(given, &env, path, times),
            kind: kind(given.reason.as_deref()),
            field: steps(given.field_path.as_deref().unwrap_or_default()),
        })
    }

    fn message_expression(
        &mut self,
        given: &ValidationRule,
        env: &Env,
        path: &FieldPath,
        times: u64,
    ) -> Option<crate::expression::Ast> {
        let source = given.message_expression.as_deref()?;
        if source.trim().is_empty() {
            return None;
        }
        let at = path.child("messageExpression");
        let compiled = parse(source).and_then(|ast| {
            let checked = check(env, source, &ast)?;
            Ok((ast, checked))
        });
        match compiled {
            Err(text) => {
                let detail = format!("messageExpression compilation failed: {text}");
                self.errors
                    .push(FieldError::invalid(&at, shown(given), detail));
                None
            }
            Ok((_, checked)) if !matches!(checked.ty, Type::String(_) | Type::Dyn) => {
                let detail = "messageExpression must evaluate to a string";
                self.errors
                    .push(FieldError::invalid(&at, shown(given), detail));
                None
            }
            Ok((ast, checked)) => {
                let cost = self.cost(&checked, times, &at, "estimated messageExpression cost");
                self.total = self.total.saturating_add(cost);
                Some(ast)
            }
        }
    }

    /// The cost of an expression in one object; complains when it is above the limit.
    fn cost(&mut self, checked: &Checked, times: u64, at: &FieldPath, what: &str) -> u64 {
        let cost = checked.cost.saturating_mul(times);
        if cost > limits::RULE_ESTIMATE {
            let detail = excess(what, cost, limits::RULE_ESTIMATE);
            self.errors.push(FieldError::forbidden(at, detail));
        }
        cost
    }

    /// Complains when all rules together are too expensive.
    fn total(&mut self, at: &FieldPath) {
        if self.total <= limits::SCHEMA_ESTIMATE {
            return;
        }
        for (cost, path) in std::mem::take(&mut self.costly) {
            // A hundredth of the limit is no reason.
            if cost >= limits::SCHEMA_ESTIMATE / 100 {
                self.errors.push(FieldError::forbidden(
                    &path,
                    "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
                ));
            }
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let detail = excess(what, self.total, limits::SCHEMA_ESTIMATE);
        self.errors.push(FieldError::forbidden(at, detail));
    }
}

fn excess(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as messages show it.
fn shown(rule: &ValidationRule) -> serde_json::Value {
    let text = |given: &Option<String>| given.clone().unwrap_or_default();
    json!({
        "Rule": rule.rule,
        "Message": text(&rule.message),
        "MessageExpression": text(&rule.message_expression),
        "Reason": rule.reason,
        "FieldPath": text(&rule.field_path),
        "OptionalOldSelf": rule.optional_old_self,
    })
}

fn kind(reason: Option<&str>) -> Kind {
    match reason {
        Some("FieldValueRequired") => Kind::Required,
        Some("FieldValueForbidden") => Kind::Forbidden,
        Some("FieldValueDuplicate") => Kind::Duplicate,
        _ => Kind::Invalid,
    }
}

/// The steps of a path such as `.a.b['c d']`, which was found valid.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some((key, tail)) = rest
            .strip_prefix("['")
            .and_then(|tail| tail.split_once("']"))
        {
            steps.push(Step::Key(key.to_owned()));
            rest = tail;
        } else {
            let name = rest.trim_start_matches('.');
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                break;
            }
            steps.push(Step::Field(name[..end].to_owned()));
            rest = &name[end..];
        }
    }
    steps
}
