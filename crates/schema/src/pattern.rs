//! Regular expressions of schemas.
//!
//! Schemas are written for Go's `regexp` (RE2). The `regex` crate has the same power and the same linear
//! time, but reads a few things differently; [`translate`] turns the former spelling into the latter:
//! Perl classes are ASCII only, brackets inside a class are literal, and a brace that opens no counted
//! repetition is a brace.

use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};

use crate::limits;

/// A regular expression of a schema; compiled when first used, linear in time (RE2 syntax).
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    compiled: Arc<OnceLock<Result<Regex, String>>>,
}

impl Pattern {
    /// A pattern, not yet checked.
    #[must_use]
    pub fn new(source: &str) -> Pattern {
        Pattern {
            source: source.into(),
            compiled: Arc::default(),
        }
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the pattern occurs in `text`; a malformed pattern occurs nowhere.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.compiled()
            .as_ref()
            .is_ok_and(|regex| regex.is_match(text))
    }

    /// Compiles the pattern.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn check(&self) -> Result<(), &str> {
        match self.compiled() {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn compiled(&self) -> &Result<Regex, String> {
        self.compiled.get_or_init(|| {
            RegexBuilder::new(&translate(&self.source))
                .size_limit(limits::REGEX_BYTES)
                .dfa_size_limit(limits::REGEX_BYTES)
                .build()
                .map_err(|error| {
                    let text = error.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    last.trim_start_matches("error: ").to_owned()
                })
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// Rewrites a pattern of Go's `regexp` for the `regex` crate.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut rest = source;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let (_, tail) = rest.split_at(next.len_utf8());
        match next {
            '\\' => {
                if let Some(literal) = tail.strip_prefix('Q').filter(|_| !in_class) {
                    let end = literal.find("\\E").unwrap_or(literal.len());
                    out.push_str(&regex::escape(&literal[..end]));
                    rest = literal[end..].strip_prefix("\\E").unwrap_or_default();
                    continue;
                }
                let Some(escaped) = tail.chars().next() else {
                    out.push('\\');
                    break;
                };
                escape(&mut out, escaped, in_class);
                rest = &tail[escaped.len_utf8()..];
                // `\p{Greek}` and `\x{10FFFF}` are the same in both.
                if matches!(escaped, 'p' | 'P' | 'x')
                    && rest.starts_with('{')
                    && let Some(end) = rest.find('}')
                {
                    out.push_str(&rest[..=end]);
                    rest = &rest[end + 1..];
                }
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                rest = tail;
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                // A bracket right after the opening is literal.
                if let Some(after) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = after;
                }
                continue;
            }
            '[' => match tail.strip_prefix(':').and_then(|name| name.find(":]")) {
                Some(length) => {
                    let (class, after) = rest.split_at(length + 4);
                    out.push_str(class);
                    rest = after;
                    continue;
                }
                None => out.push_str("\\["),
            },
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            // Doubled, these are set operators.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(next);
            }
            '-' if in_class && tail.starts_with('-') => out.push_str("\\-"),
            '{' if !in_class && !opens_repetition(tail) => out.push_str("\\{"),
            other => out.push(other),
        }
        rest = tail;
    }
    out
}

/// Perl classes and word boundaries mean ASCII in Go.
fn escape(out: &mut String, escaped: char, in_class: bool) {
    let class = match escaped {
        'd' | 'D' => "0-9",
        'w' | 'W' => "0-9A-Za-z_",
        's' | 'S' => "\\t\\n\\f\\r ",
        'b' | 'B' if !in_class => {
            out.push_str("(?-u:\\b)");
            if escaped == 'B' {
                let start = out.len() - "\\b)".len();
                out.replace_range(start.., "\\B)");
            }
            return;
        }
        other => {
            out.push('\\');
            out.push(other);
            return;
        }
    };
    match (escaped.is_ascii_uppercase(), in_class) {
        (true, _) => out.extend(["[^", class, "]"]),
        (false, true) => out.push_str(class),
        (false, false) => out.extend(["[", class, "]"]),
    }
}

/// Whether the text after a brace makes it `{n}`, `{n,}` or `{n,m}`.
fn opens_repetition(tail: &str) -> bool {
    let Some(end) = tail.find('}') else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match tail[..end].split_once(',') {
        None => digits(&tail[..end]),
        Some((low, high)) => digits(low) && (high.is_empty() || digits(high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::new(pattern);
        assert_eq!(pattern.check(), Ok(()), "{pattern:?}");
        pattern.matches(text)
    }

    #[test]
    fn patterns_are_searched_for_and_not_anchored() {
        assert!(matches("b", "abc"));
        assert!(!matches("^b", "abc"));
        assert!(!matches("^b$", "b\n"));
    }

    #[test]
    fn perl_classes_are_ascii() {
        assert!(!matches(r"^\d$", "٣"));
        assert!(!matches(r"^\w$", "é"));
        assert!(matches(r"^[\w.-]+$", "a_b.c-9"));
        assert!(matches(r"^[^\s]+$", "a"));
        assert!(matches(r"^\D\S\W$", "ab-"));
        assert!(matches(r"a\b.\B", "a--"));
    }

    #[test]
    fn classes_are_read_as_in_go() {
        assert!(matches("^[[a]$", "["));
        assert!(matches("^[]a]+$", "a]"));
        assert!(matches("^[a&&b]+$", "a&b"));
        assert!(matches("^[[:alpha:]-]+$", "a-"));
        assert!(matches("^[a~~b]$", "~"));
    }

    #[test]
    fn braces_without_a_count_are_literal() {
        assert!(matches("^{a}$", "{a}"));
        assert!(matches("^a{2}b{1,}c{0,2}$", "aabcc"));
        assert!(matches(r"^\Qa.b{\E$", "a.b{"));
        assert!(matches(r"^\{\}$", "{}"));
        assert!(matches(r"^\p{L}+$", "äöü"));
    }

    #[test]
    fn malformed_and_huge_patterns_are_refused() {
        assert!(Pattern::new("(").check().is_err());
        assert!(Pattern::new("a**").check().is_ok());
        assert!(Pattern::new("((a{1000}){1000}){1000}").check().is_err());
        assert!(!Pattern::new("(").matches("("));
    }
}
