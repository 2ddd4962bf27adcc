//! The OpenAPI v2 document as protobuf: gnostic's `openapi.v2.Document`, which client-go asks for.
//!
//! ```text
//! JSON object ─► message by its place ─► fields by name ─► numbers and wire types
//! ```
//! The field numbers are those of gnostic's `openapiv2/OpenAPIv2.proto`. What no client reads from it (security,
//! examples) is left out.

use serde_json::{Map, Value};

/// Messages of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Document,
    Info,
    Paths,
    PathItem,
    Operation,
    ParametersItem,
    BodyParameter,
    QueryParameter,
    PathParameter,
    Responses,
    ResponseValue,
    Response,
    SchemaItem,
    Schemas,
    Schema,
    AdditionalProperties,
    Items,
    Type,
}

/// How a field is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    Flag,
    Integer,
    Double,
    Any,
    Anys,
    One(Message),
    Many(Message),
    /// Of a map: an entry with a name.
    Named(Message),
    /// `x-...`: a name and any value.
    Extension,
}

/// The document, from its JSON form.
#[must_use]
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(Message::Document, document, &mut out);
    out
}

fn field(of: Message, key: &str) -> Option<(u32, Form)> {
    use Form::{Any, Anys, Double, Extension, Flag, Integer, Many, Named, One, Text, Texts};
    use Message as M;
    if key.starts_with("x-") {
        let number = match of {
            M::Operation => 13,
            M::Schema => 31,
            _ => return None,
        };
        return Some((number, Extension));
    }
    Some(match (of, key) {
        (M::Document, "swagger") => (1, Text),
        (M::Document, "info") => (2, One(M::Info)),
        (M::Document, "paths") => (8, One(M::Paths)),
        (M::Document, "definitions") => (9, One(M::Schemas)),
        (M::Info, "title") => (1, Text),
        (M::Info, "version") => (2, Text),
        (M::Paths, _) => (2, Named(M::PathItem)),
        (M::Schemas, _) => (1, Named(M::Schema)),
        (M::PathItem, "get") => (2, One(M::Operation)),
        (M::PathItem, "put") => (3, One(M::Operation)),
        (M::PathItem, "post") => (4, One(M::Operation)),
        (M::PathItem, "delete") => (5, One(M::Operation)),
        (M::PathItem, "options") => (6, One(M::Operation)),
        (M::PathItem, "head") => (7, One(M::Operation)),
        (M::PathItem, "patch") => (8, One(M::Operation)),
        (M::PathItem, "parameters") => (9, Many(M::ParametersItem)),
        (M::Operation, "tags") => (1, Texts),
        (M::Operation, "description") => (3, Text),
        (M::Operation, "operationId") => (5, Text),
        (M::Operation, "produces") => (6, Texts),
        (M::Operation, "consumes") => (7, Texts),
        (M::Operation, "parameters") => (8, Many(M::ParametersItem)),
        (M::Operation, "responses") => (9, One(M::Responses)),
        (M::Operation, "schemes") => (10, Texts),
        (M::BodyParameter, "description") => (1, Text),
        (M::BodyParameter, "name") => (2, Text),
        (M::BodyParameter, "in") => (3, Text),
        (M::BodyParameter, "required") => (4, Flag),
        (M::BodyParameter, "schema") => (5, One(M::Schema)),
        (M::QueryParameter | M::PathParameter, "required") => (1, Flag),
        (M::QueryParameter | M::PathParameter, "in") => (2, Text),
        (M::QueryParameter | M::PathParameter, "description") => (3, Text),
        (M::QueryParameter | M::PathParameter, "name") => (4, Text),
        (M::QueryParameter, "type") => (6, Text),
        (M::QueryParameter, "uniqueItems") => (20, Flag),
        (M::PathParameter, "type") => (5, Text),
        (M::PathParameter, "uniqueItems") => (19, Flag),
        (M::Responses, _) => (1, Named(M::ResponseValue)),
        (M::Response, "description") => (1, Text),
        (M::Response, "schema") => (2, One(M::SchemaItem)),
        (M::Schema, "$ref") => (1, Text),
        (M::Schema, "format") => (2, Text),
        (M::Schema, "title") => (3, Text),
        (M::Schema, "description") => (4, Text),
        (M::Schema, "default") => (5, Any),
        (M::Schema, "multipleOf") => (6, Double),
        (M::Schema, "maximum") => (7, Double),
        (M::Schema, "exclusiveMaximum") => (8, Flag),
        (M::Schema, "minimum") => (9, Double),
        (M::Schema, "exclusiveMinimum") => (10, Flag),
        (M::Schema, "maxLength") => (11, Integer),
        (M::Schema, "minLength") => (12, Integer),
        (M::Schema, "pattern") => (13, Text),
        (M::Schema, "maxItems") => (14, Integer),
        (M::Schema, "minItems") => (15, Integer),
        (M::Schema, "uniqueItems") => (16, Flag),
        (M::Schema, "maxProperties") => (17, Integer),
        (M::Schema, "minProperties") => (18, Integer),
        (M::Schema, "required") => (19, Texts),
        (M::Schema, "enum") => (20, Anys),
        (M::Schema, "additionalProperties") => (21, One(M::AdditionalProperties)),
        (M::Schema, "type") => (22, One(M::Type)),
        (M::Schema, "items") => (23, One(M::Items)),
        (M::Schema, "properties") => (25, One(M::Schemas)),
        _ => return None,
    })
}

