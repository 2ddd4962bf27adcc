//! Types and estimated cost of an expression, before it is ever evaluated.
//!
//! The estimate follows cel-go's and Kubernetes' factors: one unit for each identifier, selection and call;
//! a tenth for each byte of text passed over; a loop costs its body as often as its list may be long.

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, StructExpr, operators,
};

use crate::authorizer;
use crate::construct;
use crate::expression::{Ast, complaint};
use crate::functions;
use crate::text;
use crate::two_vars::{Kind, TwoVars};
use crate::types::Type;

/// What expressions may speak of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env {
    pub(crate) variables: Vec<(String, Type)>,
    /// Whether `Object{..}`, `JSONPatch{..}` and `jsonpatch.escapeKey` are known.
    pub(crate) patches: bool,
}

/// The verdict on an expression.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) ty: Type,
    /// Cost of one evaluation, at most.
    pub(crate) cost: u64,
}

/// Checks an expression; the error is told as cel-go tells it.
pub(crate) fn check(env: &Env, source: &str, ast: &Ast) -> Result<Checked, String> {
    let mut checker = Checker {
        env,
        scope: Vec::new(),
    };
    checker
        .expr(ast)
        .map_err(|problem| complaint(source, &problem.needle, &problem.message))
}

/// What is wrong, and the text near which it is.
struct Problem {
    needle: String,
    message: String,
}

struct Checker<'e> {
    env: &'e Env,
    scope: Vec<(String, Type)>,
}

fn problem(needle: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem {
        needle: needle.into(),
        message: message.into(),
    }
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Dyn)
}

/// Cost of passing over text.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

