//! Validating a value against its schema, in the words of the Kubernetes API server.
//!
//! With an old value, validation is *ratcheting* (KEP-4008): a part that did not change is not judged
//! again, so that an object which became invalid by a stricter schema can still be edited elsewhere.
//! Unchanged means equal at the same place: the same member, or the element of a map list with the same
//! keys; elements of other lists have no identity.

use apimachinery::field::{FieldError, FieldErrorKind as Kind, FieldPath};
use serde_json::{Map, Value};

use crate::decode::problem;
use crate::model::{AdditionalProperties, ListType, Schema, SchemaType};
use crate::{builtin, format, limits, value_validation};

/// Everything that is wrong with `value`, with paths below `path`.
///
/// Call it after pruning and defaulting. Messages name the field relative to `path`, as Kubernetes does.
#[must_use]
pub fn validate(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &FieldPath,
) -> Vec<FieldError> {
    let mut validator = Validator {
        base: path,
        segments: Vec::new(),
        errors: Vec::new(),
    };
    validator.value(schema, value, old);
    validator.errors
}

#[derive(Clone, Copy)]
enum Segment<'v> {
    Member(&'v str),
    Index(usize),
}

/// Walks a value and its schema together; knows where it is.
pub(crate) struct Validator<'v> {
    base: &'v FieldPath,
    segments: Vec<Segment<'v>>,
    pub(crate) errors: Vec<FieldError>,
}

impl<'v> Validator<'v> {
    /// Where the validator is, as a full path.
    pub(crate) fn path(&self) -> FieldPath {
        self.segments
            .iter()
            .fold(self.base.clone(), |path, segment| match segment {
                Segment::Member(name) => path.child(name),
                Segment::Index(index) => path.index(*index),
            })
    }

