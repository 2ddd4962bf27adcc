//! One place of an object, its value and its path together, and the faults found there.
//!
//! Objects are judged from their JSON: a [`Spot`] walks down with the path at hand, so that a rule names a field once.
//! What is absent reads as the zero value of its type, as it does in a server of typed structs.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::quantity::Quantity;
use apimachinery::selector::label_selector_errors;
use serde_json::{Map, Value};

/// Ports that exist.
pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
/// For numbers below zero.
pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// For numbers that are not above zero.
pub(super) const NOT_POSITIVE: &str = "must be greater than zero";
/// For texts that are no address.
pub(super) const NOT_AN_ADDRESS: &str =
    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/// For texts that are no range of addresses.
pub(super) const NOT_A_CIDR: &str =
    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
/// For fields that keep their value.
pub(super) const IMMUTABLE: &str = "field is immutable";

static NULL: Value = Value::Null;

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Spot<'a> {
    pub value: &'a Value,
    pub path: FieldPath,
}

impl<'a> Spot<'a> {
    pub(super) fn new(value: &'a Value, path: FieldPath) -> Self {
        Spot { value, path }
    }

    /// The field `key` of an object at its root.
    pub(super) fn of(object: &'a Value, key: &str) -> Self {
        Spot {
            value: object.get(key).unwrap_or(&NULL),
            path: FieldPath::new(key),
        }
    }

    /// The path of a field.
    pub(super) fn at(&self, key: &str) -> FieldPath {
        self.path.child(key)
    }

    pub(super) fn child(&self, key: &str) -> Spot<'a> {
        Spot {
            value: self.value.get(key).unwrap_or(&NULL),
            path: self.at(key),
        }
    }

    /// A field that is there.
    pub(super) fn given(&self, key: &str) -> Option<Spot<'a>> {
        self.has(key).then(|| self.child(key))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(|v| !v.is_null())
    }

    /// The text of a field, or empty.
    pub(super) fn text(&self, key: &str) -> &'a str {
        self.value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The text that this is, or empty.
    pub(super) fn as_text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub(super) fn int(&self, key: &str) -> Option<i64> {
        self.value.get(key).and_then(Value::as_i64)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.value.get(key) == Some(&Value::Bool(true))
    }

    pub(super) fn items(&self, key: &str) -> impl Iterator<Item = Spot<'a>> + use<'a> {
        let path = self.at(key);
        let list = self.value.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .enumerate()
            .map(move |(index, value)| Spot {
                value,
                path: path.index(index),
            })
    }

    pub(super) fn count(&self, key: &str) -> usize {
        match self.value.get(key) {
            Some(Value::Array(list)) => list.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        }
    }

    /// The entries of a map, each at `field[key]`.
    pub(super) fn entries(&self, key: &str) -> impl Iterator<Item = (&'a str, Spot<'a>)> + use<'a> {
        let path = self.at(key);
        self.map(key)
            .into_iter()
            .flatten()
            .map(move |(key, value)| {
                let path = path.key(key);
                (key.as_str(), Spot { value, path })
            })
    }

    pub(super) fn map(&self, key: &str) -> Option<&'a Map<String, Value>> {
        self.value.get(key).and_then(Value::as_object)
    }

    /// The amount that this is.
    pub(super) fn quantity(&self) -> Option<Quantity> {
        quantity(self.value)
    }
}

/// An amount in JSON.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Faults, in the order in which they were found.
#[derive(Default)]
pub(super) struct Faults(pub Vec<FieldError>);

impl Faults {
    pub(super) fn required(&mut self, path: &FieldPath, detail: impl Into<String>) {
        self.0.push(FieldError::required(path, detail));
    }

    pub(super) fn invalid(
        &mut self,
        path: &FieldPath,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) {
        self.0.push(FieldError::invalid(path, value, detail));
    }

    pub(super) fn forbidden(&mut self, path: &FieldPath, detail: impl Into<String>) {
        self.0.push(FieldError::forbidden(path, detail));
    }

    pub(super) fn duplicate(&mut self, path: &FieldPath, value: impl Into<Value>) {
        self.0.push(FieldError::duplicate(path, value));
    }

    pub(super) fn not_found(&mut self, path: &FieldPath, value: impl Into<Value>) {
        self.0.push(FieldError::not_found(path, value));
    }

    pub(super) fn not_supported<S: AsRef<str>>(
        &mut self,
        path: &FieldPath,
        value: impl Into<Value>,
        known: &[S],
    ) {
        self.0.push(FieldError::not_supported(path, value, known));
    }

    /// What `rule` has against a text.
    pub(super) fn named(&mut self, path: &FieldPath, given: &str, rule: fn(&str) -> Vec<String>) {
        for detail in rule(given) {
            self.invalid(path, given, detail);
        }
    }

