//! JSON to [`Schema`].
//!
//! Two readers share this code. Custom schemas may not refer to others and report everything that
//! [`Schema`] cannot hold (`$ref`, tuples, ...); built-in definitions refer to one another by name.
//! Which combinations are structural is decided afterwards, in `structural`.

use apimachinery::field::{FieldError, FieldErrorKind, FieldPath};
use serde_json::{Map, Value};

use crate::builtin;
use crate::limits;
use crate::model::{
    AdditionalProperties, ListType, MapType, Pattern, Schema, SchemaRef, SchemaType, ValidationRule,
};

/// Who wrote the schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Custom,
    Builtin,
}

/// Reads a schema; problems are appended to `errors`.
pub(crate) fn decode(
    value: &Value,
    path: &FieldPath,
    origin: Origin,
    errors: &mut Vec<FieldError>,
) -> Schema {
    let mut decoder = Decoder {
        origin,
        nodes: 0,
        errors,
    };
    decoder.schema(value, path, 0)
}

/// Said of `additionalProperties` beside properties.
pub(crate) const EXCLUSIVE: &str = "additionalProperties and properties are mutual exclusive";

struct Decoder<'e> {
    origin: Origin,
    nodes: usize,
    errors: &'e mut Vec<FieldError>,
}

/// Makes a field error without going through a constructor per kind.
pub(crate) fn problem(
    kind: FieldErrorKind,
    path: FieldPath,
    bad_value: Option<Value>,
    detail: impl Into<String>,
) -> FieldError {
    FieldError {
        kind,
        path,
        bad_value,
        detail: detail.into(),
    }
}

