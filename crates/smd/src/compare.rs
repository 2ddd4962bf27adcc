//! What changed between two objects, as three sets of fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::path::{Literal, PathElement};
use crate::set::FieldSet;
use crate::types::{Elements, Kind, Members, Type};

/// The difference of two objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) removed: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) added: FieldSet,
}

impl Comparison {
    /// The difference without everything at or below the paths of `ignored`.
    pub(crate) fn without(self, ignored: &FieldSet) -> Comparison {
        Comparison {
            removed: self.removed.recursive_difference(ignored),
            modified: self.modified.recursive_difference(ignored),
            added: self.added.recursive_difference(ignored),
        }
    }

    /// Fields that have a new value.
    pub(crate) fn written(&self) -> FieldSet {
        self.modified.union(&self.added)
    }
}

/// Compares two objects of a type.
pub(crate) fn compare(ty: Type<'_>, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk {
        path: Vec::new(),
        found: Comparison::default(),
    };
    walk.node(ty, Some(old), Some(new));
    walk.found
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

struct Walk {
    path: Vec<PathElement>,
    found: Comparison,
}

impl Walk {
    fn node(&mut self, ty: Type<'_>, old: Option<&Value>, new: Option<&Value>) {
        // Equal values have no differences at any depth.
        if old == new {
            return;
        }
        let kind_of = |value: Option<&Value>| value.map(|value| ty.kind(value));
        let mut leaf = false;
        match (kind_of(old), kind_of(new)) {
            (None, None) => {}
            (Some(kind), None) | (None, Some(kind)) => leaf = self.as_kind(kind, old, new),
            (Some(was), Some(is)) => {
                // A change of kind is the end of the one and the beginning of the other.
                if std::mem::discriminant(&was) != std::mem::discriminant(&is) {
                    self.as_kind(was, old, new);
                }
                leaf = self.as_kind(is, old, new);
            }
        }
        if !leaf {
            match (old, new) {
                (None, Some(_)) => self.found.added.insert(&self.path),
                (Some(_), None) => self.found.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    /// Compares as a kind; says whether the node was compared as a whole.
    fn as_kind(&mut self, kind: Kind<'_>, old: Option<&Value>, new: Option<&Value>) -> bool {
        match kind {
            Kind::Leaf => {
                self.leaf(old, new);
                true
            }
            Kind::List(elements) => {
                let (was, is) = (items(old), items(new));
                // Keeps the difference between empty and absent.
                if was.is_empty() && is.is_empty() {
                    self.leaf(old, new);
                    return true;
                }
                self.list(elements, was, is);
                false
            }
            Kind::Map(members) => {
                let was = old.and_then(Value::as_object);
                let is = new.and_then(Value::as_object);
                let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
                if empty(was) && empty(is) {
                    self.leaf(old, new);
                    return true;
                }
                self.map(members, was, is);
                false
            }
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            (Some(old), Some(new)) => {
                if !Literal::same(old, new) {
                    self.found.modified.insert(&self.path);
                }
            }
        }
    }

    fn map(
        &mut self,
        members: Members<'_>,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
    ) {
        for (name, value) in old.into_iter().flatten() {
            self.path.push(PathElement::field(name.as_str()));
            self.node(
                members.member(name),
                Some(value),
                new.and_then(|new| new.get(name)),
            );
            self.path.pop();
        }
        for (name, value) in new.into_iter().flatten() {
            if old.is_some_and(|old| old.contains_key(name)) {
                continue;
            }
            self.path.push(PathElement::field(name.as_str()));
            self.node(members.member(name), None, Some(value));
            self.path.pop();
        }
    }

    fn list(&mut self, elements: Elements<'_>, old: &[Value], new: &[Value]) {
        let mut pairs: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        // Elements without an identity cannot be owned, so they cannot be seen to change either.
        for value in old {
            if let Ok(identity) = elements.identify(value) {
                pairs.entry(identity).or_default().0.push(value);
            }
        }
        for value in new {
            if let Ok(identity) = elements.identify(value) {
                pairs.entry(identity).or_default().1.push(value);
            }
        }
        for (identity, (was, is)) in pairs {
            self.path.push(identity);
            match (was.as_slice(), is.as_slice()) {
                ([] | [_], [] | [_]) => {
                    self.node(elements.item, was.first().copied(), is.first().copied());
                }
                // Elements that repeat are owned together, as a whole.
                ([_, _, ..], [_, _, ..]) => {
                    let same = was.len() == is.len()
                        && was.iter().zip(&is).all(|(a, b)| Literal::same(a, b));
                    if !same {
                        self.found.modified.insert(&self.path);
                    }
                }
                ([_, _, ..], rest) => {
                    if let [one] = rest {
                        self.node(elements.item, None, Some(one));
                    }
                    self.found.removed.insert(&self.path);
                }
                (rest, _) => {
                    if let [one] = rest {
                        self.node(elements.item, Some(one), None);
                    }
                    self.found.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}
