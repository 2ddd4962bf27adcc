//! The JSONPath of printer columns, selectable fields and scale subresources.
//!
//! ```text
//!   .spec.x   .a\.b   ['k']   [0]   [-1]   [1:3]   [*]   ..x   [?(@.type=="Ready")]
//! ```
//!
//! A leading `$` and enclosing braces are accepted. Kube's template forms around it (`{range}`, literal
//! text) are not part of printer columns and are refused. Missing fields yield nothing, never an error.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use crate::limits::{JSONPATH_BYTES, JSONPATH_RESULTS};

/// Why a text is no JSONPath.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse JSONPath {}: {reason}", crate::quote::quoted(.path))]
pub struct ParseJsonPathError {
    /// The text.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Union(Vec<Step>),
    Wildcard,
    Descend,
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    test: Option<(Operator, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl JsonPath {
    /// Parses a path.
    pub fn parse(path: &str) -> Result<Self, ParseJsonPathError> {
        let fail = |reason: String| ParseJsonPathError {
            path: path.chars().take(256).collect(),
            reason,
        };
        if path.len() > JSONPATH_BYTES {
            return Err(fail(format!("longer than {JSONPATH_BYTES} bytes")));
        }
        let text = path.trim();
        let text = match text.strip_prefix('{') {
            Some(inner) => inner
                .strip_suffix('}')
                .ok_or_else(|| fail("unclosed action".to_owned()))?
                .trim(),
            None => text,
        };
        let text = text.strip_prefix('$').unwrap_or(text);
        let mut parser = Parser {
            rest: text.chars().peekable(),
            depth: 0,
        };
        let steps = parser.steps(|_| false).map_err(fail)?;
        Ok(Self { steps })
    }

    /// Everything the path leads to, in order.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        walk(&self.steps, value)
    }

    /// The first thing the path leads to.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }

    /// The names of the fields, when the path consists of nothing else: `.spec.replicas`.
    pub fn simple_fields(&self) -> Option<Vec<&str>> {
        self.steps
            .iter()
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn steps(&mut self, stop: fn(char) -> bool) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        while let Some(c) = self.rest.peek().copied() {
            if stop(c) {
                break;
            }
            match c {
                '.' => {
                    self.rest.next();
                    match self.rest.peek().copied() {
                        Some('.') => {
                            self.rest.next();
                            steps.push(Step::Descend);
                            if self.rest.peek().is_none_or(|c| *c == '.') {
                                return Err("nothing to look for after '..'".to_owned());
                            }
                            if self.rest.peek() != Some(&'[') {
                                steps.push(self.field(stop)?);
                            }
                        }
                        Some('[') => {}
                        None if steps.is_empty() => {}
                        _ => steps.push(self.field(stop)?),
                    }
                }
                '[' => {
                    self.rest.next();
                    steps.push(self.bracket()?);
                }
                _ if steps.is_empty() => steps.push(self.field(stop)?),
                other => return Err(format!("unexpected '{other}'")),
            }
        }
        Ok(steps)
    }

    fn field(&mut self, stop: fn(char) -> bool) -> Result<Step, String> {
        let mut name = String::new();
        while let Some(c) = self.rest.peek().copied() {
            if matches!(c, '.' | '[') || stop(c) {
                break;
            }
            self.rest.next();
            match c {
                '\\' => name.push(self.rest.next().ok_or("nothing after '\\'")?),
                ' ' | '\t' | '\n' | '\r' | '{' | '}' | '(' | ')' | ']' | '"' | '\'' | ',' | '|'
                | '@' => {
                    return Err(format!("unrecognized character in field: '{c}'"));
                }
                c => name.push(c),
            }
        }
        match name.as_str() {
            "" => Err("empty field name".to_owned()),
            "*" => Ok(Step::Wildcard),
            _ => Ok(Step::Field(name)),
        }
    }

    fn spaces(&mut self) {
        while self.rest.next_if(char::is_ascii_whitespace).is_some() {}
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.spaces();
        match self.rest.next() {
            Some(c) if c == wanted => Ok(()),
            Some(c) => Err(format!("expected '{wanted}', found '{c}'")),
            None => Err(format!("expected '{wanted}', found the end")),
        }
    }

    /// What stands between `[` and `]`.
    fn bracket(&mut self) -> Result<Step, String> {
        let mut members = Vec::new();
        loop {
            self.spaces();
            members.push(match self.rest.peek().copied() {
                Some('*') => {
                    self.rest.next();
                    Step::Wildcard
                }
                Some('?') => {
                    self.rest.next();
                    Step::Filter(self.filter()?)
                }
                Some('\'' | '"') => Step::Field(self.string()?),
                Some('-' | ':' | '0'..='9') => self.index_or_slice()?,
                _ => return Err("invalid array index".to_owned()),
            });
            self.spaces();
            match self.rest.next() {
                Some(']') => break,
                Some(',') => {}
                _ => return Err("unterminated array".to_owned()),
            }
        }
        match (members.pop(), members.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                members.push(last);
                Ok(Step::Union(members))
            }
            (None, _) => Err("empty brackets".to_owned()),
        }
    }

