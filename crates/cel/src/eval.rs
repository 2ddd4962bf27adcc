//! Evaluation of checked expressions, every step of it charged.
//!
//! Errors are values until somebody needs them: `false && error` is false on either side, and so `all` and
//! `exists` may find their answer in spite of elements that fail. An empty budget is no such error; it ends
//! everything.

mod two_vars;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, StructExpr,
    operators as op,
};
use kube_cel::cel::objects::{Key, Map};

use crate::authorizer;
use crate::budget::{Budget, Fault};
use crate::construct::{self, Constructed};
use crate::expression::Ast;
use crate::functions;
use crate::library;
use crate::lists;
use crate::ops;
use crate::text::{self, Patterns, string};
use crate::two_vars::TwoVars;
use crate::types::Type;

type Outcome = Result<Value, Fault>;

/// Values of the names at the root.
pub(crate) type Roots<'e> = [(&'e str, Value)];

/// A variable of a policy: `variables.<name>`.
pub(crate) struct Lazy {
    pub(crate) name: String,
    pub(crate) ast: Ast,
}

/// Evaluates expressions over the same roots.
pub(crate) struct Machine<'e> {
    roots: &'e Roots<'e>,
    lazy: &'e [Lazy],
    computed: Vec<Option<Outcome>>,
    scope: Vec<(&'e str, Outcome)>,
    patterns: Patterns,
    budget: Budget,
}

/// The name of the accumulator that the parser's macros use; no source can spell it.
const ACCUMULATOR: &str = "@result";

impl<'e> Machine<'e> {
    pub(crate) fn new(roots: &'e Roots<'e>, lazy: &'e [Lazy]) -> Self {
        Machine {
            roots,
            lazy,
            computed: vec![None; lazy.len()],
            scope: Vec::new(),
            patterns: Patterns::default(),
            budget: Budget::new(0),
        }
    }

    /// Evaluates, spending at most one call's part of `budget`.
    pub(crate) fn run(&mut self, ast: &'e Ast, budget: &mut Budget) -> Outcome {
        self.budget = budget.take(crate::limits::CALL_COST);
        self.scope.clear();
        let outcome = self.eval(ast);
        if outcome != Err(Fault::Exhausted) {
            budget.put_back(&self.budget);
        }
        outcome
    }

