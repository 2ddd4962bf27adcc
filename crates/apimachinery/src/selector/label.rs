//! Label selectors: requirements and matching.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde_json::{Map, Value};

use super::{SelectorError, parse};
use crate::field::{FieldError, FieldPath, aggregate};
use crate::limits::SELECTOR_BYTES;
use crate::name;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `k in (a,b)`
    In,
    /// `k notin (a,b)`; also true without the label
    NotIn,
    /// `k=a`
    Equals,
    /// `k==a`
    DoubleEquals,
    /// `k!=a`; also true without the label
    NotEquals,
    /// `k`
    Exists,
    /// `!k`
    DoesNotExist,
    /// `k>5`
    GreaterThan,
    /// `k<5`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// Anything in which labels can be looked up.
pub trait LabelSet {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl LabelSet for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl LabelSet for HashMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl LabelSet for BTreeMap<&str, &str> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).copied()
    }
}

impl LabelSet for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl<T: LabelSet> LabelSet for Option<T> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

impl<T: LabelSet + ?Sized> LabelSet for &T {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

impl Requirement {
    /// Checks and makes a requirement; the error lists every complaint in kube's wording.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, SelectorError> {
        let requirement = Self {
            key: key.into(),
            operator,
            values: values.into_iter().map(Into::into).collect(),
        };
        let errors = requirement.faults();
        if errors.is_empty() {
            Ok(requirement)
        } else {
            Err(SelectorError::Label(aggregate(&errors)))
        }
    }

    fn faults(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let complaints = name::qualified_name(&self.key);
        if !complaints.is_empty() {
            errors.push(FieldError::invalid(
                &FieldPath::new("key"),
                self.key.clone(),
                complaints.join("; "),
            ));
        }
        let path = FieldPath::new("values");
        let all = || Value::from(self.values.iter().cloned().collect::<Vec<_>>());
        let mut wrong = |detail: &str| errors.push(FieldError::invalid(&path, all(), detail));
        match self.operator {
            Operator::In | Operator::NotIn if self.values.is_empty() => {
                wrong("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals
                if self.values.len() != 1 =>
            {
                wrong("exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !self.values.is_empty() => {
                wrong("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if self.values.len() != 1 {
                    wrong("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (i, value) in self
                    .values
                    .iter()
                    .enumerate()
                    .filter(|(_, v)| v.parse::<i64>().is_err())
                {
                    errors.push(FieldError::invalid(
                        &path.index(i),
                        value.clone(),
                        "for 'Gt', 'Lt' operators, the value must be an integer",
                    ));
                }
            }
            _ => {}
        }
        for (i, value) in self.values.iter().enumerate() {
            let complaints = name::label_value(value);
            if !complaints.is_empty() {
                let path = path.index(i).key(&self.key);
                errors.push(FieldError::invalid(
                    &path,
                    value.clone(),
                    complaints.join("; "),
                ));
            }
        }
        errors
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The comparison.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values compared with.
    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// True when `labels` satisfy this condition.
    pub fn matches(&self, labels: &(impl LabelSet + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => {
                value.is_some_and(|v| self.values.contains(v))
            }
            Operator::NotIn | Operator::NotEquals => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let bound = self.values.first().and_then(|v| v.parse::<i64>().ok());
                match (value.and_then(|v| v.parse::<i64>().ok()), bound) {
                    (Some(value), Some(bound)) if self.operator == Operator::GreaterThan => {
                        value > bound
                    }
                    (Some(value), Some(bound)) => value < bound,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = self.values.first().map_or("", String::as_str);
        // A list of nothing but the empty value needs its comma: `()` is a list without values.
        let list = || match self.values.iter().map(String::as_str).collect::<Vec<_>>() {
            values if values == [""] => ",".to_owned(),
            values => values.join(","),
        };
        let key = &self.key;
        match self.operator {
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={one}"),
            Operator::DoubleEquals => write!(f, "{key}=={one}"),
            Operator::NotEquals => write!(f, "{key}!={one}"),
            Operator::GreaterThan => write!(f, "{key}>{one}"),
            Operator::LessThan => write!(f, "{key}<{one}"),
            Operator::In => write!(f, "{key} in ({})", list()),
            Operator::NotIn => write!(f, "{key} notin ({})", list()),
        }
    }
}

/// Conditions on labels, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches nothing.
    pub fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// Of requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            requirements,
            nothing: false,
        }
    }

    /// Parses the text of a `labelSelector` query parameter; empty text matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_BYTES {
            return Err(SelectorError::TooLong(SELECTOR_BYTES));
        }
        Ok(Self::new(parse::requirements(text)?))
    }

    /// From a `metav1.LabelSelector`. Absent (`null`) matches nothing, `{}` everything, as in kube.
    pub fn from_json(value: &Value) -> Result<Self, SelectorError> {
        let fail = |text: String| Err(SelectorError::Label(text));
        let map = match value {
            Value::Null => return Ok(Self::nothing()),
            Value::Object(map) => map,
            other => return fail(format!("a label selector must be a map, not {other}")),
        };
        let mut requirements = Vec::new();
        match map.get("matchLabels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => {
                for (key, value) in labels {
                    let Some(value) = value.as_str() else {
                        return fail(format!("matchLabels[{key}] must be a string"));
                    };
                    requirements.push(Requirement::new(key, Operator::Equals, [value])?);
                }
            }
            Some(_) => return fail("matchLabels must be a map".to_owned()),
        }
        let expressions = match map.get("matchExpressions") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) => list.as_slice(),
            Some(_) => return fail("matchExpressions must be a list".to_owned()),
        };
        for expression in expressions {
            let text = |field: &str| {
                expression
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return fail(format!(
                        "{} is not a valid label selector operator",
                        crate::quote::quoted(other)
                    ));
                }
            };
            let values = match expression.get("values") {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(list)) => {
                    let strings: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                    match strings {
                        Some(strings) => strings,
                        None => return fail("values must be strings".to_owned()),
                    }
                }
                Some(_) => return fail("values must be a list".to_owned()),
            };
            requirements.push(Requirement::new(text("key"), operator, values)?);
        }
        Ok(Self::new(requirements))
    }

    /// The same with one more requirement; nothing stays nothing.
    #[must_use]
    pub fn and(mut self, requirement: Requirement) -> Self {
        let at = self
            .requirements
            .partition_point(|r| r.key <= requirement.key);
        self.requirements.insert(at, requirement);
        self
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// True when every set of labels matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// True when no set of labels matches, because there is no selector.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// True when `labels` satisfy every requirement.
    pub fn matches(&self, labels: &(impl LabelSet + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}
