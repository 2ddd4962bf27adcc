//! The order in which an object's fields are stored, and what can be answered from it without parsing.
//!
//! ```text
//! stored   {"metadata":{ ... },  ...  ,"apiVersion":"v1","kind":"ConfigMap"}
//!           ├─ head ───┤ object's own ├─ tail, the same for all of a kind ─┤
//! served   {"metadata":{"resourceVersion":"42", ... },  ...  ,"apiVersion":"v1","kind":"ConfigMap"}
//! in a list of a built-in kind, whose items do not repeat their type:                    ...  }
//! as PartialObjectMetadata: {..."metadata":{"resourceVersion":"42", ... }}
//! ```
//!
//! JSON objects have no order, so this is a plain JSON object to every reader; but one whose revision can be put
//! in, and whose type can be replaced, at known places. A get, a list or a watch of a built-in kind is then a copy
//! of bytes: parsing and printing a list of 10,000 objects takes several times as long as sending it.
//!
//! Invariant: what [`Splicer::append`] writes is what decoding and printing would, up to the order of fields. What
//! is not in this form (custom resources, whose schema may have changed since; events in their other form; objects
//! written by an earlier version) it refuses, and the caller decodes.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};
use store::Revision;

use crate::kinds::Kind;
use crate::table;

const HEAD: &[u8] = b"{\"metadata\":{\"";
/// What stands in its place: up to the revision, and after it.
const VERSIONED_HEAD: &[u8] = b"{\"metadata\":{\"resourceVersion\":\"";
const HEAD_END: &[u8] = b"\",\"";
/// Of the largest revision.
const DIGITS: usize = 20;

/// An object as it is stored: fields in the order of the module, `resourceVersion` left out.
pub(super) struct Stored<'a> {
    pub object: &'a Map<String, Value>,
    /// Replaces the object's own, when it is to.
    pub api_version: Option<&'a str>,
}

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.object.get("metadata") {
            Some(Value::Object(meta)) => map.serialize_entry("metadata", &Unversioned(meta))?,
            Some(other) => map.serialize_entry("metadata", other)?,
            None => {}
        }
        for (key, value) in self.object {
            if !matches!(key.as_str(), "metadata" | "apiVersion" | "kind") {
                map.serialize_entry(key, value)?;
            }
        }
        match (self.api_version, self.object.get("apiVersion")) {
            (Some(version), _) => map.serialize_entry("apiVersion", version)?,
            (None, Some(version)) => map.serialize_entry("apiVersion", version)?,
            (None, None) => {}
        }
        if let Some(kind) = self.object.get("kind") {
            map.serialize_entry("kind", kind)?;
        }
        map.end()
    }
}

/// Metadata without the revision, which is the store's.
struct Unversioned<'a>(&'a Map<String, Value>);

impl Serialize for Unversioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(key, _)| *key != "resourceVersion"))
    }
}

/// What is served of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object, alone.
    Alone,
    /// The object as an item of a list of its kind, which does not repeat its type.
    Item,
    /// `PartialObjectMetadata`: what the garbage collector and other followers of whole clusters ask for.
    Metadata { beta: bool },
}

/// Writes stored objects of one kind as they are served, without parsing them.
pub(crate) struct Splicer {
    stored_tail: Vec<u8>,
    /// Up to the number that is the revision.
    served_head: Vec<u8>,
    /// What ends a served object.
    served_tail: Vec<u8>,
    metadata_only: bool,
}

impl Splicer {
    /// `None` for kinds that must be decoded.
    pub(crate) fn new(kind: &Kind, shape: Shape) -> Option<Self> {
        if kind.is_crd() || kind.behaviour.new_event {
            return None;
        }
        let tail = |version: &str| {
            let (version, kind) = (Value::from(version), Value::from(kind.kind.as_str()));
            format!(",\"apiVersion\":{version},\"kind\":{kind}}}").into_bytes()
        };
        let (served_head, served_tail) = match shape {
            Shape::Alone => (VERSIONED_HEAD.to_vec(), tail(&kind.api_version())),
            Shape::Item => (VERSIONED_HEAD.to_vec(), b"}".to_vec()),
            Shape::Metadata { beta } => {
                let mut head = format!(
                    "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{}\",",
                    table::version(beta)
                )
                .into_bytes();
                head.extend_from_slice(&VERSIONED_HEAD[1..]);
                (head, b"}".to_vec())
            }
        };
        Some(Self {
            stored_tail: tail(&kind.storage_api_version()),
            served_head,
            served_tail,
            metadata_only: matches!(shape, Shape::Metadata { .. }),
        })
    }

    /// How much longer a served object is than a stored one, at most.
    pub(crate) fn growth(&self) -> usize {
        self.served_head.len() + DIGITS + HEAD_END.len() + self.served_tail.len()
    }

    /// Whether [`Self::append`] takes it.
    pub(crate) fn can_append(&self, stored: &[u8]) -> bool {
        self.own(stored).is_some()
    }