    fn eval(&mut self, ast: &'e Ast) -> Outcome {
        match &ast.expr {
            Expr::Literal(literal) => Ok(value(literal)),
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => {
                self.budget.charge(1)?;
                if let Expr::Ident(name) = &select.operand.expr
                    && name == "variables"
                    && let Some(at) = self.lazy.iter().position(|v| v.name == select.field)
                    && !self.scope.iter().any(|(n, _)| *n == "variables")
                {
                    let found = self.variable(at);
                    return if select.test {
                        Ok(Value::Bool(true))
                    } else {
                        found
                    };
                }
                let operand = self.eval(&select.operand)?;
                if select.test {
                    ops::has(&operand, &select.field)
                } else {
                    ops::select(&operand, &select.field)
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(c) => self.comprehension(c),
            Expr::Struct(object) => self.construct(object),
            Expr::Unspecified => Err(Fault::Overload),
        }
    }

    fn ident(&mut self, name: &str) -> Outcome {
        self.budget.charge(1)?;
        if let Some((_, found)) = self.scope.iter().rev().find(|(n, _)| *n == name) {
            return found.clone();
        }
        if let Some((_, found)) = self.roots.iter().find(|(n, _)| *n == name) {
            return Ok(found.clone());
        }
        // Types as values are known by their names.
        Ok(string(name))
    }

    /// A variable is computed when it is first used, and once.
    fn variable(&mut self, at: usize) -> Outcome {
        if let Some(known) = &self.computed[at] {
            return known.clone();
        }
        let scope = std::mem::take(&mut self.scope);
        let lazy = self.lazy;
        let outcome = self.eval(&lazy[at].ast);
        self.scope = scope;
        if outcome != Err(Fault::Exhausted) {
            self.computed[at] = Some(outcome.clone());
        }
        outcome
    }

    fn call(&mut self, call: &'e CallExpr) -> Outcome {
        self.budget.charge(1)?;
        if let Some(macro_) = TwoVars::of(call) {
            return self.two_vars(&macro_);
        }
        match (call.func_name.as_str(), call.args.as_slice(), &call.target) {
            (op::CONDITIONAL, [condition, yes, no], None) => match self.eval(condition)? {
                Value::Bool(true) => self.eval(yes),
                Value::Bool(false) => self.eval(no),
                _ => Err(Fault::Overload),
            },
            (op::LOGICAL_AND, [a, b], None) => self.logic(a, b, false),
            (op::LOGICAL_OR, [a, b], None) => self.logic(a, b, true),
            (op::LOGICAL_NOT, [a], None) => match self.eval(a)? {
                Value::Bool(b) => Ok(Value::Bool(!b)),
                _ => Err(Fault::Overload),
            },
            (op::NOT_STRICTLY_FALSE, [a], None) => match self.eval(a) {
                Err(Fault::Exhausted) => Err(Fault::Exhausted),
                Ok(Value::Bool(false)) => Ok(Value::Bool(false)),
                _ => Ok(Value::Bool(true)),
            },
            (op::NEGATE, [a], None) => ops::negate(&self.eval(a)?),
            (op::ADD, [a, b], None) if matches!(&a.expr, Expr::Ident(n) if n == ACCUMULATOR) => {
                let added = self.eval(b)?;
                let accumulated = self.take_accumulator()?;
                ops::binary(op::ADD, accumulated, added, &mut self.budget)
            }
            (name, [a, b], None) if name.starts_with('_') || name == op::IN => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                ops::binary(name, a, b, &mut self.budget)
            }
            _ => self.function(call),
        }
    }

    /// The accumulator moves out, so that it can grow in place; the step's result replaces it.
    fn take_accumulator(&mut self) -> Outcome {
        let place = self.scope.iter_mut().rev().find(|(n, _)| *n == ACCUMULATOR);
        match place {
            Some((_, held)) => std::mem::replace(held, Ok(Value::Null)),
            None => Err(Fault::Undeclared(ACCUMULATOR.to_owned())),
        }
    }

    /// `&&` (decided by false) and `||` (decided by true).
    fn logic(&mut self, a: &'e Ast, b: &'e Ast, decisive: bool) -> Outcome {
        let left = self.eval(a);
        match left {
            Ok(Value::Bool(b)) if b == decisive => return Ok(Value::Bool(decisive)),
            Err(Fault::Exhausted) => return left,
            _ => {}
        }
        let right = self.eval(b);
        match (left, right) {
            (_, Ok(Value::Bool(b))) if b == decisive => Ok(Value::Bool(decisive)),
            (_, Err(Fault::Exhausted)) => Err(Fault::Exhausted),
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decisive)),
            (Err(fault), _) | (_, Err(fault)) => Err(fault),
            _ => Err(Fault::Overload),
        }
    }

    fn list(&mut self, list: &'e ListExpr) -> Outcome {
        self.budget.charge(1 + list.elements.len() as u64)?;
        let mut values = Vec::with_capacity(list.elements.len());
        for (at, element) in list.elements.iter().enumerate() {
            let found = self.eval(element)?;
            match ops::as_optional(&found) {
                Some(optional) if list.optional_indices.contains(&at) => {
                    values.extend(optional.value().cloned());
                }
                _ => values.push(found),
            }
        }
        Ok(Value::List(Arc::new(values)))
    }

    fn map(&mut self, map: &'e MapExpr) -> Outcome {
        self.budget.charge(1 + map.entries.len() as u64)?;
        let mut values: HashMap<Key, Value> = HashMap::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                return Err(Fault::Overload);
            };
            let key = ops::key(&self.eval(&entry.key)?).ok_or(Fault::Overload)?;
            let mut found = self.eval(&entry.value)?;
            if entry.optional
                && let Some(optional) = ops::as_optional(&found)
            {
                match optional.value().cloned() {
                    Some(inner) => found = inner,
                    None => continue,
                }
            }
            if values.insert(key, found).is_some() {
                return Err(Fault::Function("Failed with repeated key".to_owned()));
            }
        }
        let map = Arc::new(values);
        Ok(Value::Map(Map { map }))
    }

    fn construct(&mut self, object: &'e StructExpr) -> Outcome {
        self.budget.charge(1 + object.entries.len() as u64)?;
        let mut fields = BTreeMap::new();
        for entry in &object.entries {
            let EntryExpr::StructField(given) = &entry.expr else {
                return Err(Fault::Overload);
            };
            let mut found = self.eval(&given.value)?;
            if given.optional
                && let Some(optional) = ops::as_optional(&found)
            {
                match optional.value().cloned() {
                    Some(inner) => found = inner,
                    None => continue,
                }
            }
            let is_text = matches!(found, Value::String(_));
            if !is_text
                && matches!(
                    construct::field_type(&object.type_name, &given.field),
                    Some(Type::String(_))
                )
            {
                return Err(Fault::Function(format!(
                    "unexpected type for {} '{}' field",
                    object.type_name, given.field
                )));
            }
            fields.insert(given.field.clone(), found);
        }
        Ok(Constructed::value(&object.type_name, fields))
    }

    fn comprehension(&mut self, c: &'e ComprehensionExpr) -> Outcome {
        let items = match self.eval(&c.iter_range)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.budget.charge(1 + map.map.len() as u64)?;
                let mut keys: Vec<&Key> = map.map.keys().collect();
                keys.sort();
                Arc::new(keys.into_iter().map(ops::key_value).collect())
            }
            _ => return Err(Fault::Overload),
        };
        let init = self.eval(&c.accu_init)?;
        let depth = self.scope.len();
        self.scope.push((&c.accu_var, Ok(init)));
        self.scope.push((&c.iter_var, Ok(Value::Null)));
        let outcome = self.iterate(c, &items, depth);
        self.scope.truncate(depth);
        outcome
    }

    fn iterate(&mut self, c: &'e ComprehensionExpr, items: &[Value], depth: usize) -> Outcome {
        // Logic keeps errors, as a later element may decide; others end with the first.
        let keeps_errors = matches!(
            &c.loop_step.expr,
            Expr::Call(call) if matches!(call.func_name.as_str(), op::LOGICAL_AND | op::LOGICAL_OR)
        );
        for item in items {
            self.budget.charge(1)?;
            if self.eval(&c.loop_cond)? == Value::Bool(false) {
                break;
            }
            self.scope[depth + 1].1 = Ok(item.clone());
            let step = self.eval(&c.loop_step);
            match &step {
                Err(Fault::Exhausted) => return step,
                Err(_) if !keeps_errors => return step,
                _ => self.scope[depth].1 = step,
            }
        }
        self.eval(&c.result)
    }

    fn function(&mut self, call: &'e CallExpr) -> Outcome {
        let name = call.func_name.as_str();
        let (mut qualified, mut target) = (None, None);
        if let Some(on) = call.target.as_deref() {
            match &on.expr {
                Expr::Ident(space) if self.is_namespace(space, name) => {
                    qualified = Some(format!("{space}.{name}"));
                }
                _ => target = Some(self.eval(on)?),
            }
        }
        let name = qualified.as_deref().unwrap_or(name);
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        if !functions::known(name) {
            return Err(Fault::Undeclared(name.to_owned()));
        }
        self.apply(name, target, args)
    }

    fn is_namespace(&self, space: &str, name: &str) -> bool {
        let declared = self.scope.iter().map(|(n, _)| *n);
        let declared = declared.chain(self.roots.iter().map(|(n, _)| *n));
        !declared.into_iter().any(|n| n == space)
            && functions::QUALIFIED.iter().any(|q| {
                q.split_once('.')
                    .is_some_and(|(s, n)| s == space && n == name)
            })
    }

    /// Functions whose cost must be known beforehand are here; the others are the library's.
    fn apply(&mut self, name: &str, target: Option<Value>, args: Vec<Value>) -> Outcome {
        let budget = &mut self.budget;
        if let Some(found) = lists::call(name, target.as_ref(), &args, budget) {
            return found;
        }
        if let Some(target) = &target
            && let Some(done) = authorizer::call(target, name, &args, budget)
        {
            return done;
        }
        match (name, &target, args.as_slice()) {
            (functions::ESCAPE_KEY, None, [Value::String(key)]) => {
                budget.charge(text_cost(key) * 2)?;
                Ok(string(&key.replace('~', "~0").replace('/', "~1")))
            }
            ("size", Some(of), []) | ("size", None, [of]) => size(of, budget),
            ("dyn", None, [of]) => Ok(of.clone()),
            ("type", None, [of]) => Ok(string(type_name(of))),
            ("matches", Some(Value::String(text)), [Value::String(pattern)])
            | ("matches", None, [Value::String(text), Value::String(pattern)]) => {
                self.patterns.matches(text, pattern, budget)
            }
            ("find", Some(Value::String(text)), [Value::String(pattern)]) => {
                self.patterns.find(text, pattern, budget)
            }
            ("findAll", Some(Value::String(text)), [Value::String(pattern)]) => {
                self.patterns.find_all(text, pattern, -1, budget)
            }
            ("findAll", Some(Value::String(text)), [Value::String(pattern), Value::Int(limit)]) => {
                self.patterns.find_all(text, pattern, *limit, budget)
            }
            ("replace", Some(Value::String(text)), [Value::String(from), Value::String(to)]) => {
                text::replace(text, from, to, -1, budget)
            }
            (
                "replace",
                Some(Value::String(text)),
                [Value::String(from), Value::String(to), Value::Int(limit)],
            ) => text::replace(text, from, to, *limit, budget),
            ("join", Some(Value::List(list)), []) => text::join(list, "", budget),
            ("join", Some(Value::List(list)), [Value::String(between)]) => {
                text::join(list, between, budget)
            }
            ("contains", Some(Value::String(text)), [Value::String(part)]) => {
                budget.charge(text_cost(text) + text_cost(part))?;
                Ok(Value::Bool(text.contains(part.as_str())))
            }
            ("startsWith", Some(Value::String(text)), [Value::String(part)]) => {
                budget.charge(text_cost(part))?;
                Ok(Value::Bool(text.starts_with(part.as_str())))
            }
            ("endsWith", Some(Value::String(text)), [Value::String(part)]) => {
                budget.charge(text_cost(part))?;
                Ok(Value::Bool(text.ends_with(part.as_str())))
            }
            ("split", Some(Value::String(text)), [Value::String(_), ..]) => {
                // Every byte may become a value of its own.
                budget.charge(text.len() as u64 * 4)?;
                library::call(name, target, args)
            }
            ("format", Some(Value::String(text)), [Value::List(_)]) => {
                if has_wide_precision(text) {
                    return Err(Fault::Function("precision out of range".to_owned()));
                }
                self.charged_call(name, target, args)
            }
            ("bool", None, [Value::Bool(b)]) => Ok(Value::Bool(*b)),
            ("string", None, [Value::Bool(b)]) => Ok(string(if *b { "true" } else { "false" })),
            ("bool", None, [Value::String(text)]) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
                _ => Err(Fault::Function(
                    "type conversion error from 'string' to 'bool'".to_owned(),
                )),
            },
            // The library gives the format itself, and fails for a name that is none.
            ("format.named", None, [Value::String(_)]) => {
                match self.charged_call(name, target, args) {
                    Err(Fault::Exhausted) => Err(Fault::Exhausted),
                    Ok(found) if ops::as_optional(&found).is_some() => Ok(found),
                    Ok(found) if found != Value::Null => Ok(ops::some(found)),
                    _ => Ok(ops::none()),
                }
            }
            ("optional.of", None, [of]) => Ok(ops::some(of.clone())),
            ("optional.none", None, []) => Ok(ops::none()),
            ("hasValue" | "value" | "or" | "orValue", Some(of), _)
                if ops::as_optional(of).is_some() =>
            {
                optional(name, of, &args)
            }
            (
                "sets.contains" | "sets.equivalent" | "sets.intersects",
                None,
                [Value::List(a), Value::List(b)],
            ) => {
                let pairs = (a.len() as u64 + 1).saturating_mul(b.len() as u64 + 1);
                budget.charge(pairs)?;
                self.charged_call(name, target, args)
            }
            _ => self.charged_call(name, target, args),
        }
    }

    /// The library copies arguments and results, so both are charged.
    fn charged_call(&mut self, name: &str, target: Option<Value>, args: Vec<Value>) -> Outcome {
        for value in target.iter().chain(&args) {
            self.budget.charge_for(value)?;
        }
        let result = library::call(name, target, args)?;
        self.budget.charge_for(&result)?;
        Ok(result)
    }
}

