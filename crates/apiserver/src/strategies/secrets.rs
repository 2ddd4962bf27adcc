//! ConfigMaps and Secrets: keys, sizes, immutability, `stringData`.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::fields::text;
use crate::limits;
use crate::strategy::{Context, Strategy};

pub(super) struct ConfigMap;
pub(super) struct Secret;

fn keys(object: &Value, field: &str, errors: &mut Vec<FieldError>) -> usize {
    let path = FieldPath::new(field);
    let mut size = 0;
    for (key, value) in object
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for detail in name::config_map_key(key) {
            errors.push(FieldError::invalid(&path.key(key), key.as_str(), detail));
        }
        size += value.as_str().map_or(0, str::len);
    }
    size
}

fn frozen(object: &Value, old: Option<&Value>, fields: &[&str], errors: &mut Vec<FieldError>) {
    let Some(old) = old.filter(|old| old.get("immutable") == Some(&Value::Bool(true))) else {
        return;
    };
    if object.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(
            &FieldPath::new("immutable"),
            "field is immutable when `immutable` is set",
        ));
    }
    let empty = Value::Object(Map::new());
    for field in fields {
        if object.get(field).unwrap_or(&empty) != old.get(field).unwrap_or(&empty) {
            errors.push(FieldError::forbidden(
                &FieldPath::new(*field),
                "field is immutable when `immutable` is set",
            ));
        }
    }
}

fn base64_values(object: &Value, field: &str) -> Result<usize, ApiError> {
    let mut size = 0;
    for (key, value) in object
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let bytes = STANDARD
            .decode(value.as_str().unwrap_or_default())
            .map_err(|e| {
                ApiError::bad_request(format!(
                    "cannot be handled: {field}[{key}] is not base64: {e}"
                ))
            })?;
        size += bytes.len();
    }
    Ok(size)
}

/// `at` is where upstream tells it: of a ConfigMap nowhere in particular.
fn too_big(size: usize, at: &str) -> Option<FieldError> {
    (size > limits::MAX_DATA).then(|| FieldError::too_long(&FieldPath::new(at), limits::MAX_DATA))
}

#[async_trait]
impl Strategy for ConfigMap {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let mut size = keys(object, "data", &mut errors);
        keys(object, "binaryData", &mut errors);
        size += base64_values(object, "binaryData")?;
        let plain = object.get("data").and_then(Value::as_object);
        for key in object
            .get("binaryData")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(k, _)| k)
        {
            if plain.is_some_and(|p| p.contains_key(key)) {
                errors.push(FieldError::invalid(
                    &FieldPath::new("data").key(key),
                    key.as_str(),
                    "duplicate of key present in binaryData",
                ));
            }
        }
        errors.extend(too_big(size, "[]"));
        frozen(object, old, &["data", "binaryData"], &mut errors);
        Ok(errors)
    }
}

/// Types of Secrets and the keys they must have.
const REQUIRED: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

fn write_strings(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(strings)) = map.remove("stringData") {
        let data = map
            .entry("data")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(data) = data.as_object_mut() {
            for (key, value) in strings {
                data.insert(
                    key,
                    Value::String(STANDARD.encode(value.as_str().unwrap_or_default())),
                );
            }
        }
    }
    super::fields::default_text(map, "type", "Opaque");
}

#[async_trait]
impl Strategy for Secret {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        write_strings(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        if text(object, "/type").is_empty()
            && let Some(ty) = old.get("type")
        {
            object["type"] = ty.clone();
        }
        write_strings(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        keys(object, "data", &mut errors);
        errors.extend(too_big(base64_values(object, "data")?, "data"));
        let ty = text(object, "/type");
        for key in REQUIRED
            .iter()
            .filter(|(t, _)| *t == ty)
            .flat_map(|(_, keys)| *keys)
        {
            let given = object.get("data").and_then(|d| d.get(key));
            // A key of SSH must not be empty either.
            let empty = ty == "kubernetes.io/ssh-auth" && given.is_some_and(|v| v == "");
            if given.is_none() || empty {
                errors.push(FieldError::required(&FieldPath::new("data").key(key), ""));
            }
        }
        let has = |key: &str| object.get("data").is_some_and(|d| d.get(key).is_some());
        if ty == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
            for key in ["username", "password"] {
                errors.push(FieldError::required(&FieldPath::new("data").key(key), ""));
            }
        }
        let json_key = match ty {
            "kubernetes.io/dockerconfigjson" => ".dockerconfigjson",
            "kubernetes.io/dockercfg" => ".dockercfg",
            _ => "",
        };
        if let Some(value) = object
            .get("data")
            .and_then(|d| d.get(json_key))
            .and_then(Value::as_str)
            && STANDARD
                .decode(value)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok())
                .is_none()
        {
            errors.push(FieldError::invalid(
                &FieldPath::new("data").key(json_key),
                "<secret contents redacted>",
                "it is not a JSON object",
            ));
        }
        if ty == "kubernetes.io/service-account-token"
            && apimachinery::meta::annotation(object, "kubernetes.io/service-account.name")
                .unwrap_or_default()
                .is_empty()
        {
            let path = FieldPath::new("metadata")
                .child("annotations")
                .key("kubernetes.io/service-account.name");
            errors.push(FieldError::required(&path, ""));
        }
        if let Some(old) = old
            && text(old, "/type") != ty
        {
            errors.push(FieldError::invalid(
                &FieldPath::new("type"),
                ty,
                "field is immutable",
            ));
        }
        frozen(object, old, &["data"], &mut errors);
        Ok(errors)
    }
}