    fn integer(&mut self) -> Result<Option<i64>, String> {
        let mut text = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_digit() || *c == '-') {
            text.push(c);
        }
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|_| format!("invalid array index {text}"))
    }

    fn index_or_slice(&mut self) -> Result<Step, String> {
        let start = self.integer()?;
        if self.rest.next_if_eq(&':').is_none() {
            return start
                .map(Step::Index)
                .ok_or_else(|| "invalid array index".to_owned());
        }
        let end = self.integer()?;
        let step = if self.rest.next_if_eq(&':').is_some() {
            self.integer()?.unwrap_or(1)
        } else {
            1
        };
        if step <= 0 {
            return Err("step must be > 0".to_owned());
        }
        Ok(Step::Slice(start, end, step))
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None => return Err("unterminated quoted string".to_owned()),
                c if c == quote => return Ok(text),
                Some('\\') => text.push(self.rest.next().ok_or("unterminated quoted string")?),
                Some(c) => text.push(c),
            }
        }
    }

    fn filter(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > 8 {
            return Err("filters nested too deeply".to_owned());
        }
        self.expect('(')?;
        let left = self.operand()?;
        self.spaces();
        let test = match self.operator()? {
            None => None,
            Some(operator) => Some((operator, self.operand()?)),
        };
        self.expect(')')?;
        self.depth -= 1;
        Ok(Filter { left, test })
    }

    fn operator(&mut self) -> Result<Option<Operator>, String> {
        let Some(c) = self.rest.next_if(|c| matches!(c, '=' | '!' | '<' | '>')) else {
            return Ok(None);
        };
        let equals = self.rest.next_if_eq(&'=').is_some();
        Ok(Some(match (c, equals) {
            ('=', true) => Operator::Eq,
            ('!', true) => Operator::Ne,
            ('<', true) => Operator::Le,
            ('<', false) => Operator::Lt,
            ('>', true) => Operator::Ge,
            ('>', false) => Operator::Gt,
            _ => return Err(format!("unrecognized operator '{c}'")),
        }))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        fn ends(c: char) -> bool {
            c.is_ascii_whitespace() || matches!(c, '=' | '!' | '<' | '>' | ')')
        }
        self.spaces();
        match self.rest.peek().copied() {
            Some('@') => {
                self.rest.next();
                Ok(Operand::Path(self.steps(ends)?))
            }
            Some('\'' | '"') => Ok(Operand::Literal(Value::String(self.string()?))),
            Some(_) => {
                let mut word = String::new();
                while let Some(c) = self.rest.next_if(|c| !ends(*c)) {
                    word.push(c);
                }
                let literal: Option<Value> = serde_json::from_str(&word).ok();
                match literal {
                    Some(value @ (Value::Bool(_) | Value::Number(_) | Value::Null)) => {
                        Ok(Operand::Literal(value))
                    }
                    _ => Err(format!("unrecognized operand {word:?}")),
                }
            }
            None => Err("unterminated filter".to_owned()),
        }
    }
}

fn walk<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            apply(step, value, &mut next);
            if next.len() >= JSONPATH_RESULTS {
                next.truncate(JSONPATH_RESULTS);
                break;
            }
        }
        found = next;
    }
    found
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn apply<'a>(step: &Step, value: &'a Value, out: &mut Vec<&'a Value>) {
    let position = |len: usize, i: i64| {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        if i < 0 { i.saturating_add(len) } else { i }
    };
    match step {
        Step::Field(name) => out.extend(value.get(name.as_str())),
        Step::Index(i) => {
            if let Value::Array(list) = value {
                let at = usize::try_from(position(list.len(), *i)).ok();
                out.extend(at.and_then(|at| list.get(at)));
            }
        }
        Step::Slice(start, end, step) => {
            if let Value::Array(list) = value {
                let clamp = |i: i64| {
                    usize::try_from(position(list.len(), i).max(0))
                        .unwrap_or(usize::MAX)
                        .min(list.len())
                };
                let (start, end) = (start.map_or(0, clamp), end.map_or(list.len(), clamp));
                let step = usize::try_from(*step).unwrap_or(1);
                out.extend(
                    list.get(start..end)
                        .unwrap_or_default()
                        .iter()
                        .step_by(step),
                );
            }
        }
        Step::Union(members) => members.iter().for_each(|member| apply(member, value, out)),
        Step::Wildcard => out.extend(children(value)),
        Step::Descend => {
            // Without recursion; parents before their children, in document order.
            let mut pending = vec![value];
            let limit = out.len().saturating_add(JSONPATH_RESULTS);
            while let Some(value) = pending.pop() {
                if out.len() >= limit {
                    break;
                }
                out.push(value);
                let mut below: Vec<_> = children(value).collect();
                below.reverse();
                pending.extend(below);
            }
        }
        Step::Filter(filter) => {
            if let Value::Array(list) = value {
                out.extend(list.iter().filter(|element| filter.keeps(element)));
            }
        }
    }
}

impl Filter {
    fn keeps(&self, element: &Value) -> bool {
        let resolve = |operand: &Operand| match operand {
            Operand::Literal(value) => Some(value.clone()),
            Operand::Path(steps) => walk(steps, element).first().copied().cloned(),
        };
        let Some(left) = resolve(&self.left) else {
            return false;
        };
        let Some((operator, right)) = &self.test else {
            return true;
        };
        let Some(right) = resolve(right) else {
            return false;
        };
        let order = match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) if a == b => Some(std::cmp::Ordering::Equal),
            _ => None,
        };
        match operator {
            Operator::Eq => order.is_some_and(std::cmp::Ordering::is_eq),
            Operator::Ne => !order.is_some_and(std::cmp::Ordering::is_eq),
            Operator::Lt => order.is_some_and(std::cmp::Ordering::is_lt),
            Operator::Le => order.is_some_and(std::cmp::Ordering::is_le),
            Operator::Gt => order.is_some_and(std::cmp::Ordering::is_gt),
            Operator::Ge => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests;
