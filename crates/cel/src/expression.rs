//! Text to syntax tree, with bounds on both.

pub(crate) use kube_cel::cel::IdedExpr as Ast;
use kube_cel::cel::common::ast::{EntryExpr, Expr};
use kube_cel::cel::parser::Parser;

use crate::limits;

/// Parses an expression; the error is told as cel-go tells it.
///
/// The outside parser descends as deep as brackets nest and chains of operators are long, so both are
/// measured before; only trees that are shallow enough to be evaluated leave here.
pub(crate) fn parse(source: &str) -> Result<Ast, String> {
    if source.len() > limits::SOURCE {
        return Err(refusal(&format!(
            "expression code point size exceeds limit: size: {}, limit {}",
            source.len(),
            limits::SOURCE
        )));
    }
    if nests_too_deep(source) {
        return Err(refusal("expression nests too deep"));
    }
    parse_bounded(source)
}

/// One level of brackets: the chain of operators since the last `&&`, `||` or `,`, and its conditionals.
#[derive(Default)]
struct Level {
    chain: usize,
    conditionals: usize,
}

/// A cheap upper bound of the depth of the tree, from the text alone.
fn nests_too_deep(source: &str) -> bool {
    let mut levels = vec![Level::default()];
    let bytes = source.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        let next = bytes.get(at).copied();
        let nested = levels.len() > 1;
        let Some(level) = levels.last_mut() else {
            return true;
        };
        match byte {
            b'"' | b'\'' => at = after_text(bytes, at - 1),
            b'(' | b'[' | b'{' => {
                level.chain += 1;
                levels.push(Level::default());
            }
            b')' | b']' | b'}' if nested => {
                levels.pop();
            }
            b',' => level.chain = 0,
            b'&' | b'|' if next == Some(byte) => {
                at += 1;
                level.chain = 0;
            }
            b'?' => level.conditionals += 1,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'.' | b'<' | b'>' | b'=' | b'!' => {
                level.chain += 1;
            }
            // The operator `in`.
            b'i' if next == Some(b'n') => level.chain += 1,
            _ => {}
        }
        let chain: usize = levels.iter().map(|l| l.chain).sum();
        // The parser descends as far for a conditional as for a bracket.
        let nested: usize = levels.iter().map(|l| 1 + l.conditionals).sum();
        if nested > limits::BRACKETS || chain > limits::CHAIN {
            return true;
        }
    }
    false
}

/// The place after the text literal that begins at `start`.
fn after_text(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let triple = bytes[start..].starts_with(&[quote, quote, quote]);
    let raw = start > 0 && matches!(bytes[start - 1], b'r' | b'R');
    let mut at = start + if triple { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if triple && bytes[at..].starts_with(&[quote, quote, quote]) {
            return at + 3;
        } else if !triple && (bytes[at] == quote || bytes[at] == b'\n') {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn refusal(why: &str) -> String {
    format!("ERROR: <input>:1:1: {why}")
}

fn parse_bounded(source: &str) -> Result<Ast, String> {
    let parser = Parser::new().enable_optional_syntax(true);
    let ast = parser
        .parse(source)
        .map_err(|errors| errors.to_string().replace("\n| ", "\n | "))?;
    if depth(&ast, limits::DEPTH) == 0 {
        return Err(refusal("expression nests too deep"));
    }
    Ok(ast)
}

/// How much of `room` remains below the deepest leaf; 0 when there was too little.
fn depth(ast: &Ast, room: usize) -> usize {
    let Some(room) = room.checked_sub(1) else {
        return 0;
    };
    children(&ast.expr)
        .into_iter()
        .map(|child| depth(child, room))
        .min()
        .unwrap_or(room)
}

/// The parts of an expression.
pub(crate) fn children(expr: &Expr) -> Vec<&Ast> {
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Comprehension(c) => vec![
            &c.iter_range,
            &c.accu_init,
            &c.loop_cond,
            &c.loop_step,
            &c.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Map(map) => entries(&map.entries),
        Expr::Struct(object) => entries(&object.entries),
    }
}

fn entries(entries: &[kube_cel::cel::common::ast::IdedEntryExpr]) -> Vec<&Ast> {
    entries
        .iter()
        .flat_map(|entry| match &entry.expr {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        })
        .collect()
}

/// Whether the expression speaks of the variable `name`.
pub(crate) fn mentions(ast: &Ast, name: &str) -> bool {
    if let Expr::Ident(ident) = &ast.expr {
        return ident == name;
    }
    children(&ast.expr)
        .into_iter()
        .any(|child| mentions(child, name))
}

/// A complaint about a part of the source, placed where `needle` stands in it.
pub(crate) fn complaint(source: &str, needle: &str, message: &str) -> String {
    let at = source.find(needle).unwrap_or(0);
    let before = &source[..at];
    let line = before.matches('\n').count();
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count();
    let text = source.lines().nth(line).unwrap_or_default();
    format!(
        "ERROR: <input>:{}:{}: {message}\n | {text}\n | {}^",
        line + 1,
        column + 1,
        ".".repeat(column)
    )
}
