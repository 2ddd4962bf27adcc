//! Types of expressions, with the sizes that cost estimation needs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schema::{AdditionalProperties, Schema, SchemaType};

use crate::limits;

/// A type. Numbers are upper bounds of sizes: bytes of texts, elements of lists and maps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    /// Known at run time only.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String(u64),
    Bytes(u64),
    Timestamp,
    Duration,
    List(Arc<Type>, u64),
    /// Keys, values.
    Map(Arc<(Type, Type)>, u64),
    Object(Arc<Object>),
    Optional(Arc<Type>),
    /// A value of a library: `kubernetes.URL`, `net.IP`, ...
    Opaque(&'static str),
    /// An object that expressions make, see [`crate::construct`].
    Made(Arc<str>),
    /// A type as a value.
    Kind,
}

/// An object with declared fields.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object {
    pub(crate) name: String,
    /// By the name that expressions use (escaped).
    pub(crate) fields: BTreeMap<String, Type>,
}

impl Type {
    /// A list.
    pub(crate) fn list(of: Type, max: u64) -> Type {
        Type::List(Arc::new(of), max)
    }

    /// A map with text keys, which Kubernetes takes for short.
    pub(crate) fn map(of: Type, max: u64) -> Type {
        Type::Map(Arc::new((Type::String(0), of)), max)
    }

    /// Whether a value of one may be where the other is wanted; sizes do not matter.
    pub(crate) fn fits(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            // Messages of protobuf, and what stands for them, may be compared with null.
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Object(_)
                    | Type::Optional(_)
                    | Type::Opaque(_)
                    | Type::Made(_)
                    | Type::Timestamp
                    | Type::Duration
            ),
            (Type::String(_), Type::String(_)) | (Type::Bytes(_), Type::Bytes(_)) => true,
            (Type::List(a, _), Type::List(b, _)) => a.fits(b),
            (Type::Map(a, _), Type::Map(b, _)) => a.0.fits(&b.0) && a.1.fits(&b.1),
            (Type::Object(a), Type::Object(b)) => Arc::ptr_eq(a, b) || a == b,
            (Type::Optional(a), Type::Optional(b)) => a.fits(b),
            _ => self == other,
        }
    }

    /// The type of what is either this or that.
    pub(crate) fn or(&self, other: &Type) -> Type {
        match (self, other) {
            (Type::String(a), Type::String(b)) => Type::String(*a.max(b)),
            (Type::Bytes(a), Type::Bytes(b)) => Type::Bytes(*a.max(b)),
            (Type::List(a, m), Type::List(b, n)) => Type::list(a.or(b), *m.max(n)),
            (Type::Map(a, m), Type::Map(b, n)) => {
                Type::Map(Arc::new((a.0.or(&b.0), a.1.or(&b.1))), *m.max(n))
            }
            (Type::Optional(a), Type::Optional(b)) => Type::Optional(Arc::new(a.or(b))),
            (Type::Dyn, other) | (other, Type::Dyn) => other.clone(),
            (Type::Null, other) | (other, Type::Null) => other.clone(),
            (a, b) if a == b => a.clone(),
            _ => Type::Dyn,
        }
    }

    /// Bytes or elements that a traversal touches at most.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Type::String(max) | Type::Bytes(max) | Type::List(_, max) | Type::Map(_, max) => *max,
            Type::Dyn => limits::REQUEST,
            Type::Optional(of) => of.size(),
            _ => 1,
        }
    }

    /// The type of values of a schema; `None` where Kubernetes lets rules see nothing.
    pub(crate) fn of(schema: &Schema, name: &str, depth: usize) -> Option<Type> {
        Type::walk(schema, name, depth, &mut Vec::new())
    }

    /// The type of objects of a kind, with all of their metadata.
    pub(crate) fn of_kind(schema: &Schema, name: &str) -> Option<Type> {
        // Not the root, where rules see the names of the metadata only.
        Type::of(schema, name, 1)
    }

    /// `path` are the schemas around this one: definitions of built-in kinds may be parts of themselves.
    fn walk(
        schema: &Schema,
        name: &str,
        depth: usize,
        path: &mut Vec<*const Schema>,
    ) -> Option<Type> {
        let here = std::ptr::from_ref(schema);
        if schema.int_or_string || depth > limits::SCHEMA_DEPTH || path.contains(&here) {
            return Some(Type::Dyn);
        }
        path.push(here);
        let found = Type::below(schema, name, depth, path);
        path.pop();
        found
    }

    fn below(
        schema: &Schema,
        name: &str,
        depth: usize,
        path: &mut Vec<*const Schema>,
    ) -> Option<Type> {
        let bound = |given: Option<i64>| given.map(|max| u64::try_from(max).unwrap_or(0));
        Some(match schema.ty? {
            SchemaType::Boolean => Type::Bool,
            SchemaType::Integer => Type::Int,
            SchemaType::Number => Type::Double,
            SchemaType::String => match schema.format.as_deref() {
                Some("byte") => {
                    Type::Bytes(bound(schema.bounds.max_length).unwrap_or(limits::REQUEST))
                }
                Some("duration") => Type::Duration,
                Some("date" | "date-time") => Type::Timestamp,
                _ => Type::String(text_size(schema)),
            },
            SchemaType::Array => {
                let items = schema.items.as_ref()?;
                let of = Type::walk(items, &format!("{name}.@idx"), depth + 1, path)?;
                let max = bound(schema.bounds.max_items)
                    .unwrap_or_else(|| (limits::REQUEST - 2) / (min_size(items, depth) + 1));
                Type::list(of, max)
            }
            SchemaType::Object => match &schema.additional_properties {
                AdditionalProperties::Schema(of) => {
                    let value = Type::walk(of, &format!("{name}.@elem"), depth + 1, path)?;
                    let max = bound(schema.bounds.max_properties)
                        .unwrap_or_else(|| (limits::REQUEST - 2) / (min_size(of, depth) + 6));
                    Type::map(value, max)
                }
                AdditionalProperties::Any if schema.properties.is_empty() => {
                    Type::map(Type::Dyn, limits::REQUEST / 6)
                }
                _ => Type::Object(Arc::new(object(schema, name, depth, path))),
            },
        })
    }
}

