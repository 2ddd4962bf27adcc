//! The shape of a structural schema, as every other module of the crate sees it.
//!
//! ```text
//! CRD YAML ── parse ──► Schema ◄── decode ── built-in definitions (lazy, shared by name)
//!                         │
//!        prune · default · validate · PatchMeta · server-side apply
//! ```
//!
//! A child of a schema is a [`SchemaRef`]: either a schema of its own or the *name* of a built-in
//! definition, which is parsed when it is first looked at. So recursive definitions
//! (`JSONSchemaProps`) need no cutting, and every kind shares one `ObjectMeta` and one `PodSpec`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use crate::builtin;
pub use crate::parts::{Bounds, Documentation, Junctors, Rare};
pub use crate::pattern::Pattern;

/// A schema in the form of `apiextensions.k8s.io/v1` `JSONSchemaProps`.
///
/// Absent fields have the meaning Kubernetes gives them; see the field docs where that surprises.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    /// `type`. Absent means any JSON value (with `preserve_unknown` or `int_or_string`, or in a value validation).
    pub ty: Option<SchemaType>,
    /// `nullable`: `null` is a value of its own and is neither pruned nor defaulted.
    pub nullable: bool,
    /// `title`, `description`, ... of custom resources. Built-in kinds keep theirs in
    /// [`builtin::Definition::json`].
    pub docs: Rare<Documentation>,
    /// `minimum`, `maxLength`, `minItems`, ...
    pub bounds: Rare<Bounds>,
    /// `allOf`, `anyOf`, `oneOf` and `not` value validations.
    pub logic: Rare<Junctors>,
    /// `default`. `Some(Value::Null)` is an explicit null.
    pub default: Option<Value>,
    /// `properties` of an object.
    pub properties: BTreeMap<String, SchemaRef>,
    /// `additionalProperties` of an object.
    pub additional_properties: AdditionalProperties,
    /// `items` of an array (one schema for all elements).
    pub items: Option<SchemaRef>,
    /// `required` properties.
    pub required: Vec<String>,
    /// `enum`. Empty means unrestricted.
    pub enum_: Vec<Value>,
    /// `format`, checked for strings and numbers when known.
    pub format: Option<String>,
    /// `pattern`, searched for in strings.
    pub pattern: Option<Pattern>,
    /// `uniqueItems` (structural schemas forbid `true`; a set is a list type).
    pub unique_items: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`: unspecified fields are kept.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`: an object with `apiVersion`, `kind` and `metadata`.
    pub embedded_resource: bool,
    /// `x-kubernetes-list-type` with its keys. Absent means atomic.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-map-type`. Absent means granular.
    pub map_type: Option<MapType>,
    /// `x-kubernetes-validations`: CEL rules, kept as written.
    pub validations: Vec<ValidationRule>,
    /// `x-kubernetes-patch-strategy` of built-in kinds, as written (`merge`, `merge,retainKeys`, ...).
    pub patch_strategy: Option<String>,
    /// `x-kubernetes-patch-merge-key` of built-in kinds.
    pub patch_merge_key: Option<String>,
}

impl Schema {
    /// Whether `anyOf` is the pair `integer`, `string` that may accompany `x-kubernetes-int-or-string`.
    pub(crate) fn int_or_string_pattern(&self) -> bool {
        let only = |schema: &Schema, ty: SchemaType| {
            let alone = Schema {
                ty: Some(ty),
                ..Schema::default()
            };
            *schema == alone
        };
        match self.logic.any_of.as_slice() {
            [first, second] => only(first, SchemaType::Integer) && only(second, SchemaType::String),
            _ => false,
        }
    }

    /// The schema of the object member `name`: its property, else the schema of additional properties.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Schema> {
        if let Some(property) = self.properties.get(name) {
            return Some(property);
        }
        match &self.additional_properties {
            AdditionalProperties::Schema(schema) => Some(schema),
            AdditionalProperties::None | AdditionalProperties::Any => None,
        }
    }

    /// Whether an object of this schema keeps members which no schema describes.
    #[must_use]
    pub fn keeps_unknown(&self) -> bool {
        self.preserve_unknown || matches!(self.additional_properties, AdditionalProperties::Any)
    }

    /// This schema as that of a whole API object: `apiVersion`, `kind` and a full `ObjectMeta` are
    /// added (restrictions a custom resource places on its `metadata` remain value validations).
    ///
    /// Server-side apply, unknown-field reports and OpenAPI documents see custom resources this way.
    #[must_use]
    pub fn into_resource(mut self) -> Schema {
        for (name, description) in [
            ("apiVersion", builtin::API_VERSION_DESCRIPTION),
            ("kind", builtin::KIND_DESCRIPTION),
        ] {
            let property = self.properties.entry(name.to_owned());
            property.or_insert_with(|| {
                let mut schema = Schema {
                    ty: Some(SchemaType::String),
                    ..Schema::default()
                };
                schema.docs.edit().description = Some(description.to_owned());
                schema.into()
            });
        }
        if let Some(meta) = builtin::object_meta() {
            let restricted = self.properties.insert("metadata".to_owned(), meta);
            let restricted = restricted.filter(|given| !given.properties.is_empty());
            if let Some(given) = restricted {
                let mut rule = Schema::default();
                let given = (*given).clone();
                rule.properties.insert("metadata".to_owned(), given.into());
                self.logic.edit().all_of.push(rule);
            }
        }
        self
    }
}

