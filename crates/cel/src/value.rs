//! JSON to the values of expressions, guided by types.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::objects::{Key, Map};
use serde_json::Value as Json;

use crate::library;
use crate::text::string;
use crate::types::{Type, escape};

/// The value of `json` as an expression of type `ty` sees it.
pub(crate) fn from_json(json: &Json, ty: &Type) -> Value {
    match (json, ty) {
        (Json::Null, _) => Value::Null,
        (Json::Object(object), Type::Object(shape)) => {
            let known = object.iter().filter_map(|(name, value)| {
                let escaped = escape(name)?;
                let ty = shape.fields.get(&escaped)?;
                (!value.is_null() || *ty == Type::Dyn).then(|| (escaped, from_json(value, ty)))
            });
            map(known)
        }
        (Json::Object(object), Type::Map(of, _)) => map(object
            .iter()
            .map(|(name, value)| (name.clone(), from_json(value, &of.1)))),
        (Json::Object(object), _) => map(object
            .iter()
            .map(|(name, value)| (name.clone(), from_json(value, &Type::Dyn)))),
        (Json::Array(list), ty) => {
            let of = match ty {
                Type::List(of, _) => of,
                _ => &Type::Dyn,
            };
            let list = list.iter().map(|item| from_json(item, of)).collect();
            Value::List(Arc::new(list))
        }
        (Json::Bool(b), _) => Value::Bool(*b),
        (Json::Number(n), Type::Double) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        (Json::Number(n), _) => number(n),
        (Json::String(s), Type::Timestamp) => {
            // `date` has no time of day.
            let whole = if s.len() == 10 {
                format!("{s}T00:00:00Z")
            } else {
                s.clone()
            };
            converted("timestamp", &whole, s)
        }
        (Json::String(s), Type::Duration) => converted("duration", s, s),
        (Json::String(s), Type::Bytes(_)) => converted("base64.decode", s, s),
        (Json::String(s), _) => string(s),
    }
}

/// What a library function makes of a text; the text itself when it can do nothing with it.
fn converted(function: &str, given: &str, text: &str) -> Value {
    library::call(function, None, vec![string(given)]).unwrap_or_else(|_| string(text))
}

fn number(n: &serde_json::Number) -> Value {
    if let Some(int) = n.as_i64() {
        return Value::Int(int);
    }
    let float = n.as_f64().unwrap_or(f64::NAN);
    Value::Float(float)
}

fn map(entries: impl Iterator<Item = (String, Value)>) -> Value {
    let map: HashMap<Key, Value> = entries
        .map(|(key, value)| (Key::String(Arc::new(key)), value))
        .collect();
    Value::Map(Map { map: Arc::new(map) })
}

/// A value as JSON shows it, for messages; `None` for what JSON cannot hold.
pub(crate) fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    }
}