fn object(schema: &Schema, name: &str, depth: usize, path: &mut Vec<*const Schema>) -> Object {
    let mut fields = BTreeMap::new();
    for (field, child) in &schema.properties {
        if let (Some(escaped), Some(ty)) = (
            escape(field),
            Type::walk(child, &format!("{name}.{field}"), depth + 1, path),
        ) {
            fields.insert(escaped, ty);
        }
    }
    // The root and embedded resources: what every object has.
    if depth == 0 || schema.embedded_resource {
        let text = || Type::String(limits::REQUEST);
        for field in ["apiVersion", "kind"] {
            fields.entry(field.to_owned()).or_insert_with(text);
        }
        let metadata = ["name", "generateName"].map(|field| (field.to_owned(), text()));
        let metadata = Object {
            name: format!("{name}.metadata"),
            fields: metadata.into(),
        };
        fields.insert("metadata".to_owned(), Type::Object(Arc::new(metadata)));
    }
    Object {
        name: name.to_owned(),
        fields,
    }
}

/// Bytes of a text at most.
fn text_size(schema: &Schema) -> u64 {
    if let Some(max) = schema.bounds.max_length {
        // A character has up to four bytes.
        return u64::try_from(max).unwrap_or(0).saturating_mul(4);
    }
    schema
        .enum_
        .iter()
        .filter_map(|one| one.as_str())
        .map(|one| one.len() as u64)
        .max()
        .unwrap_or(limits::REQUEST - 2)
}

/// Bytes that a value has at least in JSON.
pub(crate) fn min_size(schema: &Schema, depth: usize) -> u64 {
    if schema.int_or_string || depth > limits::SCHEMA_DEPTH {
        return 1;
    }
    match schema.ty {
        None | Some(SchemaType::Integer | SchemaType::Number) => 1,
        Some(SchemaType::Boolean) => 4,
        Some(SchemaType::String) => match schema.format.as_deref() {
            Some("date") => 12,
            Some("date-time") => 22,
            _ => 2,
        },
        Some(SchemaType::Array) => 2,
        Some(SchemaType::Object) => {
            let required = schema
                .properties
                .iter()
                .filter(|(name, child)| schema.required.contains(name) && child.default.is_none());
            let size: u64 = required
                .map(|(name, child)| name.len() as u64 + min_size(child, depth + 1) + 4)
                .sum();
            2 + size
        }
    }
}

const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The name by which expressions call a field; `None` when they cannot.
pub(crate) fn escape(field: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    let mut chars = field.chars();
    if chars.next().is_none_or(|c| !fits(c) || c.is_ascii_digit()) || !chars.all(fits) {
        return None;
    }
    if RESERVED.contains(&field) {
        return Some(format!("__{field}__"));
    }
    Some(
        field
            .replace("__", "__underscores__")
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__"),
    )
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String(_) => f.write_str("string"),
            Type::Bytes(_) => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(of, _) => write!(f, "list({of})"),
            Type::Map(of, _) => write!(f, "map({}, {})", of.0, of.1),
            Type::Object(object) => f.write_str(&object.name),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Opaque(name) => f.write_str(name),
            Type::Made(name) => f.write_str(name),
            Type::Kind => f.write_str("type"),
        }
    }
}
