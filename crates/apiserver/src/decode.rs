//! Request bodies as JSON values: JSON and YAML in, duplicate fields noticed, depth bounded.

use std::cell::RefCell;
use std::fmt;

use apimachinery::status::ApiError;
use http::HeaderMap;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{limits, protobuf, yaml};

/// A decoded body.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The value; of a field given twice, the last.
    pub value: Value,
    /// Paths of fields given twice.
    pub duplicates: Vec<String>,
}

/// The formats of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Json,
    Yaml,
    /// Kubernetes' protobuf, see [`crate::protobuf`].
    Protobuf,
}

/// The format named by `Content-Type`; JSON when there is none.
pub(crate) fn format_of(headers: &HeaderMap) -> Result<BodyFormat, ApiError> {
    let Some(header) = headers.get(http::header::CONTENT_TYPE) else {
        return Ok(BodyFormat::Json);
    };
    let media = header
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    match media {
        "" | "application/json" | "text/json" => Ok(BodyFormat::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(BodyFormat::Yaml),
        protobuf::MEDIA => Ok(BodyFormat::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&[
            "application/json",
            "application/yaml",
        ])),
    }
}

/// Decodes a body by its `Content-Type`.
pub(crate) fn decode(headers: &HeaderMap, bytes: &[u8]) -> Result<Decoded, ApiError> {
    decode_as(format_of(headers)?, bytes)
}

/// Decodes a body of a known format.
pub(crate) fn decode_as(format: BodyFormat, bytes: &[u8]) -> Result<Decoded, ApiError> {
    let state = State::default();
    let value = match format {
        BodyFormat::Json => {
            let mut deserializer = serde_json::Deserializer::from_slice(bytes);
            seed(&state)
                .deserialize(&mut deserializer)
                .and_then(|value| deserializer.end().map(|()| value))
                .map_err(|e| {
                    ApiError::bad_request(format!(
                        "the object provided is unrecognized: json parse error: {e}"
                    ))
                })?
        }
        BodyFormat::Protobuf => protobuf::decode(bytes).map_err(|e| {
            ApiError::bad_request(format!(
                "the object provided is unrecognized: protobuf: {e}"
            ))
        })?,
        BodyFormat::Yaml => {
            let text = std::str::from_utf8(bytes).map_err(|e| {
                ApiError::bad_request(format!("the object provided is unrecognized: yaml: {e}"))
            })?;
            let document = yaml::read(text).map_err(|e| {
                ApiError::bad_request(format!("the object provided is unrecognized: yaml: {e}"))
            })?;
            return Ok(Decoded {
                value: document.value,
                duplicates: document.duplicates,
            });
        }
    };
    Ok(Decoded {
        value,
        duplicates: state.duplicates.into_inner(),
    })
}

#[derive(Default)]
struct State {
    path: RefCell<Vec<Segment>>,
    duplicates: RefCell<Vec<String>>,
}

enum Segment {
    Key(String),
    Index(usize),
}

fn seed(state: &State) -> Seed<'_> {
    Seed(state)
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a State);

impl Seed<'_> {
    fn duplicate(self, key: &str) {
        let mut text = String::new();
        for segment in self.0.path.borrow().iter() {
            match segment {
                Segment::Key(key) if text.is_empty() => text.push_str(key),
                Segment::Key(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(key);
        let mut duplicates = self.0.duplicates.borrow_mut();
        // More than a few say nothing new.
        if duplicates.len() < 100 {
            duplicates.push(text);
        }
    }

    fn enter<E: serde::de::Error>(self, segment: Segment) -> Result<(), E> {
        let mut path = self.0.path.borrow_mut();
        if path.len() >= limits::MAX_DEPTH {
            return Err(E::custom("exceeded max depth"));
        }
        path.push(segment);
        Ok(())
    }

    fn leave(self) {
        self.0.path.borrow_mut().pop();
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.enter(Segment::Index(items.len()))?;
            let item = access.next_element_seed(self)?;
            self.leave();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Key)? {
            if map.contains_key(&key) {
                self.duplicate(&key);
            }
            self.enter::<A::Error>(Segment::Key(key.clone()))?;
            let value = access.next_value_seed(self)?;
            self.leave();
            map.insert(key, value);
        }
        if map.len() > usize::MAX / 2 {
            return Err(A::Error::custom("too many fields"));
        }
        Ok(Value::Object(map))
    }
}

/// Keys are text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_named_by_path() {
        let decoded = decode_as(
            BodyFormat::Json,
            br#"{"spec":{"s":"1","l":[{"a":1,"a":2}],"s":"2"}}"#,
        )
        .unwrap();
        assert_eq!(decoded.duplicates, ["spec.l[0].a", "spec.s"]);
        assert_eq!(decoded.value, json!({"spec": {"s": "2", "l": [{"a": 2}]}}));
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = decode_as(
            BodyFormat::Yaml,
            b"spec: {s: 5, l: [a, b], t: true}\nk: \"1\"\nm: |\n  two\n  lines\n",
        )
        .unwrap();
        assert_eq!(
            yaml.value,
            json!({"spec": {"s": 5, "l": ["a", "b"], "t": true}, "k": "1", "m": "two\nlines\n"})
        );
    }

    #[test]
    fn bad_bodies_are_refused() {
        for body in ["{not json", "", "{} x", "[1,"] {
            decode_as(BodyFormat::Json, body.as_bytes()).unwrap_err();
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        decode_as(BodyFormat::Json, deep.as_bytes()).unwrap_err();
        decode_as(BodyFormat::Yaml, b"a: b\n  c: d").unwrap_err();
    }
}