fn text_cost(text: &str) -> u64 {
    crate::budget::text_cost(text.len())
}

fn value(literal: &LiteralValue) -> Value {
    match literal {
        LiteralValue::Boolean(b) => Value::Bool(*b.inner()),
        LiteralValue::Bytes(b) => Value::Bytes(Arc::new(b.inner().to_vec())),
        LiteralValue::Double(d) => Value::Float(*d.inner()),
        LiteralValue::Int(i) => Value::Int(*i.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(s) => string(s.inner()),
        LiteralValue::UInt(u) => Value::UInt(*u.inner()),
    }
}

fn size(of: &Value, budget: &mut Budget) -> Outcome {
    let size = match of {
        Value::String(text) => {
            budget.charge(text_cost(text))?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.map.len(),
        _ => return Err(Fault::Overload),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn optional(name: &str, of: &Value, args: &[Value]) -> Outcome {
    let held = ops::as_optional(of).and_then(|optional| optional.value().cloned());
    match (name, held, args) {
        ("hasValue", held, []) => Ok(Value::Bool(held.is_some())),
        ("value", Some(held), []) | ("orValue", Some(held), [_]) => Ok(held),
        ("value", None, []) => Err(Fault::Function("optional.none() dereference".to_owned())),
        ("or", Some(_), [_]) => Ok(of.clone()),
        ("or" | "orValue", None, [other]) => Ok(other.clone()),
        _ => Err(Fault::Overload),
    }
}

fn type_name(of: &Value) -> &'static str {
    match of {
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::UInt(_) => "uint",
        Value::Float(_) => "double",
        Value::String(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Null => "null_type",
        Value::Timestamp(_) => "google.protobuf.Timestamp",
        Value::Duration(_) => "google.protobuf.Duration",
        _ => "object",
    }
}

/// Whether a format asks for a thousand digits or more.
fn has_wide_precision(format: &str) -> bool {
    let mut digits = 0;
    format.bytes().any(|b| {
        digits = if b.is_ascii_digit() { digits + 1 } else { 0 };
        digits > 3
    })
}
