//! The rules that make a schema *structural*, as `apiextensions-apiserver` enforces them.
//!
//! A structural schema says the type of everything outside of `allOf/anyOf/oneOf/not`, and those only
//! restrict values. That is what makes pruning, defaulting and merging possible without evaluating logic.

use std::collections::BTreeSet;

use apimachinery::field::{FieldError, FieldErrorKind as Kind, FieldPath};
use serde_json::Value;

use crate::decode::{self, EXCLUSIVE, Origin, problem};
use crate::model::{AdditionalProperties, ListType, MapType, Schema, SchemaType};
use crate::{default, prune_value, validate};
use crate::{limits, rules};

impl Schema {
    /// Reads the schema of a custom resource (`openAPIV3Schema`) and checks that it is structural.
    ///
    /// # Errors
    /// Everything that is wrong with it, with paths relative to the schema and in stable order.
    pub fn parse(value: &Value) -> Result<Schema, Vec<FieldError>> {
        Schema::parse_at(value, &FieldPath::default())
    }

    /// Like [`Schema::parse`], with paths below `path`
    /// (such as `spec.versions[0].schema.openAPIV3Schema`).
    ///
    /// # Errors
    /// As [`Schema::parse`].
    pub fn parse_at(value: &Value, path: &FieldPath) -> Result<Schema, Vec<FieldError>> {
        let mut errors = Vec::new();
        let schema = decode::decode(value, path, Origin::Custom, &mut errors);
        let mut checker = Checker {
            errors,
            check_defaults: true,
        };
        // Defaults are judged by the schema, which makes no sense while it is itself in doubt.
        checker.check_defaults = checker.errors.is_empty();
        checker.schema(&schema, Level::Root, path);
        checker.complete(&schema, path);
        if checker.errors.is_empty() {
            return Ok(schema);
        }
        let mut errors = checker.errors;
        // What was given in a form that could not be read is not missing too.
        let given: BTreeSet<FieldPath> = (errors.iter())
            .filter(|error| error.kind != Kind::Required)
            .map(|error| error.path.clone())
            .collect();
        errors.retain(|error| error.kind != Kind::Required || !given.contains(&error.path));
        errors.sort_by_cached_key(ToString::to_string);
        errors.dedup_by_key(|error| error.to_string());
        Err(errors)
    }

    /// Formats in this schema which Kubernetes does not know and therefore never checks,
    /// each once, for the warning `unrecognized format "..."`.
    #[must_use]
    pub fn unrecognized_formats(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk_formats(self, &mut found);
        found.sort();
        found.dedup();
        found
    }
}