/// The child of a schema; behaves as a `&Schema`.
#[derive(Clone)]
pub struct SchemaRef(Target);

#[derive(Clone)]
enum Target {
    Own(Arc<Schema>),
    Definition(builtin::DefinitionId),
}

impl SchemaRef {
    pub(crate) fn definition(id: builtin::DefinitionId) -> SchemaRef {
        SchemaRef(Target::Definition(id))
    }

    /// The name of the built-in definition this refers to, such as `io.k8s.api.core.v1.PodSpec`.
    #[must_use]
    pub fn definition_name(&self) -> Option<&'static str> {
        match &self.0 {
            Target::Own(_) => None,
            Target::Definition(id) => Some(id.name()),
        }
    }

    /// The schema itself, shared.
    #[must_use]
    pub fn to_arc(&self) -> Arc<Schema> {
        match &self.0 {
            Target::Own(schema) => Arc::clone(schema),
            Target::Definition(id) => Arc::clone(id.schema()),
        }
    }
}

impl Deref for SchemaRef {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match &self.0 {
            Target::Own(schema) => schema,
            Target::Definition(id) => id.schema(),
        }
    }
}

impl From<Schema> for SchemaRef {
    fn from(schema: Schema) -> SchemaRef {
        SchemaRef(Target::Own(Arc::new(schema)))
    }
}

impl From<Arc<Schema>> for SchemaRef {
    fn from(schema: Arc<Schema>) -> SchemaRef {
        SchemaRef(Target::Own(schema))
    }
}

impl PartialEq for SchemaRef {
    fn eq(&self, other: &SchemaRef) -> bool {
        // By name, because definitions may be recursive.
        match (&self.0, &other.0) {
            (Target::Definition(a), Target::Definition(b)) => a == b,
            (Target::Own(a), Target::Own(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Debug for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Own(schema) => schema.fmt(f),
            Target::Definition(id) => write!(f, "SchemaRef({})", id.name()),
        }
    }
}

/// `type` of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaType {
    /// `array`
    Array,
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `object`
    Object,
    /// `string`
    String,
}

impl SchemaType {
    /// All of them, in the order in which Kubernetes lists them.
    pub const ALL: [SchemaType; 6] = [
        SchemaType::Array,
        SchemaType::Boolean,
        SchemaType::Integer,
        SchemaType::Number,
        SchemaType::Object,
        SchemaType::String,
    ];

    /// The word used in schemas and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SchemaType::Array => "array",
            SchemaType::Boolean => "boolean",
            SchemaType::Integer => "integer",
            SchemaType::Number => "number",
            SchemaType::Object => "object",
            SchemaType::String => "string",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<SchemaType> {
        SchemaType::ALL.into_iter().find(|ty| ty.as_str() == name)
    }
}

/// `additionalProperties` of a schema.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum AdditionalProperties {
    /// Absent (or `false` in built-in kinds): members without a property are unknown.
    #[default]
    None,
    /// `true`: any member, with any value.
    Any,
    /// Any member, with values of this schema.
    Schema(SchemaRef),
}

/// `x-kubernetes-list-type`: how a list is merged and what makes its elements unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects identified by these keys (`x-kubernetes-list-map-keys`).
    Map {
        /// Names of the scalar members which form the key.
        keys: Vec<String>,
    },
}

/// `x-kubernetes-map-type`: how an object is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// Member by member.
    Granular,
    /// Replaced as a whole.
    Atomic,
}

/// One entry of `x-kubernetes-validations`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValidationRule {
    /// The CEL expression.
    pub rule: String,
    /// The fixed message.
    pub message: Option<String>,
    /// A CEL expression that makes the message.
    pub message_expression: Option<String>,
    /// The reason of the cause (`FieldValueInvalid` when absent).
    pub reason: Option<String>,
    /// The field the error points at, relative to the rule's schema.
    pub field_path: Option<String>,
    /// The rule is evaluated when there is no old value, too.
    pub optional_old_self: Option<bool>,
}