impl Checker<'_> {
    fn lookup(&self, name: &str) -> Option<&Type> {
        let scope = self.scope.iter().rev();
        let found = scope.chain(&self.env.variables).find(|(n, _)| n == name);
        found.map(|(_, ty)| ty)
    }

    fn expr(&mut self, ast: &Ast) -> Result<Checked, Problem> {
        let done = |ty, cost| Ok(Checked { ty, cost });
        match &ast.expr {
            Expr::Literal(literal) => done(literal_type(literal), 0),
            Expr::Ident(name) => match self.lookup(name) {
                Some(ty) => done(ty.clone(), 1),
                None if TYPE_NAMES.contains(&name.as_str()) => done(Type::Kind, 1),
                None => Err(problem(
                    name,
                    format!("undeclared reference to '{name}' (in container '')"),
                )),
            },
            Expr::Select(select) => {
                let operand = self.expr(&select.operand)?;
                let ty = match &select.operand.expr {
                    // A variable with a dot in its name, where upstream declares it.
                    Expr::Ident(_)
                        if operand.ty == authorizer::AUTHORIZER
                            && select.field == "requestResource" =>
                    {
                        authorizer::RESOURCE
                    }
                    _ => member(&operand.ty, &select.field)?,
                };
                // Asking for presence costs nothing beyond its operand, as in Kubernetes.
                if select.test {
                    return done(Type::Bool, operand.cost);
                }
                done(ty, operand.cost.saturating_add(1))
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut cost: u64 = 10;
                let mut of: Option<Type> = None;
                for (index, element) in list.elements.iter().enumerate() {
                    let mut found = self.expr(element)?;
                    if list.optional_indices.contains(&index) {
                        found.ty = unwrapped(found.ty);
                    }
                    cost = cost.saturating_add(found.cost);
                    of = Some(match of {
                        None => found.ty,
                        Some(of) if of.fits(&found.ty) => of.or(&found.ty),
                        Some(_) => Type::Dyn,
                    });
                }
                let size = list.elements.len() as u64;
                done(Type::list(of.unwrap_or(Type::Dyn), size), cost)
            }
            Expr::Map(map) => {
                let mut cost: u64 = 30;
                let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
                let merge = |known: Option<Type>, found: Type| {
                    Some(match known {
                        None => found,
                        Some(known) if known.fits(&found) => known.or(&found),
                        Some(_) => Type::Dyn,
                    })
                };
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(problem("{", "a map with fields"));
                    };
                    let (key, mut value) = (self.expr(&entry.key)?, self.expr(&entry.value)?);
                    if entry.optional {
                        value.ty = unwrapped(value.ty);
                    }
                    cost = cost.saturating_add(key.cost).saturating_add(value.cost);
                    keys = merge(keys, key.ty);
                    values = merge(values, value.ty);
                }
                let of = (keys.unwrap_or(Type::Dyn), values.unwrap_or(Type::Dyn));
                done(Type::Map(of.into(), map.entries.len() as u64), cost)
            }
            Expr::Comprehension(c) => self.comprehension(c),
            Expr::Struct(object) if self.env.patches && construct::is_type(&object.type_name) => {
                self.construct(object)
            }
            Expr::Struct(object) => Err(problem(
                object.type_name.as_str(),
                format!(
                    "undeclared reference to '{}' (in container '')",
                    object.type_name
                ),
            )),
            Expr::Unspecified => Err(problem("", "an empty expression")),
        }
    }

    /// `Object.spec{field: value}`.
    fn construct(&mut self, object: &StructExpr) -> Result<Checked, Problem> {
        let mut cost: u64 = 40;
        for entry in &object.entries {
            let EntryExpr::StructField(given) = &entry.expr else {
                return Err(problem("{", "an object with entries of a map"));
            };
            let name = &given.field;
            let mut found = self.expr(&given.value)?;
            cost = cost.saturating_add(found.cost);
            if given.optional {
                found.ty = unwrapped(found.ty);
            }
            let Some(wanted) = construct::field_type(&object.type_name, name) else {
                return Err(problem(name.as_str(), format!("undefined field '{name}'")));
            };
            if !wanted.fits(&found.ty) {
                return Err(problem(
                    name.as_str(),
                    format!(
                        "expected type of field '{name}' is '{wanted}' but provided type is '{}'",
                        found.ty
                    ),
                ));
            }
        }
        Ok(Checked {
            ty: Type::Made(object.type_name.as_str().into()),
            cost,
        })
    }

    fn call(&mut self, call: &CallExpr) -> Result<Checked, Problem> {
        if let Some(macro_) = TwoVars::of(call) {
            return self.two_vars(&macro_);
        }
        let name = call.func_name.as_str();
        let mut cost: u64 = u64::from(!COSTED.contains(&name));
        let target = match call.target.as_deref() {
            None => None,
            Some(target) => {
                if let Expr::Ident(space) = &target.expr
                    && self.lookup(space).is_none()
                {
                    let qualified = format!("{space}.{name}");
                    let known = self.env.patches || qualified != functions::ESCAPE_KEY;
                    if known && functions::QUALIFIED.contains(&qualified.as_str()) {
                        return self.overload(&qualified, None, call, cost);
                    }
                }
                let found = self.expr(target)?;
                cost = cost.saturating_add(found.cost);
                Some(found.ty)
            }
        };
        self.overload(name, target.as_ref(), call, cost)
    }

    fn overload(
        &mut self,
        name: &str,
        target: Option<&Type>,
        call: &CallExpr,
        mut cost: u64,
    ) -> Result<Checked, Problem> {
        let mut args = Vec::with_capacity(call.args.len());
        let mut branches = Vec::new();
        for arg in &call.args {
            let found = self.expr(arg)?;
            branches.push(found.cost);
            cost = cost.saturating_add(found.cost);
            args.push(found.ty);
        }
        if target.is_none()
            && let Some(found) = operator(name, &args)
        {
            let Some(ty) = found else {
                return Err(no_overload(name, None, &args));
            };
            if name == operators::CONDITIONAL
                && let [condition, yes, no] = branches.as_slice()
            {
                let cost = condition.saturating_add(*yes.max(no));
                return Ok(Checked { ty, cost });
            }
            let cost = cost.saturating_add(operator_cost(name, &args));
            return Ok(Checked { ty, cost });
        }
        if !functions::known(name) {
            let message = format!("undeclared reference to '{name}' (in container '')");
            return Err(problem(format!("{name}("), message));
        }
        let Some(ty) = functions::result(name, target, &args) else {
            return Err(no_overload(name, target, &args));
        };
        constant_arguments(name, target, call)?;
        let ty = match call.args.first().map(|arg| &arg.expr) {
            Some(Expr::Literal(LiteralValue::Int(size))) if name == "lists.range" => {
                Type::list(Type::Int, u64::try_from(*size.inner()).unwrap_or(0))
            }
            _ => ty,
        };
        let touched = function_cost(name, target, &args);
        Ok(Checked {
            ty,
            cost: cost.saturating_add(touched),
        })
    }

    fn two_vars(&mut self, macro_: &TwoVars<'_>) -> Result<Checked, Problem> {
        let range = self.expr(macro_.range)?;
        let (key, value, times) = match &range.ty {
            Type::List(of, max) => (Type::Int, (**of).clone(), *max),
            Type::Map(of, max) => (of.0.clone(), of.1.clone(), *max),
            Type::Dyn => (Type::Dyn, Type::Dyn, crate::limits::REQUEST),
            other => return Err(no_range(other)),
        };
        let [first, second] = macro_.names;
        self.scope.push((first.to_owned(), key.clone()));
        self.scope.push((second.to_owned(), value));
        let judged = macro_.filter.map(|filter| self.expr(filter)).transpose();
        let body = self.expr(macro_.body);
        self.scope.truncate(self.scope.len().saturating_sub(2));
        let (judged, body) = (judged?, body?);
        let is_test = matches!(macro_.kind, Kind::All | Kind::Exists | Kind::ExistsOne);
        let test = if is_test {
            Some(&body)
        } else {
            judged.as_ref()
        };
        if let Some(test) = test.filter(|test| !is_bool(&test.ty)) {
            let name = operators::LOGICAL_AND;
            return Err(no_overload(name, None, &[Type::Bool, test.ty.clone()]));
        }
        let ty = match (macro_.kind, &body.ty) {
            (Kind::List, made) => Type::list(made.clone(), times),
            (Kind::Map, made) => Type::Map((key, made.clone()).into(), times),
            (Kind::MapEntry, Type::Map(of, size)) => {
                Type::Map(of.clone(), times.saturating_mul(*size))
            }
            (Kind::MapEntry, Type::Dyn) => Type::Map((Type::Dyn, Type::Dyn).into(), times),
            (Kind::MapEntry, other) => {
                let given = std::slice::from_ref(other);
                return Err(no_overload("transformMapEntry", None, given));
            }
            _ => Type::Bool,
        };
        let each = judged.map_or(0, |judged| judged.cost);
        let each = each.saturating_add(body.cost).saturating_add(1);
        let cost = range.cost.saturating_add(times.saturating_mul(each));
        Ok(Checked { ty, cost })
    }

    fn comprehension(&mut self, c: &ComprehensionExpr) -> Result<Checked, Problem> {
        let range = self.expr(&c.iter_range)?;
        let (of, times) = match &range.ty {
            Type::List(of, max) => ((**of).clone(), *max),
            Type::Map(of, max) => (of.0.clone(), *max),
            Type::Dyn => (Type::Dyn, crate::limits::REQUEST),
            other => return Err(no_range(other)),
        };
        let init = self.expr(&c.accu_init)?;
        self.scope.push((c.accu_var.clone(), init.ty.clone()));
        self.scope.push((c.iter_var.clone(), of));
        let condition = self.expr(&c.loop_cond)?;
        let step = self.expr(&c.loop_step)?;
        self.scope.pop();
        self.scope.pop();
        let gathered = match (&init.ty, &step.ty) {
            (Type::List(..), Type::List(of, _)) => Type::List(of.clone(), times),
            _ => init.ty.or(&step.ty),
        };
        self.scope.push((c.accu_var.clone(), gathered));
        let result = self.expr(&c.result);
        self.scope.pop();
        let result = result?;
        let body = condition.cost.saturating_add(step.cost);
        let cost = range
            .cost
            .saturating_add(init.cost)
            .saturating_add(times.saturating_mul(body))
            .saturating_add(result.cost);
        Ok(Checked {
            ty: result.ty,
            cost,
        })
    }
}