fn walk_formats(schema: &Schema, found: &mut Vec<String>) {
    if let Some(format) = &schema.format
        && !crate::format::is_known(schema.ty, format)
    {
        found.push(format.clone());
    }
    let children = schema.properties.values().chain(&schema.items);
    for child in children.filter(|child| child.definition_name().is_none()) {
        walk_formats(child, found);
    }
    if let AdditionalProperties::Schema(child) = &schema.additional_properties {
        walk_formats(child, found);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

struct Checker {
    errors: Vec<FieldError>,
    check_defaults: bool,
}

fn type_name(schema: &Schema) -> Value {
    schema.ty.map_or("", SchemaType::as_str).into()
}

impl Checker {
    fn push(&mut self, kind: Kind, path: FieldPath, bad: Option<Value>, detail: &str) {
        if self.errors.len() < limits::ERRORS {
            self.errors.push(problem(kind, path, bad, detail));
        }
    }

    fn forbidden(&mut self, path: FieldPath, detail: &str) {
        self.push(Kind::Forbidden, path, None, detail);
    }

    fn required(&mut self, path: FieldPath, detail: &str) {
        self.push(Kind::Required, path, None, detail);
    }

    fn invalid(&mut self, path: FieldPath, bad: Value, detail: &str) {
        self.push(Kind::Invalid, path, Some(bad), detail);
    }

    /// `type` must be this one; missing and wrong are different errors.
    fn must_be(&mut self, schema: &Schema, ty: SchemaType, path: &FieldPath, detail: &str) {
        match schema.ty {
            Some(given) if given == ty => {}
            Some(_) => self.invalid(path.child("type"), type_name(schema), detail),
            None => self.required(path.child("type"), detail),
        }
    }

    fn schema(&mut self, schema: &Schema, level: Level, path: &FieldPath) {
        if schema.ty == Some(SchemaType::Array) && schema.items.is_none() {
            self.required(path.child("items"), "must be specified");
        }
        if let Some(items) = &schema.items {
            self.schema(items, Level::Item, &path.child("items"));
        }
        for (name, property) in &schema.properties {
            self.schema(property, Level::Field, &path.child("properties").key(name));
        }
        self.additional(schema, level, path);
        self.types(schema, level, path);
        self.extensions(schema, path);
        self.identity(schema, level, path);
        self.value_validations(schema, path, false);
        self.list(schema, path);
        if schema.map_type.is_some() {
            let detail = "must be object if x-kubernetes-map-type is specified";
            self.must_be(schema, SchemaType::Object, path, detail);
        }
        self.generic(schema, level, path);
        self.errors.extend(rules::check(schema, path));
        if self.check_defaults {
            self.default(schema, path);
        }
    }

    fn additional(&mut self, schema: &Schema, level: Level, path: &FieldPath) {
        let at = path.child("additionalProperties");
        if schema.additional_properties == AdditionalProperties::None {
            return;
        }
        if level == Level::Root {
            self.forbidden(at.clone(), "must not be used at the root");
        }
        if schema.embedded_resource {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            self.forbidden(at.clone(), detail);
        }
        if let AdditionalProperties::Schema(child) = &schema.additional_properties {
            if !schema.properties.is_empty() {
                self.forbidden(at.clone(), EXCLUSIVE);
            }
            self.schema(child, Level::Field, &at);
        }
    }

    fn types(&mut self, schema: &Schema, level: Level, path: &FieldPath) {
        if schema.embedded_resource {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            self.must_be(schema, SchemaType::Object, path, detail);
        } else if schema.ty.is_none() && !schema.int_or_string && !schema.preserve_unknown {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.required(path.child("type"), detail);
        }
        if level == Level::Root && schema.ty.is_some_and(|ty| ty != SchemaType::Object) {
            let detail = "must be object at the root";
            self.invalid(path.child("type"), type_name(schema), detail);
        }
    }

    fn extensions(&mut self, schema: &Schema, path: &FieldPath) {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        if schema.int_or_string && schema.preserve_unknown {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            self.invalid(at, true.into(), detail);
        }
        if schema.int_or_string && schema.embedded_resource {
            let at = path.child("x-kubernetes-embedded-resource");
            self.invalid(at, true.into(), detail);
        }
        if schema.embedded_resource && !schema.preserve_unknown && schema.properties.is_empty() {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.required(path.child("properties"), detail);
        }
    }

    /// `apiVersion`, `kind` and `metadata` belong to the API machinery; a schema may hardly restrict them.
    fn identity(&mut self, schema: &Schema, level: Level, path: &FieldPath) {
        if level != Level::Root && !schema.embedded_resource {
            return;
        }
        let names = [
            ("kind", SchemaType::String, "must be string"),
            ("apiVersion", SchemaType::String, "must be string"),
            ("metadata", SchemaType::Object, "must be object"),
        ];
        for (name, ty, detail) in names {
            let Some(property) = schema.properties.get(name) else {
                continue;
            };
            let at = path.child("properties").key(name);
            if property.ty != Some(ty) {
                self.invalid(at.child("type"), type_name(property), detail);
            }
            if level == Level::Root {
                self.no_default(
                    property,
                    &at,
                    &format!("must not be set in top-level {name}"),
                );
            }
        }
        let metadata = schema.properties.get("metadata");
        let Some(metadata) = metadata.filter(|_| level == Level::Root) else {
            return;
        };
        let mut rest = (**metadata).clone();
        if (rest.properties.keys()).all(|key| key == "name" || key == "generateName") {
            rest.properties.clear();
        }
        rest.ty = None;
        rest.default = None;
        if rest != Schema::default() {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden(path.child("properties").key("metadata"), detail);
        }
    }

    /// What every object has from its client cannot have a default.
    fn no_default(&mut self, schema: &Schema, path: &FieldPath, detail: &str) {
        if schema.default.is_some() {
            self.forbidden(path.child("default"), detail);
        }
        for (name, property) in &schema.properties {
            self.no_default(property, &path.child("properties").key(name), detail);
        }
        if let Some(items) = &schema.items {
            self.no_default(items, &path.child("items"), detail);
        }
        if let AdditionalProperties::Schema(child) = &schema.additional_properties {
            self.no_default(child, &path.child("additionalProperties"), detail);
        }
    }

    /// Checks `allOf/anyOf/oneOf/not` and `pattern` of a schema.
    fn value_validations(&mut self, schema: &Schema, path: &FieldPath, skip_any_of: bool) {
        let skip = skip_any_of || schema.int_or_string_pattern();
        if !skip {
            for (index, nested) in schema.logic.any_of.iter().enumerate() {
                self.nested(nested, &path.child("anyOf").index(index), false);
            }
        }
        for (index, nested) in schema.logic.all_of.iter().enumerate() {
            let skip = index == 0 && nested.int_or_string_pattern();
            self.nested(nested, &path.child("allOf").index(index), skip);
        }
        for (index, nested) in schema.logic.one_of.iter().enumerate() {
            self.nested(nested, &path.child("oneOf").index(index), false);
        }
        if let Some(nested) = &schema.logic.not {
            self.nested(nested, &path.child("not"), false);
        }
        if let Some(pattern) = &schema.pattern
            && let Err(error) = pattern.check()
        {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            self.invalid(path.child("pattern"), pattern.as_str().into(), &detail);
        }
    }

    /// Checks a schema inside `allOf/anyOf/oneOf/not`: it must not define structure.
    fn nested(&mut self, schema: &Schema, path: &FieldPath, skip_any_of: bool) {
        self.value_validations(schema, path, skip_any_of);
        if let Some(items) = &schema.items {
            self.nested(items, &path.child("items"), false);
        }
        for (name, property) in &schema.properties {
            self.nested(property, &path.child("properties").key(name), false);
        }
        let additional = schema.additional_properties != AdditionalProperties::None;
        let keys = match &schema.list_type {
            Some(ListType::Map { keys }) => !keys.is_empty(),
            _ => false,
        };
        let findings = [
            (
                "type",
                schema.ty.is_some(),
                "must be empty to be structural",
            ),
            (
                "additionalProperties",
                additional,
                "must be undefined to be structural",
            ),
            (
                "default",
                schema.default.is_some(),
                "must be undefined to be structural",
            ),
            (
                "title",
                schema.docs.title.is_some(),
                "must be empty to be structural",
            ),
            (
                "description",
                schema.docs.description.is_some(),
                "must be empty to be structural",
            ),
            (
                "nullable",
                schema.nullable,
                "must be false to be structural",
            ),
            (
                "x-kubernetes-preserve-unknown-fields",
                schema.preserve_unknown,
                "must be false to be structural",
            ),
            (
                "x-kubernetes-embedded-resource",
                schema.embedded_resource,
                "must be false to be structural",
            ),
            (
                "x-kubernetes-int-or-string",
                schema.int_or_string,
                "must be false to be structural",
            ),
            (
                "x-kubernetes-list-map-keys",
                keys,
                "must be empty to be structural",
            ),
            (
                "x-kubernetes-list-type",
                schema.list_type.is_some(),
                "must be undefined to be structural",
            ),
            (
                "x-kubernetes-map-type",
                schema.map_type.is_some(),
                "must be undefined to be structural",
            ),
            (
                "x-kubernetes-validations",
                !schema.validations.is_empty(),
                "must be empty to be structural",
            ),
        ];
        for (key, found, detail) in findings {
            if found {
                self.forbidden(path.child(key), detail);
            }
        }
        if schema.properties.contains_key("metadata") {
            let at = path.child("properties").key("metadata");
            self.forbidden(at, "must not be specified in a nested context");
        }
    }

    /// Every field that a value validation at the root speaks of must be part of the structure.
    fn complete(&mut self, schema: &Schema, path: &FieldPath) {
        let junctors = [
            ("allOf", &schema.logic.all_of),
            ("anyOf", &schema.logic.any_of),
            ("oneOf", &schema.logic.one_of),
        ];
        for (name, list) in junctors {
            for (index, nested) in list.iter().enumerate() {
                self.complete_nested(nested, Some(schema), path, &path.child(name).index(index));
            }
        }
        if let Some(nested) = &schema.logic.not {
            self.complete_nested(nested, Some(schema), path, &path.child("not"));
        }
    }

    fn complete_nested(
        &mut self,
        nested: &Schema,
        structure: Option<&Schema>,
        path: &FieldPath,
        nested_path: &FieldPath,
    ) {
        let Some(structure) = structure else {
            let detail = format!("because it is defined in {nested_path}");
            return self.required(path.clone(), &detail);
        };
        let junctors = [
            ("allOf", &nested.logic.all_of),
            ("anyOf", &nested.logic.any_of),
            ("oneOf", &nested.logic.one_of),
        ];
        for (name, list) in junctors {
            for (index, deeper) in list.iter().enumerate() {
                let at = nested_path.child(name).index(index);
                self.complete_nested(deeper, Some(structure), path, &at);
            }
        }
        if let Some(deeper) = &nested.logic.not {
            self.complete_nested(deeper, Some(structure), path, &nested_path.child("not"));
        }
        if let Some(items) = &nested.items {
            let own = structure.items.as_deref();
            let at = nested_path.child("items");
            self.complete_nested(items, own, &path.child("items"), &at);
        }
        for (name, property) in &nested.properties {
            let own = structure.properties.get(name).map(|own| &**own);
            let own_path = path.child("properties").key(name);
            let at = nested_path.child("properties").key(name);
            self.complete_nested(property, own, &own_path, &at);
        }
    }

    fn generic(&mut self, schema: &Schema, level: Level, path: &FieldPath) {
        if schema.unique_items {
            let detail =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbidden(path.child("uniqueItems"), detail);
        }
        if schema.nullable && level == Level::Root {
            let detail = "nullable cannot be true at the root";
            self.forbidden(path.child("nullable"), detail);
        }
    }

    fn list(&mut self, schema: &Schema, path: &FieldPath) {
        let Some(list_type) = &schema.list_type else {
            return;
        };
        let detail = "must be array if x-kubernetes-list-type is specified";
        self.must_be(schema, SchemaType::Array, path, detail);
        let at_items = path.child("items");
        match (list_type, schema.items.as_deref()) {
            (ListType::Atomic, _) | (ListType::Set, None) => {}
            (ListType::Set, Some(items)) => self.set_items(items, &at_items),
            (ListType::Map { keys }, items) => self.list_map(keys, items, path),
        }
    }

    fn set_items(&mut self, items: &Schema, path: &FieldPath) {
        if items.nullable {
            let detail = "cannot be nullable when x-kubernetes-list-type is set";
            self.forbidden(path.child("nullable"), detail);
        }
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        if items.ty == Some(SchemaType::Object) && items.map_type != Some(MapType::Atomic) {
            let given = items.map_type.map_or(Value::Null, |_| "granular".into());
            self.invalid(path.child("x-kubernetes-map-type"), given, detail);
        }
        let given: Value = match &items.list_type {
            None | Some(ListType::Atomic) => return,
            Some(ListType::Set) => "set".into(),
            Some(ListType::Map { .. }) => "map".into(),
        };
        if items.ty == Some(SchemaType::Array) {
            self.invalid(path.child("x-kubernetes-list-type"), given, detail);
        }
    }

    fn list_map(&mut self, keys: &[String], items: Option<&Schema>, path: &FieldPath) {
        let at_keys = path.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            self.required(at_keys.clone(), detail);
        }
        let at_items = path.child("items");
        let Some(items) = items else {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            return self.required(at_items, detail);
        };
        if items.nullable {
            let detail = "cannot be nullable when x-kubernetes-list-type is map";
            self.forbidden(at_items.child("nullable"), detail);
        }
        if items.ty != Some(SchemaType::Object) {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            return self.invalid(at_items.child("type"), type_name(items), detail);
        }
        if !keys.iter().all(|key| items.properties.contains_key(key)) {
            let detail = "entries must all be names of item properties";
            self.invalid(at_keys.clone(), keys.to_vec().into(), detail);
        }
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].contains(key) {
                let detail = "must not contain duplicate entries";
                self.invalid(at_keys.clone(), keys.to_vec().into(), detail);
            }
            let Some(property) = items.properties.get(key) else {
                continue;
            };
            let at = at_items.child("properties").key(key);
            if matches!(property.ty, Some(SchemaType::Array | SchemaType::Object)) {
                let detail =
                    "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.invalid(at.child("type"), type_name(property), detail);
            }
            if property.nullable {
                let detail =
                    "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbidden(at.child("nullable"), detail);
            }
            if property.default.is_none() && !items.required.contains(key) {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.required(at.child("default"), detail);
            }
        }
    }

    /// A default must survive pruning by its own schema, and be valid once its own defaults are filled in.
    fn default(&mut self, schema: &Schema, path: &FieldPath) {
        let Some(given) = &schema.default else {
            return;
        };
        let path = path.child("default");
        let mut value = given.clone();
        if !prune_value(schema, &mut value).is_empty() {
            return self.invalid(path, given.clone(), "must not have unknown fields");
        }
        if let Err(error) = default(schema, &mut value) {
            return self.invalid(path, Value::Null, &error.to_string());
        }
        let room = limits::ERRORS.saturating_sub(self.errors.len());
        let found = validate(schema, &value, None, &path);
        self.errors.extend(found.into_iter().take(room));
    }
}
