//! How a schema wants a value merged.
//!
//! A [`Type`] with a value gives a [`Kind`]: a leaf that is owned and replaced as a whole, a list whose elements have
//! identities, or a map. What the schema does not describe is *deduced*: maps merge key by key, all else is a leaf.

use std::sync::LazyLock;

use apimachinery::quote::quoted_list;
use schema::{AdditionalProperties, ListType, MapType, Schema, SchemaRef, SchemaType};
use serde_json::Value;

use crate::path::{Literal, PathElement};

static OBJECT_META: LazyLock<Option<SchemaRef>> =
    LazyLock::new(|| schema::builtin::reference(schema::builtin::OBJECT_META));

/// The type of a value.
#[derive(Clone, Copy)]
pub(crate) enum Type<'s> {
    /// A whole API object: `apiVersion`, `kind` and `metadata` are known even if the schema omits them.
    Resource(&'s Schema),
    /// Described by a schema.
    Plain(&'s Schema),
    /// Any scalar.
    Scalar,
    /// Not described: maps by key, lists as a whole.
    Deduced,
    /// Not described: everything as a whole.
    Untyped,
}

/// How a value of a type is merged.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'s> {
    /// As a whole: scalars, atomic lists and maps.
    Leaf,
    /// By the identity of elements.
    List(Elements<'s>),
    /// By key.
    Map(Members<'s>),
}

/// A list whose elements have identities.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'s> {
    pub(crate) item: Type<'s>,
    /// Key fields of a list of objects; `None` for a set of scalars.
    keys: Option<&'s [String]>,
}

/// A map or struct merged by key.
#[derive(Clone, Copy)]
pub(crate) struct Members<'s> {
    ty: Type<'s>,
}

impl<'s> Type<'s> {
    fn of(schema: &'s Schema) -> Type<'s> {
        if schema.embedded_resource {
            Type::Resource(schema)
        } else {
            Type::Plain(schema)
        }
    }

    fn schema(self) -> Option<&'s Schema> {
        match self {
            Type::Resource(schema) | Type::Plain(schema) => Some(schema),
            _ => None,
        }
    }

    /// Whether scalars, lists and maps fit the type.
    pub(crate) fn admits(self) -> Admits {
        let any = Admits {
            scalar: true,
            list: true,
            map: true,
        };
        let none = Admits {
            scalar: false,
            list: false,
            map: false,
        };
        match self {
            Type::Resource(_) => Admits { map: true, ..none },
            Type::Scalar => Admits {
                scalar: true,
                ..none
            },
            Type::Deduced | Type::Untyped => any,
            Type::Plain(schema) => match schema.ty {
                Some(SchemaType::Object) => Admits { map: true, ..none },
                Some(SchemaType::Array) => Admits { list: true, ..none },
                Some(_) => Admits {
                    scalar: true,
                    ..none
                },
                None if schema.int_or_string => Admits {
                    scalar: true,
                    ..none
                },
                None => any,
            },
        }
    }