const TYPE_NAMES: [&str; 10] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];

fn unwrapped(ty: Type) -> Type {
    match ty {
        Type::Optional(of) => (*of).clone(),
        other => other,
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(b) => Type::Bytes(b.inner().len() as u64),
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(s) => Type::String(s.inner().len() as u64),
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The type of `operand.field`.
fn member(operand: &Type, field: &str) -> Result<Type, Problem> {
    match operand {
        Type::Dyn => Ok(Type::Dyn),
        Type::Map(of, _) => Ok(of.1.clone()),
        Type::Object(object) => object
            .fields
            .get(field)
            .cloned()
            .ok_or_else(|| problem(format!(".{field}"), format!("undefined field '{field}'"))),
        Type::Optional(of) => Ok(Type::Optional(unwrapped(member(of, field)?).into())),
        Type::Made(name) => construct::field_type(name, field)
            .ok_or_else(|| problem(format!(".{field}"), format!("undefined field '{field}'"))),
        other => Err(problem(
            format!(".{field}"),
            format!("type '{other}' does not support field selection"),
        )),
    }
}

fn no_range(of: &Type) -> Problem {
    let message = format!(
        "expression of type '{of}' cannot be range of a comprehension (must be list, map, or dynamic)"
    );
    problem(".", message)
}

fn no_overload(name: &str, target: Option<&Type>, args: &[Type]) -> Problem {
    let args: Vec<String> = args.iter().map(Type::to_string).collect();
    let applied = match target {
        Some(target) => format!("{target}.({})", args.join(", ")),
        None => format!("({})", args.join(", ")),
    };
    let needle = match name.trim_matches('_') {
        "@in" => "in ",
        "?_:" => "?",
        other => other.trim_start_matches('['),
    };
    problem(
        needle,
        format!("found no matching overload for '{name}' applied to '{applied}'"),
    )
}

/// The type that an operator gives; `None` when the name is no operator, `Some(None)` when it does not
/// take these operands.
fn operator(name: &str, args: &[Type]) -> Option<Option<Type>> {
    use operators as op;
    let number = |ty: &Type| matches!(ty, Type::Int | Type::Uint | Type::Double | Type::Dyn);
    Some(match (name, args) {
        (op::CONDITIONAL, [condition, yes, no]) => {
            (is_bool(condition) && yes.fits(no)).then(|| yes.or(no))
        }
        (op::LOGICAL_AND | op::LOGICAL_OR, [a, b]) => {
            (is_bool(a) && is_bool(b)).then_some(Type::Bool)
        }
        (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [a]) => is_bool(a).then_some(Type::Bool),
        (op::NEGATE, [a]) => matches!(a, Type::Int | Type::Double | Type::Dyn).then(|| a.clone()),
        (op::EQUALS | op::NOT_EQUALS, [a, b]) => a.fits(b).then_some(Type::Bool),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) => {
            let comparable = |ty: &Type| {
                matches!(
                    ty,
                    Type::Bool
                        | Type::String(_)
                        | Type::Bytes(_)
                        | Type::Timestamp
                        | Type::Duration
                ) || number(ty)
            };
            let fits = a.fits(b) || (number(a) && number(b));
            (fits && comparable(a) && comparable(b)).then_some(Type::Bool)
        }
        (op::ADD, [a, b]) => add(a, b),
        (op::SUBSTRACT, [a, b]) => match (a, b) {
            (Type::Timestamp, Type::Timestamp) => Some(Type::Duration),
            (Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
            (Type::Duration, Type::Duration) => Some(Type::Duration),
            _ => arithmetic(a, b, number),
        },
        (op::MULTIPLY | op::DIVIDE, [a, b]) => arithmetic(a, b, number),
        (op::MODULO, [a, b]) => {
            arithmetic(a, b, |ty| matches!(ty, Type::Int | Type::Uint | Type::Dyn))
        }
        (op::IN, [a, b]) => match b {
            Type::List(of, _) => of.fits(a),
            Type::Map(of, _) => of.0.fits(a),
            other => *other == Type::Dyn,
        }
        .then_some(Type::Bool),
        (op::INDEX, [a, b]) => index(a, b),
        (op::OPT_INDEX, [a, b]) => {
            index(&unwrapped(a.clone()), b).map(|found| Type::Optional(unwrapped(found).into()))
        }
        (op::OPT_SELECT, [a, _]) => Some(Type::Optional(
            match unwrapped(a.clone()) {
                Type::Map(of, _) => of.1.clone(),
                _ => Type::Dyn,
            }
            .into(),
        )),
        _ => return None,
    })
}

fn arithmetic(a: &Type, b: &Type, takes: impl Fn(&Type) -> bool) -> Option<Type> {
    let dynamic = matches!((a, b), (Type::Dyn, _) | (_, Type::Dyn));
    (dynamic || (a.fits(b) && takes(a) && takes(b)))
        .then(|| if dynamic { Type::Dyn } else { a.clone() })
}

fn add(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Dyn, _) | (_, Type::Dyn) => Some(Type::Dyn),
        (Type::String(m), Type::String(n)) => Some(Type::String(m.saturating_add(*n))),
        (Type::Bytes(m), Type::Bytes(n)) => Some(Type::Bytes(m.saturating_add(*n))),
        (Type::List(x, m), Type::List(y, n)) => {
            x.fits(y).then(|| Type::list(x.or(y), m.saturating_add(*n)))
        }
        (Type::Timestamp, Type::Duration) | (Type::Duration, Type::Timestamp) => {
            Some(Type::Timestamp)
        }
        (Type::Int, Type::Int)
        | (Type::Uint, Type::Uint)
        | (Type::Double, Type::Double)
        | (Type::Duration, Type::Duration) => Some(a.clone()),
        _ => None,
    }
}

