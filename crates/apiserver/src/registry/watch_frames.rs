//! Turns events of the store into frames of a watch: selectors, transitions, views.
//!
//! With a selector, what the client sees is the set of objects that match: an object that begins to match is
//! ADDED, one that ceases to is DELETED with its last matching value (at the new revision).

use std::sync::Arc;

use apimachinery::status::ApiError;
use bytes::Bytes;
use serde_json::{Value, json};
use store::{Entry, Event, Revision};

use super::selection::Selection;
use super::stored_form::Splicer;
use super::{Registry, codec, versions};
use crate::kinds::Kind;
use crate::negotiate::{Accept, Format, View};
use crate::request::Query;
use crate::table::{self, IncludeObject};

/// What a frame adds to its object, at most.
const FRAME: usize = r#"{"type":"MODIFIED","object":}"#.len() + 1;

/// See the module.
pub(super) struct Frames {
    registry: Arc<Registry>,
    kind: Arc<Kind>,
    selection: Selection,
    accept: Accept,
    include: IncludeObject,
    columns_sent: bool,
    /// For frames that need not be parsed: everything is wanted, as JSON objects of a built-in kind.
    splicer: Option<Splicer>,
}

impl Frames {
    pub(super) fn new(
        registry: Arc<Registry>,
        kind: Arc<Kind>,
        selection: Selection,
        accept: Accept,
        query: &Query,
    ) -> Self {
        let plain = selection.is_all()
            && accept.format == Format::Json
            && matches!(accept.view, View::Object | View::Discovery);
        let splicer = plain.then(|| Splicer::new(&kind, true)).flatten();
        Frames {
            registry,
            splicer,
            kind,
            selection,
            accept,
            include: IncludeObject::parse(query),
            columns_sent: false,
        }
    }

    /// A frame made of stored bytes; `None` when they have to be decoded.
    fn splice(&self, ty: &str, (key, stored): (&str, &[u8]), revision: Revision) -> Option<Bytes> {
        let splicer = self.splicer.as_ref()?;
        // What cannot be opened cannot be decoded either, which will say why.
        let stored = self.registry.sealing.open(key, stored).ok()?;
        let mut out = Vec::with_capacity(stored.len() + splicer.growth() + FRAME);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(ty.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        splicer.append(&stored, revision, &mut out).then(|| {
            out.extend_from_slice(b"}\n");
            Bytes::from(out)
        })
    }

    /// An object of the initial state.
    ///
    /// # Errors
    /// When it cannot be read. A watch never leaves out an object that it should show.
    pub(super) fn added(&mut self, entry: &Entry) -> Result<Option<Bytes>, ApiError> {
        if let Some(frame) = self.splice("ADDED", (&entry.key, &entry.value), entry.modified) {
            return Ok(Some(frame));
        }
        let object = self.decode(&entry.key, &entry.value, entry.modified)?;
        Ok(self
            .selection
            .matches(&self.kind, &object)
            .then(|| self.frame("ADDED", object)))
    }

    /// A change; `None` when it does not concern the selection.
    ///
    /// # Errors
    /// As [`Self::added`].
    pub(super) async fn event(&mut self, event: &mut Event) -> Result<Option<Bytes>, ApiError> {
        versions::event(&self.registry, &self.kind, event).await?;
        let (ty, stored) = match (&event.previous, &event.value) {
            (None, Some(value)) => ("ADDED", Some(value)),
            (Some(_), Some(value)) => ("MODIFIED", Some(value)),
            (previous, None) => ("DELETED", previous.as_ref().map(|entry| &entry.value)),
        };
        if let Some(frame) =
            stored.and_then(|stored| self.splice(ty, (&event.key, stored), event.revision))
        {
            return Ok(Some(frame));
        }
        let previous = match &event.previous {
            // Without selectors the old value only matters for deletions.
            Some(entry) if event.value.is_none() || !self.selection.is_all() => {
                Some(self.decode(&event.key, &entry.value, event.revision)?)
            }
            _ => None,
        };
        let existed = if self.selection.is_all() {
            event.previous.is_some()
        } else {
            previous
                .as_ref()
                .is_some_and(|object| self.selection.matches(&self.kind, object))
        };
        let current = match &event.value {
            Some(value) => Some(self.decode(&event.key, value, event.revision)?)
                .filter(|object| self.selection.matches(&self.kind, object)),
            None => None,
        };
        Ok(match (existed, current) {
            (false, Some(object)) => Some(self.frame("ADDED", object)),
            (true, Some(object)) => Some(self.frame("MODIFIED", object)),
            (true, None) => previous.map(|object| self.frame("DELETED", object)),
            (false, None) => None,
        })
    }

    /// A bookmark; `initial` marks the end of the initial state.
    pub(super) fn bookmark(&mut self, revision: Revision, initial: bool) -> Bytes {
        let mut object = json!({
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": revision.0.to_string(), "creationTimestamp": null},
        });
        if initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.frame("BOOKMARK", object)
    }

    /// An error, the last frame.
    pub(super) fn error(&self, error: &ApiError) -> Bytes {
        let status = serde_json::to_value(&*error.0).unwrap_or_default();
        self.encode(&json!({"type": "ERROR", "object": status}))
    }

    fn decode(&self, key: &str, bytes: &[u8], revision: Revision) -> Result<Value, ApiError> {
        codec::decode_bytes(&self.registry.sealing, &self.kind, key, bytes, revision).map_err(|e| {
            tracing::error!(key, error = %e, "a stored object cannot be decoded; the watch ends");
            ApiError::internal(format!("decoding {key}: {e}"))
        })
    }

    fn frame(&mut self, ty: &str, object: Value) -> Bytes {
        let object = match self.accept.view {
            View::Object | View::Discovery => object,
            View::Partial { beta, .. } => table::partial(object, beta),
            View::Table { beta } => {
                let mut shown =
                    table::watch_row(&self.kind, object, self.include, beta, ty == "BOOKMARK");
                if self.columns_sent
                    && let Some(map) = shown.as_object_mut()
                {
                    map.insert("columnDefinitions".to_owned(), Value::Null);
                }
                self.columns_sent |= ty != "BOOKMARK";
                shown
            }
        };
        self.encode(&json!({"type": ty, "object": object}))
    }

    fn encode(&self, frame: &Value) -> Bytes {
        match self.accept.format {
            Format::Json => {
                let mut data = serde_json::to_vec(frame).unwrap_or_default();
                data.push(b'\n');
                Bytes::from(data)
            }
            Format::Yaml => {
                let text = serde_saphyr::to_string(frame).unwrap_or_default();
                Bytes::from(format!("---\n{text}"))
            }
        }
    }
}
