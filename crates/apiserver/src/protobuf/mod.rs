//! Bodies in Kubernetes' protobuf form, which typed Go clients (kubectl's `create` verbs, `drain`) send for
//! built-in kinds. They are read into the same JSON values as JSON bodies; answers are JSON, which such
//! clients always accept too.
//!
//! ```text
//! "k8s\0" ++ Unknown { typeMeta { apiVersion, kind }, raw } ─► message by (group, kind) ─► fields by number
//! ```
//! The field numbers are data (`messages.txt`), read when the first such body comes.

mod message;
mod scalar;
mod table;
mod wire;

use apimachinery::gvk::GroupVersion;
use serde_json::{Map, Value};

use self::table::Table;
use self::wire::Reader;

/// The media type.
pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProtobufError {
    #[error("the body does not begin with the protobuf envelope of Kubernetes")]
    NoEnvelope,
    #[error("the message ends in the middle of a field")]
    Truncated,
    #[error("field {0} has a wire type that does not fit")]
    WireType(u64),
    #[error("text is not UTF-8")]
    NotText,
    #[error("a value inside is malformed: {0}")]
    Malformed(String),
    #[error("messages are nested too deeply")]
    TooDeep,
    #[error("{0} has no protobuf form here; send JSON")]
    UnknownKind(String),
}

/// The package of a group in the table.
fn package(group: &str) -> &str {
    match group {
        "" => "core",
        other => other.split('.').next().unwrap_or_default(),
    }
}

/// Reads a body into the JSON value that it stands for.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let body = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut envelope = Reader::new(body);
    while let Some((number, field)) = envelope.next()? {
        match number {
            1 => {
                let mut meta = Reader::new(field.bytes(number)?);
                while let Some((number, field)) = meta.next()? {
                    match number {
                        1 => api_version = field.text(number)?,
                        2 => kind = field.text(number)?,
                        _ => {}
                    }
                }
            }
            2 => raw = field.bytes(number)?,
            _ => {}
        }
    }
    let group = GroupVersion::parse(&api_version)
        .map(|gv| gv.group)
        .unwrap_or_default();
    let table = Table::get();
    let found = match kind.as_str() {
        "DeleteOptions" => table.message("meta.DeleteOptions"),
        kind => table.message(&format!("{}.{kind}", package(&group))),
    };
    let message =
        found.ok_or_else(|| ProtobufError::UnknownKind(format!("{kind} of {api_version:?}")))?;
    let mut object = Map::new();
    message::read(table, message, raw, &mut object, 0)?;
    object.insert("apiVersion".to_owned(), Value::String(api_version));
    object.insert("kind".to_owned(), Value::String(kind));
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// What kubectl 1.32 sends for `create configmap a --from-literal=k=v`.
    const CONFIG_MAP: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b\x0a\x11\x0a\x01a\x12\x00\x1a\x00\x22\x00*\x002\x008\x00B\x00\x12\x06\x0a\x01k\x12\x01v\x1a\x00\"\x00";

    #[test]
    fn a_config_map_of_kubectl_is_read() {
        assert_eq!(
            decode(CONFIG_MAP).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
        );
    }

    #[test]
    fn every_message_that_is_named_exists() {
        Table::get().check().unwrap();
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..CONFIG_MAP.len(), flip in any::<u8>()) {
            let _ = decode(&[MAGIC, &body].concat());
            let mut near = CONFIG_MAP.to_vec();
            near[cut] = flip;
            let _ = decode(&near);
            let _ = decode(&CONFIG_MAP[..cut]);
        }
    }
}
