//! Regular expressions and replacing: functions whose cost the library would not bound.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::Value;
use regex::{Regex, RegexBuilder};

use crate::budget::{Budget, Fault, text_cost};
use crate::limits;

/// A regular expression with a bounded program; the error is told as Go tells it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(limits::REGEX_PROGRAM)
        .dfa_size_limit(limits::REGEX_PROGRAM)
        .build()
        .map_err(|_| format!("error parsing regexp: invalid or too large: `{pattern}`"))
}

/// The regular expressions that one evaluation uses.
#[derive(Default)]
pub(crate) struct Patterns(HashMap<String, Regex>);

impl Patterns {
    fn get(&mut self, pattern: &str, budget: &mut Budget) -> Result<&Regex, Fault> {
        if !self.0.contains_key(pattern) {
            // A pattern may be long in its program and short in its text.
            budget.charge(1_000 + pattern.len() as u64)?;
            let regex = compile(pattern).map_err(Fault::Function)?;
            if self.0.len() >= limits::REGEX_CACHE {
                self.0.clear();
            }
            self.0.insert(pattern.to_owned(), regex);
        }
        self.0.get(pattern).ok_or(Fault::Overload)
    }

    /// Whether the pattern is found in the text.
    pub(crate) fn matches(
        &mut self,
        text: &str,
        pattern: &str,
        budget: &mut Budget,
    ) -> Result<Value, Fault> {
        budget.charge(search_cost(text, pattern))?;
        Ok(Value::Bool(self.get(pattern, budget)?.is_match(text)))
    }

    /// The first match, or the empty text.
    pub(crate) fn find(
        &mut self,
        text: &str,
        pattern: &str,
        budget: &mut Budget,
    ) -> Result<Value, Fault> {
        budget.charge(search_cost(text, pattern))?;
        let found = self.get(pattern, budget)?.find(text);
        Ok(string(found.map_or("", |m| m.as_str())))
    }

    /// All matches, at most `limit` when it is not negative.
    pub(crate) fn find_all(
        &mut self,
        text: &str,
        pattern: &str,
        limit: i64,
        budget: &mut Budget,
    ) -> Result<Value, Fault> {
        // Searches for the next match may pass over the same text again.
        budget.charge(search_cost(text, pattern).saturating_mul(2))?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let regex = self.get(pattern, budget)?;
        let mut found = Vec::new();
        for one in regex.find_iter(text).take(limit) {
            budget.charge(text_cost(text.len()))?;
            found.push(string(one.as_str()));
        }
        Ok(Value::List(Arc::new(found)))
    }
}

fn search_cost(text: &str, pattern: &str) -> u64 {
    text_cost(text.len()).saturating_mul(1 + pattern.len() as u64 / 4)
}

/// A string value.
pub(crate) fn string(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

/// Replaces `from` by `to`, at most `limit` times when it is not negative.
pub(crate) fn replace(
    text: &str,
    from: &str,
    to: &str,
    limit: i64,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    budget.charge(text_cost(text.len() + from.len()))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = text.matches(from).count().min(limit);
    let size = count.saturating_mul(to.len()).saturating_add(text.len());
    result_size(size, budget)?;
    Ok(string(&text.replacen(from, to, limit)))
}

/// Joins texts.
pub(crate) fn join(list: &[Value], between: &str, budget: &mut Budget) -> Result<Value, Fault> {
    let mut size = list.len().saturating_mul(between.len());
    let mut texts = Vec::with_capacity(list.len());
    for item in list {
        let Value::String(text) = item else {
            return Err(Fault::Overload);
        };
        size = size.saturating_add(text.len());
        texts.push(text.as_str());
    }
    budget.charge(list.len() as u64)?;
    result_size(size, budget)?;
    Ok(string(&texts.join(between)))
}

/// Spends for a text of so many bytes that is about to be made.
pub(crate) fn result_size(bytes: usize, budget: &mut Budget) -> Result<(), Fault> {
    if bytes > limits::RESULT {
        return Err(Fault::Exhausted);
    }
    budget.charge(text_cost(bytes))
}