fn index(a: &Type, b: &Type) -> Option<Type> {
    match a {
        Type::Dyn => Some(Type::Dyn),
        Type::List(of, _) => b.fits(&Type::Int).then(|| (**of).clone()),
        Type::Map(of, _) => b.fits(&of.0).then(|| of.1.clone()),
        Type::Optional(of) => Some(Type::Optional(index(of, b)?.into())),
        _ => None,
    }
}

/// Operators whose whole cost is that of their operands and of the text they pass over.
const COSTED: [&str; 8] = [
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
];

fn operator_cost(name: &str, args: &[Type]) -> u64 {
    use operators as op;
    match (name, args) {
        (
            op::EQUALS
            | op::NOT_EQUALS
            | op::LESS
            | op::LESS_EQUALS
            | op::GREATER
            | op::GREATER_EQUALS,
            [a, b],
        ) => tenth(a.size().min(b.size())),
        (op::ADD, [a, b]) => tenth(a.size().saturating_add(b.size())),
        (op::IN, [_, Type::List(_, max)]) => *max,
        _ => 0,
    }
}

fn function_cost(name: &str, target: Option<&Type>, args: &[Type]) -> u64 {
    let all = || target.into_iter().chain(args);
    let sizes = || all().map(Type::size).fold(0, u64::saturating_add);
    match name {
        "startsWith" | "endsWith" => args.first().map_or(0, |arg| tenth(arg.size())),
        "contains" | "indexOf" | "lastIndexOf" => {
            let needle = args.first().map_or(1, |arg| tenth(arg.size()).max(1));
            target.map_or(0, |target| tenth(target.size()).saturating_mul(needle))
        }
        "matches" | "find" | "findAll" => {
            let mut sizes = all().map(Type::size);
            let (text, pattern) = (sizes.next().unwrap_or(0), sizes.next().unwrap_or(0));
            tenth(text.saturating_add(1)).saturating_mul(pattern.div_ceil(4).max(1))
        }
        "distinct" | "sort" => target.map_or(0, |of| of.size().saturating_mul(of.size())),
        "sets.contains" | "sets.equivalent" | "sets.intersects" => {
            all().map(Type::size).fold(1, u64::saturating_mul)
        }
        "check" => crate::limits::CHECK_COST,
        "isSorted" | "sum" | "min" | "max" | "slice" | "flatten" => target.map_or(0, Type::size),
        "url" | "isURL" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "reverse"
        | "replace" | "split" | "join" | "format" | "ip" | "isIP" | "cidr" | "isCIDR"
        | "quantity" | "isQuantity" | "semver" | "isSemver" | "string" | "bytes" | "validate"
        | "base64.encode" | "base64.decode" => tenth(sizes()),
        _ => 0,
    }
}

/// Patterns and other texts that are written out are tried at once.
fn constant_arguments(name: &str, target: Option<&Type>, call: &CallExpr) -> Result<(), Problem> {
    let at = usize::from(target.is_none());
    if let "matches" | "find" | "findAll" = name
        && let Some(Expr::Literal(LiteralValue::String(pattern))) =
            call.args.get(at).map(|arg| &arg.expr)
    {
        text::compile(pattern.inner()).map_err(|message| {
            problem(
                format!("{name}("),
                format!("invalid matches argument: {message}"),
            )
        })?;
    }
    Ok(())
}
