//! The seldom used parts of a schema, kept aside to keep schemas small.

use std::ops::Deref;
use std::sync::LazyLock;

use serde_json::Value;

use crate::model::Schema;

/// What a schema says for people; most parts of most schemas say nothing of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Documentation {
    /// `title`, for documentation.
    pub title: Option<String>,
    /// `description`, for documentation and `kubectl explain`.
    pub description: Option<String>,
    /// `example`, for documentation.
    pub example: Option<Value>,
    /// `externalDocs`, for documentation.
    pub external_docs: Option<Value>,
}

/// Bounds of values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bounds {
    /// `minimum`.
    pub minimum: Option<f64>,
    /// `maximum`.
    pub maximum: Option<f64>,
    /// `exclusiveMinimum`: `minimum` itself is refused.
    pub exclusive_minimum: bool,
    /// `exclusiveMaximum`: `maximum` itself is refused.
    pub exclusive_maximum: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `minLength` in characters.
    pub min_length: Option<i64>,
    /// `maxLength` in characters.
    pub max_length: Option<i64>,
    /// `minItems`.
    pub min_items: Option<i64>,
    /// `maxItems`.
    pub max_items: Option<i64>,
    /// `minProperties`.
    pub min_properties: Option<i64>,
    /// `maxProperties`.
    pub max_properties: Option<i64>,
}

/// Value validations combined from others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Junctors {
    /// `allOf` value validations.
    pub all_of: Vec<Schema>,
    /// `anyOf` value validations.
    pub any_of: Vec<Schema>,
    /// `oneOf` value validations.
    pub one_of: Vec<Schema>,
    /// `not` value validation.
    pub not: Option<Box<Schema>>,
}

/// A part of a schema that is seldom there, kept aside to keep schemas small: large CRDs have tens of
/// thousands of nodes. Reads as the default when absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Rare<T>(Option<Box<T>>);

/// The value that an absent part reads as.
pub trait Absent: Default + PartialEq + 'static {
    /// One default for all.
    fn absent() -> &'static Self;
}

macro_rules! absent {
    ($($part:ty),*) => {
        $(impl Absent for $part {
            fn absent() -> &'static Self {
                static ABSENT: LazyLock<$part> = LazyLock::new(<$part>::default);
                &ABSENT
            }
        })*
    };
}

absent!(Documentation, Bounds, Junctors);

impl<T: Absent> Rare<T> {
    /// The part, to be changed.
    pub fn edit(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// Forgets a part that says nothing, so that equal schemas compare equal.
    pub(crate) fn settle(&mut self) {
        if self.0.as_deref() == Some(T::absent()) {
            self.0 = None;
        }
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Rare<T> {
        Rare(None)
    }
}

impl<T: Absent> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(part) => part,
            None => T::absent(),
        }
    }
}