/// Writes a message without its length.
fn message(of: Message, value: &Value, out: &mut Vec<u8>) {
    let is_in = |place: &str| value.get("in").is_some_and(|given| given == place);
    match (of, value) {
        // These wrap one of several.
        (Message::ParametersItem, _) => within(1, out, |out| {
            if is_in("body") {
                return within(1, out, |out| message(Message::BodyParameter, value, out));
            }
            within(2, out, |out| match is_in("path") {
                true => within(4, out, |out| message(Message::PathParameter, value, out)),
                false => within(3, out, |out| message(Message::QueryParameter, value, out)),
            });
        }),
        (Message::ResponseValue, _) => {
            within(1, out, |out| message(Message::Response, value, out));
        }
        (Message::AdditionalProperties, Value::Bool(given)) => {
            tag(2, 0, out);
            out.push(u8::from(*given));
        }
        (Message::SchemaItem | Message::AdditionalProperties | Message::Items, _) => {
            within(1, out, |out| message(Message::Schema, value, out));
        }
        (Message::Type, Value::String(name)) => text(1, name, out),
        (_, Value::Object(map)) => fields(of, map, out),
        _ => {}
    }
}

fn fields(of: Message, map: &Map<String, Value>, out: &mut Vec<u8>) {
    for (key, value) in map {
        let Some((number, form)) = field(of, key) else {
            continue;
        };
        let list = || value.as_array().into_iter().flatten();
        match form {
            Form::Text => text(number, value.as_str().unwrap_or_default(), out),
            Form::Texts => list()
                .filter_map(Value::as_str)
                .for_each(|one| text(number, one, out)),
            Form::Flag if value == &Value::Bool(true) => {
                tag(number, 0, out);
                out.push(1);
            }
            Form::Flag => {}
            Form::Integer => {
                tag(number, 0, out);
                varint(value.as_u64().unwrap_or_default(), out);
            }
            Form::Double => {
                tag(number, 1, out);
                out.extend(value.as_f64().unwrap_or_default().to_le_bytes());
            }
            Form::Any => within(number, out, |out| any(value, out)),
            Form::Anys => list().for_each(|one| within(number, out, |out| any(one, out))),
            Form::One(of) => within(number, out, |out| message(of, value, out)),
            Form::Many(of) => {
                list().for_each(|one| within(number, out, |out| message(of, one, out)));
            }
            Form::Named(of) => within(number, out, |out| {
                text(1, key, out);
                within(2, out, |out| message(of, value, out));
            }),
            Form::Extension => within(number, out, |out| {
                text(1, key, out);
                within(2, out, |out| any(value, out));
            }),
        }
    }
}

/// A value of any type, as YAML; JSON is YAML.
fn any(value: &Value, out: &mut Vec<u8>) {
    text(2, &format!("{value}\n"), out);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn tag(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | wire_type), out);
}

fn text(number: u32, text: &str, out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// A message in a field: its length comes first, so it is written aside.
fn within(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    tag(number, 2, out);
    varint(inner.len() as u64, out);
    out.append(&mut inner);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_lengths_are_those_of_the_format() {
        let document = json!({"swagger": "2.0", "definitions": {"A": {
            "type": "object", "required": ["b"],
            "properties": {"b": {"$ref": "#/definitions/B"}},
            "x-kubernetes-group-version-kind": [],
        }}});
        let bytes = v2_protobuf(&document);
        let schema = |inner: &[u8]| {
            let mut out = Vec::new();
            within(9, &mut out, |out| {
                within(1, out, |out| {
                    text(1, "A", out);
                    within(2, out, |out| out.extend_from_slice(inner));
                });
            });
            out
        };
        let mut inner = Vec::new();
        within(25, &mut inner, |out| {
            within(1, out, |out| {
                text(1, "b", out);
                within(2, out, |out| text(1, "#/definitions/B", out));
            });
        });
        text(19, "b", &mut inner);
        within(22, &mut inner, |out| text(1, "object", out));
        within(31, &mut inner, |out| {
            text(1, "x-kubernetes-group-version-kind", out);
            within(2, out, |out| text(2, "[]\n", out));
        });
        let mut expected = schema(&inner);
        text(1, "2.0", &mut expected);
        assert_eq!(bytes, expected);
        let mut out = Vec::new();
        varint(300, &mut out);
        tag(2, 1, &mut out);
        assert_eq!(out, [0xac, 0x02, 0x11]);
    }
}