    /// Bytes that [`Self::append`] writes.
    pub(crate) fn size(&self, stored: &[u8], revision: Revision) -> usize {
        let own = self.own(stored).map(<[u8]>::len);
        own.map_or(0, |own| {
            let digits = decimal(revision.0, &mut [0; DIGITS]).len();
            self.served_head.len() + digits + HEAD_END.len() + own + self.served_tail.len()
        })
    }

    /// What is copied of the object, from behind its head.
    fn own<'a>(&self, stored: &'a [u8]) -> Option<&'a [u8]> {
        let own = stored
            .strip_prefix(HEAD)?
            .strip_suffix(self.stored_tail.as_slice())?;
        if self.metadata_only {
            return own.get(..=end_of_metadata(own)?);
        }
        Some(own)
    }

    /// Appends the object that was stored at `revision`; `false`, and nothing is appended, when it has to be decoded.
    pub(crate) fn append(&self, stored: &[u8], revision: Revision, out: &mut Vec<u8>) -> bool {
        let Some(own) = self.own(stored) else {
            return false;
        };
        out.extend_from_slice(&self.served_head);
        let mut digits = [0_u8; DIGITS];
        out.extend_from_slice(decimal(revision.0, &mut digits));
        out.extend_from_slice(HEAD_END);
        out.extend_from_slice(own);
        out.extend_from_slice(&self.served_tail);
        true
    }
}

/// Where the metadata ends, in JSON that begins within the name of their first field.
fn end_of_metadata(own: &[u8]) -> Option<usize> {
    let (mut in_text, mut escaped, mut depth) = (true, false, 0_usize);
    for (at, byte) in own.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The decimal digits of a number, without allocation.
fn decimal(mut number: u64, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kinds::builtin;
    use crate::registry::codec;

    fn kind(plural: &str, group: &str) -> std::sync::Arc<Kind> {
        builtin()
            .into_iter()
            .find(|k| k.plural == plural && k.group == group)
            .expect("a built-in kind")
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z\"\\\\{},:]{0,12}", "\\PC{0,6}"]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The invariant of the module, for whatever is in an object.
        #[test]
        fn splicing_is_decoding_and_printing(
            own in prop::collection::btree_map(text(), value(), 0..5),
            meta in prop::collection::btree_map(text(), value(), 0..5),
            revision in any::<u64>(),
        ) {
            let sealing = crate::sealing::Sealing::default();
            let kind = kind("configmaps", "");
            let mut object: Map<String, Value> = own.into_iter().collect();
            let mut meta: Map<String, Value> = meta.into_iter().collect();
            meta.insert("name".into(), "n".into());
            meta.insert("resourceVersion".into(), "7".into());
            object.insert("metadata".into(), meta.into());
            object.insert("apiVersion".into(), "v1".into());
            object.insert("kind".into(), "ConfigMap".into());
            let stored = codec::encode(&sealing, &kind, "/core/configmaps/-/n", &Value::Object(object)).unwrap();
            let decoded = codec::decode_bytes(&sealing, &kind, "/core/configmaps/-/n", &stored, Revision(revision)).unwrap();
            let mut out = Vec::new();
            let spliced = Splicer::new(&kind, Shape::Alone).unwrap();
            prop_assert!(spliced.append(&stored, Revision(revision), &mut out));
            prop_assert!(out.len() <= stored.len() + spliced.growth());
            prop_assert_eq!(out.len(), spliced.size(&stored, Revision(revision)));
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), decoded.clone());
            let mut part = Vec::new();
            let metadata = Splicer::new(&kind, Shape::Metadata { beta: false }).unwrap();
            prop_assert!(metadata.append(&stored, Revision(revision), &mut part));
            prop_assert_eq!(serde_json::from_slice::<Value>(&part).unwrap(), table::partial(decoded.clone(), false));
            let mut item = Vec::new();
            prop_assert!(Splicer::new(&kind, Shape::Item).unwrap().append(&stored, Revision(revision), &mut item));
            let mut untyped = decoded;
            untyped.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
            prop_assert_eq!(serde_json::from_slice::<Value>(&item).unwrap(), untyped);
        }
    }

    #[test]
    fn what_is_in_another_form_is_refused_and_leaves_nothing() {
        let splicer = Splicer::new(&kind("configmaps", ""), Shape::Alone).unwrap();
        let mut out = Vec::new();
        for stored in [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}).to_string(),
            r#"{"metadata":{"name":"a"},"apiVersion":"v1","kind":"Secret"}"#.to_owned(),
            r#"{"metadata":{},"apiVersion":"v1","kind":"ConfigMap"}"#.to_owned(),
            String::new(),
        ] {
            assert!(
                !splicer.append(stored.as_bytes(), Revision(1), &mut out),
                "{stored}"
            );
        }
        assert_eq!(out, b"");
        assert!(Splicer::new(&kind("events", "events.k8s.io"), Shape::Alone).is_none());
    }
}