impl Decoder<'_> {
    fn error(&mut self, kind: FieldErrorKind, path: FieldPath, bad: Option<&Value>, detail: &str) {
        if self.errors.len() < limits::ERRORS {
            self.errors.push(problem(kind, path, bad.cloned(), detail));
        }
    }

    fn forbidden(&mut self, path: FieldPath, detail: &str) {
        self.error(FieldErrorKind::Forbidden, path, None, detail);
    }

    fn wrong_type(&mut self, path: FieldPath, value: &Value, wanted: &str) {
        let detail = format!("must be {wanted}");
        self.error(FieldErrorKind::TypeInvalid, path, Some(value), &detail);
    }

    fn schema(&mut self, value: &Value, path: &FieldPath, depth: usize) -> Schema {
        self.nodes += 1;
        if depth > limits::SCHEMA_DEPTH {
            let detail = format!("must not be nested deeper than {}", limits::SCHEMA_DEPTH);
            self.error(FieldErrorKind::Invalid, path.clone(), None, &detail);
            return Schema::default();
        }
        if self.nodes > limits::SCHEMA_NODES {
            if self.nodes == limits::SCHEMA_NODES + 1 {
                let detail = format!("must not have more than {} nodes", limits::SCHEMA_NODES);
                self.error(FieldErrorKind::Invalid, path.clone(), None, &detail);
            }
            return Schema::default();
        }
        let Some(object) = value.as_object() else {
            self.wrong_type(path.clone(), value, "an object");
            return Schema::default();
        };
        let mut schema = Schema::default();
        for (key, field) in object {
            if !field.is_null() || key == "default" {
                self.keyword(&mut schema, key, field, path, depth);
            }
        }
        self.list_type(&mut schema, object, path);
        if self.origin == Origin::Custom {
            self.closed(object, path, depth);
        }
        schema.docs.settle();
        schema.bounds.settle();
        schema.logic.settle();
        schema
    }

    fn keyword(
        &mut self,
        schema: &mut Schema,
        key: &str,
        field: &Value,
        path: &FieldPath,
        depth: usize,
    ) {
        let at = || path.child(key);
        match key {
            "type" => schema.ty = self.schema_type(field, at()),
            "nullable" => schema.nullable = self.boolean(field, at()),
            // Documentation of built-in kinds is read from their JSON, where it costs no memory.
            "title" | "description" | "example" | "externalDocs"
                if self.origin == Origin::Builtin => {}
            "title" => schema.docs.edit().title = self.string(field, at()),
            "description" => schema.docs.edit().description = self.string(field, at()),
            "example" => schema.docs.edit().example = Some(field.clone()),
            "externalDocs" => schema.docs.edit().external_docs = Some(field.clone()),
            "default" => schema.default = Some(field.clone()),
            "format" => schema.format = self.string(field, at()).filter(|f| !f.is_empty()),
            "pattern" => {
                let pattern = self.string(field, at()).filter(|p| !p.is_empty());
                schema.pattern = pattern.map(|p| Pattern::new(&p));
            }
            "minimum" => schema.bounds.edit().minimum = self.number(field, at()),
            "maximum" => schema.bounds.edit().maximum = self.number(field, at()),
            "multipleOf" => schema.bounds.edit().multiple_of = self.number(field, at()),
            "exclusiveMinimum" => {
                schema.bounds.edit().exclusive_minimum = self.boolean(field, at());
            }
            "exclusiveMaximum" => {
                schema.bounds.edit().exclusive_maximum = self.boolean(field, at());
            }
            "minLength" => schema.bounds.edit().min_length = self.integer(field, at()),
            "maxLength" => schema.bounds.edit().max_length = self.integer(field, at()),
            "minItems" => schema.bounds.edit().min_items = self.integer(field, at()),
            "maxItems" => schema.bounds.edit().max_items = self.integer(field, at()),
            "minProperties" => schema.bounds.edit().min_properties = self.integer(field, at()),
            "maxProperties" => schema.bounds.edit().max_properties = self.integer(field, at()),
            "uniqueItems" => schema.unique_items = self.boolean(field, at()),
            "required" => schema.required = self.strings(field, &at()),
            "enum" => schema.enum_ = self.array(field, at()).to_vec(),
            "properties" => self.properties(schema, field, at(), depth),
            "additionalProperties" => {
                schema.additional_properties = self.additional(field, &at(), depth);
            }
            "items" => {
                if field.is_array() {
                    self.forbidden(at(), "items must be a schema object and not an array");
                } else {
                    schema.items = Some(self.child(field, &at(), depth));
                }
            }
            "allOf" => schema.logic.edit().all_of = self.schemas(field, &at(), depth),
            "anyOf" => schema.logic.edit().any_of = self.schemas(field, &at(), depth),
            "oneOf" => schema.logic.edit().one_of = self.schemas(field, &at(), depth),
            "not" => schema.logic.edit().not = Some(Box::new(self.schema(field, &at(), depth + 1))),
            "x-kubernetes-int-or-string" => schema.int_or_string = self.boolean(field, at()),
            "x-kubernetes-embedded-resource" => {
                schema.embedded_resource = self.boolean(field, at());
            }
            "x-kubernetes-preserve-unknown-fields" => {
                schema.preserve_unknown = self.boolean(field, at());
                if field == &Value::Bool(false) {
                    let detail = "must be true or undefined";
                    self.error(FieldErrorKind::Invalid, at(), Some(field), detail);
                }
            }
            "x-kubernetes-map-type" => schema.map_type = self.map_type(field, at()),
            "x-kubernetes-validations" => schema.validations = self.rules(field, &at()),
            "x-kubernetes-patch-strategy" if self.origin == Origin::Builtin => {
                schema.patch_strategy = self.string(field, at());
            }
            "x-kubernetes-patch-merge-key" if self.origin == Origin::Builtin => {
                schema.patch_merge_key = self.string(field, at());
            }
            "$ref" | "id" | "additionalItems" | "patternProperties" | "definitions"
            | "dependencies" => {
                let detail = format!("{key} is not supported");
                self.forbidden(at(), &detail);
            }
            // `$schema`, list types (read together below) and what the API server prunes from a CRD.
            _ => {}
        }
    }

    fn child(&mut self, value: &Value, path: &FieldPath, depth: usize) -> SchemaRef {
        if self.origin == Origin::Builtin
            && let Some(reference) = builtin::resolve(value)
        {
            return reference;
        }
        self.schema(value, path, depth + 1).into()
    }

    fn properties(&mut self, schema: &mut Schema, value: &Value, path: FieldPath, depth: usize) {
        let Some(object) = value.as_object() else {
            return self.wrong_type(path, value, "an object");
        };
        for (name, property) in object {
            let property = self.child(property, &path.key(name), depth);
            schema.properties.insert(name.clone(), property);
        }
    }

    fn additional(
        &mut self,
        value: &Value,
        path: &FieldPath,
        depth: usize,
    ) -> AdditionalProperties {
        match value {
            Value::Bool(true) => AdditionalProperties::Any,
            Value::Bool(false) => AdditionalProperties::None,
            schema => AdditionalProperties::Schema(self.child(schema, path, depth)),
        }
    }

    /// `additionalProperties: false` says nothing new of a value that is pruned, so it may stand where there are no
    /// properties; but not at the root.
    fn closed(&mut self, object: &Map<String, Value>, path: &FieldPath, depth: usize) {
        if object.get("additionalProperties") != Some(&Value::Bool(false)) {
            return;
        }
        let at = path.child("additionalProperties");
        if depth == 0 {
            self.forbidden(at.clone(), "must not be used at the root");
        }
        let properties = object.get("properties").and_then(Value::as_object);
        if properties.is_some_and(|properties| !properties.is_empty()) {
            self.forbidden(at, EXCLUSIVE);
        }
    }

    fn schemas(&mut self, value: &Value, path: &FieldPath, depth: usize) -> Vec<Schema> {
        let mut schemas = Vec::new();
        for (index, item) in self.array(value, path.clone()).iter().enumerate() {
            schemas.push(self.schema(item, &path.index(index), depth + 1));
        }
        schemas
    }

    fn schema_type(&mut self, value: &Value, path: FieldPath) -> Option<SchemaType> {
        let name = self.string(value, path.clone())?;
        let ty = SchemaType::from_name(&name);
        if ty.is_none() && !name.is_empty() {
            if name == "null" {
                let detail = "type cannot be set to null, use nullable as an alternative";
                self.forbidden(path.clone(), detail);
            }
            let names = SchemaType::ALL.map(SchemaType::as_str);
            self.unsupported(path, value, &names);
        }
        ty
    }

    fn unsupported(&mut self, path: FieldPath, value: &Value, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        self.error(FieldErrorKind::NotSupported, path, Some(value), &detail);
    }

    fn map_type(&mut self, value: &Value, path: FieldPath) -> Option<MapType> {
        match self.string(value, path.clone())?.as_str() {
            "granular" => Some(MapType::Granular),
            "atomic" => Some(MapType::Atomic),
            _ => {
                self.unsupported(path, value, &["atomic", "granular"]);
                None
            }
        }
    }

    fn list_type(&mut self, schema: &mut Schema, object: &Map<String, Value>, path: &FieldPath) {
        let at_keys = path.child("x-kubernetes-list-map-keys");
        let keys = match object.get("x-kubernetes-list-map-keys") {
            None | Some(Value::Null) => Vec::new(),
            Some(keys) => self.strings(keys, &at_keys),
        };
        let at = path.child("x-kubernetes-list-type");
        let given = object.get("x-kubernetes-list-type");
        let given = given.filter(|value| !value.is_null());
        let name = given.and_then(|value| self.string(value, at.clone()));
        let must_be_map = "must be map if x-kubernetes-list-map-keys is non-empty";
        match (name.as_deref(), given) {
            (Some("map"), _) => schema.list_type = Some(ListType::Map { keys }),
            (Some(name @ ("atomic" | "set")), given) => {
                if !keys.is_empty() {
                    self.error(FieldErrorKind::Invalid, at, given, must_be_map);
                }
                let atomic = name == "atomic";
                schema.list_type = Some(if atomic {
                    ListType::Atomic
                } else {
                    ListType::Set
                });
            }
            (Some(_), Some(given)) => self.unsupported(at, given, &["atomic", "set", "map"]),
            _ if !keys.is_empty() => {
                self.error(FieldErrorKind::Required, at, None, must_be_map);
            }
            _ => {}
        }
    }

    fn rules(&mut self, value: &Value, path: &FieldPath) -> Vec<ValidationRule> {
        let mut rules = Vec::new();
        for (index, item) in self.array(value, path.clone()).iter().enumerate() {
            let at = path.index(index);
            let Some(object) = item.as_object() else {
                self.wrong_type(at, item, "an object");
                continue;
            };
            let mut text = |key: &str| {
                let field = object.get(key).filter(|field| !field.is_null())?;
                self.string(field, at.child(key))
            };
            let rule = ValidationRule {
                rule: text("rule").unwrap_or_default(),
                message: text("message"),
                message_expression: text("messageExpression"),
                reason: text("reason"),
                field_path: text("fieldPath"),
                optional_old_self: object.get("optionalOldSelf").and_then(Value::as_bool),
            };
            rules.push(rule);
        }
        rules
    }

    fn string(&mut self, value: &Value, path: FieldPath) -> Option<String> {
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(path, value, "a string");
        }
        text
    }

    fn boolean(&mut self, value: &Value, path: FieldPath) -> bool {
        value.as_bool().unwrap_or_else(|| {
            self.wrong_type(path, value, "a boolean");
            false
        })
    }

    fn number(&mut self, value: &Value, path: FieldPath) -> Option<f64> {
        let number = value.as_f64();
        if number.is_none() {
            self.wrong_type(path, value, "a number");
        }
        number
    }

    fn integer(&mut self, value: &Value, path: FieldPath) -> Option<i64> {
        let number = value.as_i64();
        if number.is_none() {
            self.wrong_type(path, value, "an integer");
        }
        number
    }

    fn array<'v>(&mut self, value: &'v Value, path: FieldPath) -> &'v [Value] {
        value.as_array().map_or_else(
            || {
                self.wrong_type(path, value, "an array");
                &[][..]
            },
            Vec::as_slice,
        )
    }

    fn strings(&mut self, value: &Value, path: &FieldPath) -> Vec<String> {
        let mut strings = Vec::new();
        for (index, item) in self.array(value, path.clone()).iter().enumerate() {
            strings.extend(self.string(item, path.index(index)));
        }
        strings
    }
}
