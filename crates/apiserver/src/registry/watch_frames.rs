//! Turns events of the store into frames of a watch: selectors, transitions, views.
//!
//! With a selector, what the client sees is the set of objects that match: an object that begins to match is
//! ADDED, one that ceases to is DELETED with its last matching value (at the new revision).

use std::sync::Arc;

use apimachinery::status::ApiError;
use serde_json::{Value, json};
use store::{Entry, Event, Revision};

use super::selection::Selection;
use super::stored_form::{Shape, Splicer};
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
    /// For frames that need not be parsed: everything is wanted, as JSON objects of a built-in kind, or their metadata.
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
        let shape = match accept.view {
            View::Object | View::Discovery => Some(Shape::Alone),
            View::Partial { beta, .. } => Some(Shape::Metadata { beta }),
            View::Table { .. } => None,
        };
        let shape = shape.filter(|_| selection.is_all() && accept.format == Format::Json);
        let splicer = shape.and_then(|shape| Splicer::new(&kind, shape));
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

    /// Appends a frame made of stored bytes; `false`, and nothing is appended, when they have to be decoded.
    fn splice(
        &self,
        ty: &str,
        (key, stored): (&str, &[u8]),
        revision: Revision,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(splicer) = &self.splicer else {
            return false;
        };
        // What cannot be opened cannot be decoded either, which will say why.
        let Ok(stored) = self.registry.sealing.open(key, stored) else {
            return false;
        };
        let before = out.len();
        out.reserve(stored.len() + splicer.growth() + FRAME);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(ty.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        if !splicer.append(&stored, revision, out) {
            out.truncate(before);
            return false;
        }
        out.extend_from_slice(b"}\n");
        true
    }

    /// Appends an object of the initial state; `false` when it does not concern the selection.
    ///
    /// # Errors
    /// When it cannot be read. A watch never leaves out an object that it should show.
    pub(super) fn added(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<bool, ApiError> {
        if self.splice("ADDED", (&entry.key, &entry.value), entry.modified, out) {
            return Ok(true);
        }
        let object = self.decode(&entry.key, &entry.value, entry.modified)?;
        let wanted = self.selection.matches(&self.kind, &object);
        if wanted {
            self.frame("ADDED", object, out);
        }
        Ok(wanted)
    }

    /// Appends a change; `false` when it does not concern the selection.
    ///
    /// # Errors
    /// As [`Self::added`].
    pub(super) async fn event(
        &mut self,
        event: &mut Event,
        out: &mut Vec<u8>,
    ) -> Result<bool, ApiError> {
        versions::event(&self.registry, &self.kind, event).await?;
        let (ty, stored) = match (&event.previous, &event.value) {
            (None, Some(value)) => ("ADDED", Some(value)),
            (Some(_), Some(value)) => ("MODIFIED", Some(value)),
            (previous, None) => ("DELETED", previous.as_ref().map(|entry| &entry.value)),
        };
        if stored.is_some_and(|stored| self.splice(ty, (&event.key, stored), event.revision, out)) {
            return Ok(true);
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
        let (ty, object) = match (existed, current) {
            (false, Some(object)) => ("ADDED", object),
            (true, Some(object)) => ("MODIFIED", object),
            (true, None) => match previous {
                Some(object) => ("DELETED", object),
                None => return Ok(false),
            },
            (false, None) => return Ok(false),
        };
        self.frame(ty, object, out);
        Ok(true)
    }

    /// Appends a bookmark; `initial` marks the end of the initial state.
    pub(super) fn bookmark(&mut self, revision: Revision, initial: bool, out: &mut Vec<u8>) {
        let mut object = json!({
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": revision.0.to_string(), "creationTimestamp": null},
        });
        if initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.frame("BOOKMARK", object, out);
    }

    /// Appends an error, the last frame.
    pub(super) fn error(&self, error: &ApiError, out: &mut Vec<u8>) {
        let status = serde_json::to_value(&*error.0).unwrap_or_default();
        self.encode(&json!({"type": "ERROR", "object": status}), out);
    }

    fn decode(&self, key: &str, bytes: &[u8], revision: Revision) -> Result<Value, ApiError> {
        codec::decode_bytes(&self.registry.sealing, &self.kind, key, bytes, revision).map_err(|e| {
            tracing::error!(key, error = %e, "a stored object cannot be decoded; the watch ends");
            ApiError::internal(format!("decoding {key}: {e}"))
        })
    }

    fn frame(&mut self, ty: &str, object: Value, out: &mut Vec<u8>) {
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
        self.encode(&json!({"type": ty, "object": object}), out);
    }

    fn encode(&self, frame: &Value, out: &mut Vec<u8>) {
        match self.accept.format {
            Format::Json => {
                out.extend_from_slice(frame.to_string().as_bytes());
                out.push(b'\n');
            }
            Format::Yaml => {
                let text = serde_saphyr::to_string(frame).unwrap_or_default();
                out.extend_from_slice(b"---\n");
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}
