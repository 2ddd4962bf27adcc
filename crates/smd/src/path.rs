//! Paths to fields: object members, list elements by key or by value.

use std::cmp::Ordering;
use std::fmt;

use apimachinery::quote::quoted;
use serde_json::{Number, Value};

/// A JSON value with an order and with numbers compared by value (`1` equals `1.0`).
#[derive(Clone, Debug)]
pub struct Literal(pub Value);

impl Literal {
    /// Compares two values as field paths do.
    pub fn compare(a: &Value, b: &Value) -> Ordering {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) => {
                let pairs = a.iter().zip(b).map(|(a, b)| Literal::compare(a, b));
                first_difference(pairs).then(a.len().cmp(&b.len()))
            }
            (Value::Object(a), Value::Object(b)) => {
                let pairs = a.iter().zip(b);
                first_difference(
                    pairs.map(|(a, b)| a.0.cmp(b.0).then_with(|| Literal::compare(a.1, b.1))),
                )
                .then(a.len().cmp(&b.len()))
            }
            _ => rank(a).cmp(&rank(b)),
        }
    }

    /// Whether two values are the same to a user of the API.
    pub fn same(a: &Value, b: &Value) -> bool {
        Literal::compare(a, b) == Ordering::Equal
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// Exact over the whole range of integers and floats, so that the order is total.
fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    let integer = |n: &Number| -> Option<i128> {
        n.as_i64()
            .map(i128::from)
            .or_else(|| n.as_u64().map(i128::from))
    };
    let float = |n: &Number| n.as_f64().unwrap_or(0.0);
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_mixed(a, float(b)),
        (None, Some(b)) => compare_mixed(b, float(a)).reverse(),
        (None, None) => float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal),
    }
}

fn compare_mixed(integer: i128, float: f64) -> Ordering {
    // The conversion saturates, which is right for a comparison with 64-bit integers.
    let whole = float.trunc() as i128;
    integer.cmp(&whole).then_with(|| {
        0.0_f64
            .partial_cmp(&float.fract())
            .unwrap_or(Ordering::Equal)
    })
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Literal {}
impl PartialOrd for Literal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Literal {
    fn cmp(&self, other: &Self) -> Ordering {
        Literal::compare(&self.0, &other.0)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(s) => f.write_str(&quoted(s)),
            other => other.fmt(f),
        }
    }
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A member of an object.
    Field(String),
    /// The element of a list whose key fields have these values; sorted by name.
    Key(Vec<(String, Literal)>),
    /// The element of a set with this value.
    Value(Literal),
    /// The element of a list at this position.
    Index(i64),
}

impl PathElement {
    /// A member of an object.
    pub fn field(name: impl Into<String>) -> Self {
        PathElement::Field(name.into())
    }

    /// The form in FieldsV1: `f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`.
    pub fn encode(&self) -> String {
        match self {
            PathElement::Field(name) => format!("f:{name}"),
            PathElement::Key(fields) => {
                let object = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.0.clone()))
                    .collect();
                format!("k:{}", Value::Object(object))
            }
            PathElement::Value(value) => format!("v:{}", value.0),
            PathElement::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads the form in FieldsV1. `Ok(None)` is a kind of element this version does not know.
    ///
    /// # Errors
    /// The element is malformed.
    pub fn decode(text: &str) -> Result<Option<PathElement>, String> {
        let malformed = || format!("malformed path element {}", quoted(text));
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(malformed());
        };
        let element = match kind {
            "f" => PathElement::Field(rest.to_owned()),
            "v" => {
                let value = serde_json::from_str(rest).map_err(|_| malformed())?;
                PathElement::Value(Literal(value))
            }
            "k" => match serde_json::from_str(rest).map_err(|_| malformed())? {
                Value::Object(object) => PathElement::Key(
                    object
                        .into_iter()
                        .map(|(name, value)| (name, Literal(value)))
                        .collect(),
                ),
                _ => return Err(malformed()),
            },
            "i" => PathElement::Index(rest.parse().map_err(|_| malformed())?),
            _ => return Ok(None),
        };
        Ok(Some(element))
    }
}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(fields) => {
                f.write_str("[")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
            PathElement::Value(value) => write!(f, "[={value}]"),
            PathElement::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path from the root of an object: `.spec.containers[name="c"].image`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<PathElement>);

impl Path {
    /// A path of members.
    pub fn of_fields(names: &[&str]) -> Self {
        Path(names.iter().map(|&name| PathElement::field(name)).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}