    /// As [`Faults::named`], of a text that may be left out.
    pub(super) fn named_if_given(
        &mut self,
        spot: &Spot<'_>,
        key: &str,
        rule: fn(&str) -> Vec<String>,
    ) {
        let given = spot.text(key);
        if !given.is_empty() {
            self.named(&spot.at(key), given, rule);
        }
    }

    /// A text that must be given.
    pub(super) fn demanded(&mut self, spot: &Spot<'_>, keys: &[&str]) {
        for key in keys {
            if spot.text(key).is_empty() {
                self.required(&spot.at(key), "");
            }
        }
    }

    /// A text that must be given, and one of `known`.
    pub(super) fn choice(&mut self, spot: &Spot<'_>, key: &str, known: &[&str]) {
        let given = spot.text(key);
        if given.is_empty() {
            self.required(&spot.at(key), "");
        } else if !known.contains(&given) {
            self.not_supported(&spot.at(key), given, known);
        }
    }

    /// A text that, if it is there at all, is one of `known`.
    pub(super) fn choice_if_given(&mut self, spot: &Spot<'_>, key: &str, known: &[&str]) {
        if spot.has(key) && !known.contains(&spot.text(key)) {
            self.not_supported(&spot.at(key), spot.text(key), known);
        }
    }

    pub(super) fn not_negative(&mut self, spot: &Spot<'_>, keys: &[&str]) {
        for key in keys {
            if let Some(given) = spot.int(key).filter(|n| *n < 0) {
                self.invalid(&spot.at(key), given, NOT_NEGATIVE);
            }
        }
    }

    pub(super) fn port(&mut self, path: &FieldPath, number: i64) {
        if !(1..=65535).contains(&number) {
            self.invalid(path, number, PORT_RANGE);
        }
    }

    /// A port by number or name.
    pub(super) fn port_or_name(&mut self, spot: &Spot<'_>) {
        match spot.value {
            Value::String(given) => self.named(&spot.path, given, name::port_name),
            other => self.port(&spot.path, other.as_i64().unwrap_or(0)),
        }
    }

    pub(super) fn address(&mut self, path: &FieldPath, given: &str) {
        if given.parse::<std::net::IpAddr>().is_err() {
            self.invalid(path, given, NOT_AN_ADDRESS);
        }
    }

    /// A label selector that may be left out.
    pub(super) fn selector(&mut self, spot: &Spot<'_>, key: &str) {
        if let Some(given) = spot.given(key) {
            self.0
                .extend(label_selector_errors(given.value, &given.path));
        }
    }

    /// A path within something: relative, and never upwards.
    pub(super) fn descending(&mut self, path: &FieldPath, given: &str) {
        if given.starts_with('/') {
            self.invalid(path, given, "must be a relative path");
        }
        self.no_backsteps(path, given);
    }

    pub(super) fn no_backsteps(&mut self, path: &FieldPath, given: &str) {
        if given.split('/').any(|part| part == "..") {
            self.invalid(path, given, "must not contain '..'");
        }
    }

    /// As [`Faults::descending`]; names that begin with `..` are the kubelet's own.
    pub(super) fn unreserved(&mut self, path: &FieldPath, given: &str) {
        self.descending(path, given);
        if given.starts_with("..") && !given.starts_with("../") {
            self.invalid(path, given, "must not start with '..'");
        }
    }

    /// Bits of a file's mode.
    pub(super) fn mode(&mut self, spot: &Spot<'_>, key: &str) {
        if let Some(given) = spot.int(key).filter(|m| !(0..=0o777).contains(m)) {
            let detail = "must be a number between 0 and 0777 (octal), both inclusive";
            self.invalid(&spot.at(key), given, detail);
        }
    }

    /// Labels, or a selector that is a map of them.
    pub(super) fn labels(&mut self, spot: &Spot<'_>, key: &str) {
        if let Some(labels) = spot.map(key) {
            let found = apimachinery::selector::label_errors(labels, &spot.at(key));
            self.0.extend(found);
        }
    }

    /// A field that keeps its value.
    pub(super) fn immutable(&mut self, new: &Spot<'_>, old: &Spot<'_>) {
        if new.value != old.value {
            self.invalid(&new.path, new.value.clone(), IMMUTABLE);
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::Faults;

    /// `path: reason`, sorted: what a client can rely on of faults.
    pub(in crate::strategies) fn found(faults: &Faults) -> Vec<String> {
        let mut all: Vec<String> = faults
            .0
            .iter()
            .map(|e| format!("{} {}", e.path, e.reason().trim_start_matches("FieldValue")))
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Judges by `judge` and gives what was [`found`].
    pub(in crate::strategies) fn judged(judge: impl FnOnce(&mut Faults)) -> Vec<String> {
        let mut faults = Faults::default();
        judge(&mut faults);
        found(&faults)
    }
}