    /// How `value` is merged. A value that does not fit the type is a leaf.
    pub(crate) fn kind(self, value: &Value) -> Kind<'s> {
        let admits = self.admits();
        match value {
            Value::Object(_) if admits.map => self.map(),
            Value::Array(_) if admits.list => self.list(),
            // Null stands for the absence of whatever the type is.
            Value::Null if admits.map => self.map(),
            Value::Null if !admits.scalar => self.list(),
            _ => Kind::Leaf,
        }
    }

    fn map(self) -> Kind<'s> {
        match self {
            Type::Deduced | Type::Resource(_) => Kind::Map(Members { ty: self }),
            Type::Plain(schema) if schema.map_type != Some(MapType::Atomic) => {
                Kind::Map(Members { ty: self })
            }
            _ => Kind::Leaf,
        }
    }

    /// The members of a described object, whether it is merged by key or as a whole.
    pub(crate) fn members(self) -> Option<Members<'s>> {
        self.schema().map(|_| Members { ty: self })
    }

    /// The type of the elements of a list.
    pub(crate) fn item(self) -> Type<'s> {
        self.schema()
            .and_then(|schema| schema.items.as_ref())
            .map_or(Type::Untyped, |items| Type::of(items))
    }

    fn list(self) -> Kind<'s> {
        let Some(schema) = self.schema() else {
            return Kind::Leaf;
        };
        let item = self.item();
        let keys = match &schema.list_type {
            Some(ListType::Atomic) => return Kind::Leaf,
            Some(ListType::Set) => None,
            Some(ListType::Map { keys }) => Some(keys.as_slice()),
            // Built-in lists without a list type merge as strategic merge patch merges them.
            None => match schema.patch_strategy.as_deref() {
                Some("merge" | "merge,retainKeys") => {
                    schema.patch_merge_key.as_ref().map(std::slice::from_ref)
                }
                _ => return Kind::Leaf,
            },
        };
        Kind::List(Elements { item, keys })
    }

    /// The type of a named field of a struct; not of a key of a map.
    pub(crate) fn named_field(self, name: &str) -> Option<Type<'s>> {
        if let Type::Resource(_) = self {
            match name {
                "apiVersion" | "kind" => return Some(Type::Scalar),
                "metadata" => {
                    return Some(OBJECT_META.as_ref().map_or(Type::Deduced, |m| Type::of(m)));
                }
                _ => {}
            }
        }
        self.schema()?
            .properties
            .get(name)
            .map(|property| Type::of(property))
    }

    /// The type of members without a named field; `None` when they are not declared.
    fn other_member(self) -> Option<Type<'s>> {
        let Some(schema) = self.schema() else {
            return match self {
                Type::Deduced => Some(Type::Deduced),
                _ => Some(Type::Untyped),
            };
        };
        match &schema.additional_properties {
            AdditionalProperties::Schema(schema) => Some(Type::of(schema)),
            AdditionalProperties::Any => Some(Type::Deduced),
            AdditionalProperties::None => {
                (schema.preserve_unknown || schema.properties.is_empty()).then_some(Type::Deduced)
            }
        }
    }

    /// The type below a path element, however the value looks.
    pub(crate) fn below(self, element: &PathElement) -> Type<'s> {
        match element {
            PathElement::Field(name) => match self.map() {
                Kind::Map(members) => members.member(name),
                _ => Type::Untyped,
            },
            PathElement::Key(_) => self.item(),
            PathElement::Value(_) | PathElement::Index(_) => Type::Untyped,
        }
    }

    /// The schema's name of the scalar type expected, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Type::Resource(_) => "map",
            Type::Scalar | Type::Deduced | Type::Untyped => "any scalar",
            Type::Plain(schema) => match schema.ty {
                Some(SchemaType::Object) => "map",
                Some(SchemaType::Array) => "list",
                Some(SchemaType::Integer | SchemaType::Number) => "numeric (int or float)",
                Some(SchemaType::Boolean) => "boolean",
                Some(SchemaType::String) => "string",
                None => "any scalar",
            },
        }
    }

    /// Whether a scalar is of the scalar type that the schema wants.
    pub(crate) fn admits_scalar(self, value: &Value) -> bool {
        let Type::Plain(schema) = self else {
            return true;
        };
        match schema.ty {
            Some(SchemaType::Integer | SchemaType::Number) => value.is_number(),
            Some(SchemaType::Boolean) => value.is_boolean(),
            // Strings with a format stand for types with a JSON form of their own.
            Some(SchemaType::String) => {
                value.is_string() || !matches!(schema.format.as_deref(), None | Some("byte"))
            }
            _ => true,
        }
    }
}

/// What a type admits.
#[derive(Clone, Copy)]
pub(crate) struct Admits {
    pub(crate) scalar: bool,
    pub(crate) list: bool,
    pub(crate) map: bool,
}

impl<'s> Members<'s> {
    /// The type of a member; undeclared ones are deduced.
    pub(crate) fn member(self, name: &str) -> Type<'s> {
        self.declared(name).unwrap_or(Type::Deduced)
    }

    /// The type of a member, if the schema allows it.
    pub(crate) fn declared(self, name: &str) -> Option<Type<'s>> {
        self.ty.named_field(name).or_else(|| self.ty.other_member())
    }

    /// Whether the member is a named field of a struct.
    pub(crate) fn is_named(self, name: &str) -> bool {
        self.ty.named_field(name).is_some()
    }
}

impl Elements<'_> {
    /// The identity of an element.
    ///
    /// # Errors
    /// The element has none; the text says why.
    pub(crate) fn identify(self, element: &Value) -> Result<PathElement, String> {
        match self.keys {
            None => match element {
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null")
                }
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type")
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements"),
                scalar => Ok(PathElement::Value(Literal(scalar.clone()))),
            }
            .map_err(str::to_owned),
            Some(keys) => {
                let Some(object) = element.as_object() else {
                    return Err(if element.is_null() {
                        "associative list with keys may not have a null element"
                    } else {
                        "associative list with keys may not have non-map elements"
                    }
                    .to_owned());
                };
                let mut found: Vec<(String, Literal)> = Vec::with_capacity(keys.len());
                for key in keys {
                    let value = object.get(key).or_else(|| self.key_default(key));
                    if let Some(value) = value {
                        found.push((key.clone(), Literal(value.clone())));
                    }
                }
                if found.is_empty() {
                    return Err(format!(
                        "associative list with keys has an element that omits all key fields {} (and doesn't have default values for any key fields)",
                        quoted_list_of(keys)
                    ));
                }
                found.sort();
                Ok(PathElement::Key(found))
            }
        }
    }

    fn key_default(&self, key: &str) -> Option<&Value> {
        let field = self.item.schema()?.properties.get(key)?;
        field.default.as_ref().filter(|value| !value.is_null())
    }
}

fn quoted_list_of(keys: &[String]) -> String {
    format!("[{}]", quoted_list(keys).replace(", ", " "))
}

/// Whether a value is nested deeper than [`crate::limits::DEPTH`].
pub(crate) fn too_deep(value: &Value) -> bool {
    fn deeper(value: &Value, left: usize) -> bool {
        if left == 0 {
            return true;
        }
        match value {
            Value::Array(items) => items.iter().any(|item| deeper(item, left - 1)),
            Value::Object(object) => object.values().any(|item| deeper(item, left - 1)),
            _ => false,
        }
    }
    deeper(value, crate::limits::DEPTH)
}
