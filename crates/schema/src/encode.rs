//! [`Schema`] to JSON, in the form of `JSONSchemaProps`.

use serde_json::{Map, Number, Value};

use crate::builtin;
use crate::model::{AdditionalProperties, ListType, MapType, Schema, SchemaRef, ValidationRule};

impl Schema {
    /// The schema as `JSONSchemaProps`; `Schema::parse` reads back the same.
    ///
    /// References to built-in definitions become `$ref: "#/components/schemas/NAME"`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(key.to_owned(), value);
            }
        };
        put("type", self.ty.map(|ty| ty.as_str().into()));
        put("nullable", flag(self.nullable));
        put("title", text(self.docs.title.as_ref()));
        put("description", text(self.docs.description.as_ref()));
        put("example", self.docs.example.clone());
        put("externalDocs", self.docs.external_docs.clone());
        put("default", self.default.clone());
        put("format", text(self.format.as_ref()));
        put("pattern", self.pattern.as_ref().map(|p| p.as_str().into()));
        put("minimum", self.bounds.minimum.and_then(number));
        put("maximum", self.bounds.maximum.and_then(number));
        put("exclusiveMinimum", flag(self.bounds.exclusive_minimum));
        put("exclusiveMaximum", flag(self.bounds.exclusive_maximum));
        put("multipleOf", self.bounds.multiple_of.and_then(number));
        put("minLength", self.bounds.min_length.map(Value::from));
        put("maxLength", self.bounds.max_length.map(Value::from));
        put("minItems", self.bounds.min_items.map(Value::from));
        put("maxItems", self.bounds.max_items.map(Value::from));
        put("minProperties", self.bounds.min_properties.map(Value::from));
        put("maxProperties", self.bounds.max_properties.map(Value::from));
        put("uniqueItems", flag(self.unique_items));
        put(
            "required",
            list(&self.required, |name| name.as_str().into()),
        );
        put("enum", list(&self.enum_, Value::clone));
        if !self.properties.is_empty() {
            let entries = self.properties.iter();
            let properties = entries.map(|(name, schema)| (name.clone(), child(schema)));
            put("properties", Some(Value::Object(properties.collect())));
        }
        put(
            "additionalProperties",
            match &self.additional_properties {
                AdditionalProperties::None => None,
                AdditionalProperties::Any => Some(true.into()),
                AdditionalProperties::Schema(schema) => Some(child(schema)),
            },
        );
        put("items", self.items.as_ref().map(child));
        put("allOf", list(&self.logic.all_of, Schema::to_value));
        put("anyOf", list(&self.logic.any_of, Schema::to_value));
        put("oneOf", list(&self.logic.one_of, Schema::to_value));
        put(
            "not",
            self.logic.not.as_ref().map(|schema| schema.to_value()),
        );
        put("x-kubernetes-int-or-string", flag(self.int_or_string));
        put(
            "x-kubernetes-preserve-unknown-fields",
            flag(self.preserve_unknown),
        );
        put(
            "x-kubernetes-embedded-resource",
            flag(self.embedded_resource),
        );
        let (list_type, keys) = match &self.list_type {
            None => (None, None),
            Some(ListType::Atomic) => (Some("atomic"), None),
            Some(ListType::Set) => (Some("set"), None),
            Some(ListType::Map { keys }) => (Some("map"), list(keys, |key| key.as_str().into())),
        };
        put("x-kubernetes-list-type", list_type.map(Value::from));
        put("x-kubernetes-list-map-keys", keys);
        put(
            "x-kubernetes-map-type",
            self.map_type.map(|map_type| match map_type {
                MapType::Granular => "granular".into(),
                MapType::Atomic => "atomic".into(),
            }),
        );
        put("x-kubernetes-validations", list(&self.validations, rule));
        put(
            "x-kubernetes-patch-strategy",
            text(self.patch_strategy.as_ref()),
        );
        put(
            "x-kubernetes-patch-merge-key",
            text(self.patch_merge_key.as_ref()),
        );
        Value::Object(out)
    }
}

fn child(schema: &SchemaRef) -> Value {
    match schema.definition_name() {
        Some(name) => builtin::reference_value(name),
        None => schema.to_value(),
    }
}

fn flag(value: bool) -> Option<Value> {
    value.then_some(Value::Bool(true))
}

fn text(value: Option<&String>) -> Option<Value> {
    value.map(|text| text.as_str().into())
}

/// Whole numbers are written without a fraction, as they were most likely read.
fn number(value: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whole and within the exact range"
        )]
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}

fn list<T>(items: &[T], encode: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| Value::Array(items.iter().map(encode).collect()))
}

fn rule(rule: &ValidationRule) -> Value {
    let mut out = Map::new();
    out.insert("rule".into(), rule.rule.as_str().into());
    let fields = [
        ("message", &rule.message),
        ("messageExpression", &rule.message_expression),
        ("reason", &rule.reason),
        ("fieldPath", &rule.field_path),
    ];
    for (key, value) in fields {
        if let Some(value) = value {
            out.insert(key.into(), value.as_str().into());
        }
    }
    if let Some(optional) = rule.optional_old_self {
        out.insert("optionalOldSelf".into(), optional.into());
    }
    Value::Object(out)
}
