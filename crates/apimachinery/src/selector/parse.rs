//! The grammar of label selectors.
//!
//! ```text
//!   selector    = requirement { "," requirement }
//!   requirement = [ "!" ] KEY [ operator ]
//!   operator    = ( "=" | "==" | "!=" | ">" | "<" ) [ VALUE ]  |  ( "in" | "notin" ) "(" list ")"
//! ```
//!
//! `in` and `notin` are keywords only after a key. Messages quote the offending token as kube's do.

use super::SelectorError;
use super::label::{Operator, Requirement};
use crate::field::{FieldError, FieldPath};
use crate::name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    End,
    Error,
    Identifier,
    Comma,
    Open,
    Close,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
}

struct Token {
    kind: Kind,
    text: String,
}

fn special(kind: &str) -> Option<Kind> {
    Some(match kind {
        "," => Kind::Comma,
        "(" => Kind::Open,
        ")" => Kind::Close,
        "!" => Kind::Not,
        "=" => Kind::Equals,
        "==" => Kind::DoubleEquals,
        "!=" => Kind::NotEquals,
        ">" => Kind::Greater,
        "<" => Kind::Less,
        _ => return None,
    })
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let end = if is_special(first) {
            let two = rest.get(..2).filter(|two| special(two).is_some());
            two.map_or(1, str::len)
        } else {
            rest.find(|c| is_special(c) || is_space(c))
                .unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(end);
        let kind = special(word).unwrap_or(match word {
            "in" => Kind::In,
            "notin" => Kind::NotIn,
            _ if is_special(first) => Kind::Error,
            _ => Kind::Identifier,
        });
        tokens.push(Token {
            kind,
            text: word.to_owned(),
        });
        rest = after.trim_start_matches(is_space);
    }
    tokens
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
}

fn fail<T>(message: String) -> Result<T, SelectorError> {
    Err(SelectorError::Label(message))
}

impl Parser {
    /// The next token; where a value may stand, keywords are plain words.
    fn peek(&self) -> (Kind, &str) {
        match self.tokens.as_slice().first() {
            None => (Kind::End, ""),
            Some(Token {
                kind: Kind::In | Kind::NotIn,
                text,
            }) => (Kind::Identifier, text),
            Some(token) => (token.kind, &token.text),
        }
    }

    fn next_raw(&mut self) -> Token {
        self.tokens.next().unwrap_or(Token {
            kind: Kind::End,
            text: String::new(),
        })
    }

    fn next(&mut self) -> Token {
        let mut token = self.next_raw();
        if matches!(token.kind, Kind::In | Kind::NotIn) {
            token.kind = Kind::Identifier;
        }
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut key = self.next();
        let negated = key.kind == Kind::Not;
        if negated {
            key = self.next();
        }
        if key.kind != Kind::Identifier {
            return fail(format!("found '{}', expected: identifier", key.text));
        }
        let complaints = name::qualified_name(&key.text);
        if !complaints.is_empty() {
            let error = FieldError::invalid(&FieldPath::root(), key.text, complaints.join("; "));
            return fail(error.to_string());
        }
        if negated {
            return Requirement::new(key.text, Operator::DoesNotExist, [""; 0]);
        }
        if matches!(self.peek().0, Kind::End | Kind::Comma) {
            return Requirement::new(key.text, Operator::Exists, [""; 0]);
        }
        let token = self.next_raw();
        let operator = match token.kind {
            Kind::In => Operator::In,
            Kind::NotIn => Operator::NotIn,
            Kind::Equals => Operator::Equals,
            Kind::DoubleEquals => Operator::DoubleEquals,
            Kind::NotEquals => Operator::NotEquals,
            Kind::Greater => Operator::GreaterThan,
            Kind::Less => Operator::LessThan,
            _ => {
                return fail(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    token.text
                ));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        Requirement::new(key.text, operator, values)
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek().0, Kind::End | Kind::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        if token.kind == Kind::Identifier {
            return Ok(token.text);
        }
        fail(format!("found '{}', expected: identifier", token.text))
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        let open = self.next();
        if open.kind != Kind::Open {
            return fail(format!("found '{}' expected: '('", open.text));
        }
        match self.peek() {
            (Kind::Identifier | Kind::Comma, _) => {}
            (Kind::Close, _) => {
                self.next();
                return Ok(Vec::new());
            }
            (_, text) => return fail(format!("found '{text}', expected: ',', ')' or identifier")),
        }
        // An empty place between commas, or at either end, is the empty value.
        let mut values = Vec::new();
        loop {
            match self.peek().0 {
                Kind::Comma | Kind::Close => values.push(String::new()),
                _ => {
                    let token = self.next();
                    if token.kind != Kind::Identifier {
                        return fail(format!(
                            "found '{}', expected: ',', or identifier",
                            token.text
                        ));
                    }
                    values.push(token.text);
                }
            }
            let token = self.next();
            match token.kind {
                Kind::Close => return Ok(values),
                Kind::Comma => {}
                _ => return fail(format!("found '{}', expected: ',' or ')'", token.text)),
            }
        }
    }
}

/// The requirements of a label selector.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser {
        tokens: tokens(text).into_iter(),
    };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Kind::End, _) => return Ok(requirements),
            (Kind::Identifier | Kind::Not, _) => {}
            (_, text) => {
                return fail(format!(
                    "found '{text}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        let requirement = parser.requirement().map_err(|error| {
            SelectorError::Label(format!("unable to parse requirement: {error}"))
        })?;
        requirements.push(requirement);
        let token = parser.next();
        match token.kind {
            Kind::End => return Ok(requirements),
            Kind::Comma => match parser.peek() {
                (Kind::Identifier | Kind::Not, _) => {}
                (_, text) => {
                    return fail(format!("found '{text}', expected: identifier after ','"));
                }
            },
            _ => {
                return fail(format!(
                    "found '{}', expected: ',' or 'end of string'",
                    token.text
                ));
            }
        }
    }
}
