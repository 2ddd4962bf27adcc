//! Which fields of built-in types are written when they are empty, and which are not.
//!
//! Both follow the Go types: a field without `omitempty`, or a struct that is no pointer, is always there; a plain
//! bool, number or text with `omitempty` vanishes at its zero value, while a pointer to one stays.
//!
//! `typed_fields.tsv` has a definition a line: its name, the fields that are always there with what they are when
//! empty, the fields that vanish. `scripts/typed-fields.py` derives it from a checkout of `k8s.io/api`.

use std::collections::HashMap;
use std::sync::LazyLock;

static DATA: &str = include_str!("typed_fields.tsv");

/// The value of an empty field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// A list, map, pointer or time.
    Null,
    /// A struct.
    Empty,
    /// A text.
    Text,
    /// A number.
    Number,
    /// A flag.
    False,
    /// A quantity.
    Amount,
}

/// Definition of times with microseconds.
pub(super) const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/// What is known of the fields of a definition.
pub(super) struct Facts {
    /// Fields that are always there.
    pub always: Vec<(&'static str, Zero)>,
    /// Fields that are left out at zero, `false` or the empty text.
    pub omitted: Vec<&'static str>,
}

static FACTS: LazyLock<HashMap<&'static str, Facts>> =
    LazyLock::new(|| DATA.lines().filter_map(parse).collect());

fn parse(line: &'static str) -> Option<(&'static str, Facts)> {
    let mut parts = line.split('\t');
    let (name, always, omitted) = (parts.next()?, parts.next()?, parts.next()?);
    let always = always.split_whitespace().filter_map(|field| {
        let (field, zero) = field.split_once('=')?;
        let zero = match zero {
            "null" => Zero::Null,
            "{}" => Zero::Empty,
            "\"\"" => Zero::Text,
            "0" => Zero::Number,
            "false" => Zero::False,
            "\"0\"" => Zero::Amount,
            _ => return None,
        };
        Some((field, zero))
    });
    let facts = Facts {
        always: always.collect(),
        omitted: omitted.split_whitespace().collect(),
    };
    Some((name, facts))
}

/// What is known of a definition.
pub(super) fn of(definition: &str) -> Option<&'static Facts> {
    FACTS.get(definition)
}

/// Everything that is known.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static Facts)> {
    FACTS.iter().map(|(name, facts)| (*name, facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let fields: usize = DATA
            .lines()
            .map(|line| line.split(['\t', ' ']).filter(|f| !f.is_empty()).count() - 1)
            .sum();
        let read: usize = all().map(|(_, f)| f.always.len() + f.omitted.len()).sum();
        assert_eq!(read, fields);
        let container = of("io.k8s.api.core.v1.Container").unwrap();
        assert!(container.always.contains(&("resources", Zero::Empty)));
        assert!(container.omitted.contains(&"image"));
    }
}