    /// Where the validator is, relative to the base: what messages call the field.
    pub(crate) fn name(&self) -> String {
        let mut name = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Member(member) => {
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(member);
                }
                Segment::Index(index) => name.push_str(&format!("[{index}]")),
            }
        }
        name
    }

    /// A validator at the same place with no errors yet, to try an alternative.
    pub(crate) fn fork(&self) -> Validator<'v> {
        Validator {
            base: self.base,
            segments: self.segments.clone(),
            errors: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, kind: Kind, bad: Option<Value>, detail: String) {
        if self.errors.len() < limits::ERRORS {
            self.errors.push(problem(kind, self.path(), bad, detail));
        }
    }

    /// An error whose message begins with the name of the field.
    pub(crate) fn body(&mut self, kind: Kind, bad: Value, rest: &str) {
        let detail = format!("{} in body {rest}", self.name());
        self.push(kind, Some(bad), detail);
    }

    fn at<R>(&mut self, segment: Segment<'v>, visit: impl FnOnce(&mut Self) -> R) -> R {
        self.segments.push(segment);
        let result = visit(self);
        self.segments.pop();
        result
    }

    pub(crate) fn value(&mut self, schema: &Schema, value: &'v Value, old: Option<&'v Value>) {
        if old == Some(value) || self.errors.len() >= limits::ERRORS {
            return;
        }
        if self.segments.len() > limits::VALUE_DEPTH {
            let detail = format!("must not be nested deeper than {}", limits::VALUE_DEPTH);
            return self.push(Kind::Invalid, None, detail);
        }
        if !self.type_matches(schema, value) {
            return;
        }
        if value.is_null() && schema.nullable {
            return;
        }
        value_validation::scalar(self, schema, value);
        match value {
            Value::Object(object) => self.object(schema, object, old.and_then(Value::as_object)),
            Value::Array(items) => self.array(schema, items, old.and_then(Value::as_array)),
            _ => {}
        }
        value_validation::junctors(self, schema, value);
    }

    fn type_matches(&mut self, schema: &Schema, value: &Value) -> bool {
        let found = type_name(value);
        let wanted = if schema.int_or_string {
            if matches!(found, "integer" | "string") {
                return true;
            }
            "integer,string"
        } else {
            match schema.ty {
                None => return true,
                Some(SchemaType::Number) if found == "integer" => return true,
                Some(ty) if ty.as_str() == found => return true,
                Some(ty) => ty.as_str(),
            }
        };
        if value.is_null() && schema.nullable {
            return true;
        }
        let rest = format!("must be of type {wanted}: \"{found}\"");
        self.body(Kind::TypeInvalid, found.into(), &rest);
        false
    }

    fn object(
        &mut self,
        schema: &Schema,
        object: &'v Map<String, Value>,
        old: Option<&'v Map<String, Value>>,
    ) {
        let count = object.len();
        if (schema.bounds.max_properties).is_some_and(|max| exceeds(count, max)) {
            self.too_many(count, schema.bounds.max_properties);
        }
        if let Some(min) = schema
            .bounds
            .min_properties
            .filter(|min| below(count, *min))
        {
            let rest = format!("should have at least {min} properties");
            self.body(Kind::Invalid, count.into(), &rest);
        }
        for name in &schema.required {
            if !object.contains_key(name) {
                let path = self.path().child(name);
                self.errors.push(problem(Kind::Required, path, None, ""));
            }
        }
        if schema.embedded_resource {
            value_validation::embedded_resource(self, object);
            if let (Some(metadata), Some(meta)) = (object.get("metadata"), builtin::object_meta()) {
                let old = old.and_then(|old| old.get("metadata"));
                self.at(Segment::Member("metadata"), |at| {
                    at.value(&meta, metadata, old);
                });
            }
        }
        for (key, value) in object {
            let child = match (schema.properties.get(key), &schema.additional_properties) {
                (Some(child), _) | (None, AdditionalProperties::Schema(child)) => child,
                _ => continue,
            };
            let old = old.and_then(|old| old.get(key));
            self.at(Segment::Member(key), |at| at.value(child, value, old));
        }
    }

    fn array(&mut self, schema: &Schema, items: &'v [Value], old: Option<&'v Vec<Value>>) {
        let count = items.len();
        if (schema.bounds.max_items).is_some_and(|max| exceeds(count, max)) {
            self.too_many(count, schema.bounds.max_items);
        }
        if let Some(min) = schema.bounds.min_items.filter(|min| below(count, *min)) {
            let rest = format!("should have at least {min} items");
            self.body(Kind::Invalid, count.into(), &rest);
        }
        let Some(child) = &schema.items else {
            return;
        };
        let correlated = match (&schema.list_type, old) {
            (Some(ListType::Map { keys }), Some(old)) => Some(Correlation::new(child, keys, old)),
            _ => None,
        };
        for (index, item) in items.iter().enumerate() {
            let old = correlated.as_ref().and_then(|old| old.find(child, item));
            self.at(Segment::Index(index), |at| at.value(child, item, old));
        }
        match &schema.list_type {
            Some(ListType::Set) => self.unique(items, |item| Some(item.clone())),
            Some(ListType::Map { keys }) => self.unique(items, |item| key_of(child, keys, item)),
            Some(ListType::Atomic) | None => {}
        }
    }

    fn too_many(&mut self, count: usize, max: Option<i64>) {
        let max = max.unwrap_or_default();
        self.push(
            Kind::TooMany,
            Some(count.into()),
            format!("must have at most {max} items"),
        );
    }

    fn unique(&mut self, items: &'v [Value], key: impl Fn(&Value) -> Option<Value>) {
        let mut seen = std::collections::HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let Some(key) = key(item) else {
                continue;
            };
            // Canonical: objects of `serde_json` are sorted by key.
            let times: &mut u32 = seen.entry(key.to_string()).or_default();
            *times += 1;
            // Kubernetes names each duplicated value once, at its second place.
            if *times == 2 {
                self.at(Segment::Index(index), |at| {
                    at.push(Kind::Duplicate, Some(key), String::new());
                });
            }
        }
    }
}

/// The elements of an old map list by their keys.
struct Correlation<'v> {
    keys: Vec<String>,
    by_key: std::collections::HashMap<String, &'v Value>,
}

impl<'v> Correlation<'v> {
    fn new(items: &Schema, keys: &[String], old: &'v [Value]) -> Correlation<'v> {
        let entries = old.iter().filter_map(|item| {
            let key = key_of(items, keys, item)?;
            Some((key.to_string(), item))
        });
        Correlation {
            keys: keys.to_vec(),
            by_key: entries.collect(),
        }
    }

    fn find(&self, items: &Schema, item: &Value) -> Option<&'v Value> {
        let key = key_of(items, &self.keys, item)?;
        self.by_key.get(&key.to_string()).copied()
    }
}

/// The key of an element of a map list, with defaults for absent parts; `None` if it has no part at all.
fn key_of(items: &Schema, keys: &[String], item: &Value) -> Option<Value> {
    let object = item.as_object()?;
    let mut key = Map::new();
    for name in keys {
        let default = || items.properties.get(name)?.default.as_ref();
        if let Some(value) = object.get(name).or_else(default) {
            key.insert(name.clone(), value.clone());
        }
    }
    (!key.is_empty()).then_some(Value::Object(key))
}

fn exceeds(count: usize, max: i64) -> bool {
    i64::try_from(count).is_ok_and(|count| count > max)
}

fn below(count: usize, min: i64) -> bool {
    i64::try_from(count).is_ok_and(|count| count < min)
}

/// The name of a JSON value's type; a whole number is an integer however it is written.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) => {
            if format::is_integer(number) {
                "integer"
            } else {
                "number"
            }
        }
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
