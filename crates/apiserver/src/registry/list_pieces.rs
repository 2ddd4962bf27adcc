//! A list as compact JSON, in pieces.

use std::iter::Peekable;
use std::vec::IntoIter;

use apimachinery::meta::ListMeta;
use bytes::Bytes;
use serde_json::Value;
use store::Entry;

use super::stored_form::{Shape, Splicer};
use crate::body::{PIECE, Pieces};
use crate::kinds::Kind;
use crate::table;

/// What a list shows of its objects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListShape {
    /// All of them.
    Objects,
    /// `PartialObjectMetadata`.
    Metadata { beta: bool },
}

impl ListShape {
    pub(super) fn item(self) -> Shape {
        match self {
            ListShape::Objects => Shape::Item,
            ListShape::Metadata { beta } => Shape::Metadata { beta },
        }
    }

    /// An item that was decoded.
    pub(super) fn of(self, kind: &Kind, object: Value) -> Value {
        match self {
            ListShape::Objects => super::untyped(kind, object),
            ListShape::Metadata { beta } => table::partial(object, beta),
        }
    }

    /// Kind and version of the list.
    pub(super) fn head(self, kind: &Kind) -> (Value, Value) {
        match self {
            ListShape::Objects => (kind.list_kind.as_str().into(), kind.api_version().into()),
            ListShape::Metadata { beta } => (
                "PartialObjectMetadataList".into(),
                table::version(beta).into(),
            ),
        }
    }
}

const TAIL: &[u8] = b"]}";

/// An item that can be copied into the answer, or one that had to be decoded, as it is printed.
pub(super) enum Item {
    /// What the splicer [takes](Splicer::can_append).
    Stored(Entry),
    Printed(Vec<u8>),
}

/// The list of these items, with its kind and version. `splicer` is there when an item is stored.
///
/// # Errors
/// When the metadata cannot be printed.
pub(super) fn render(
    (kind, version): (Value, Value),
    items: Vec<Item>,
    meta: &ListMeta,
    splicer: Option<Splicer>,
) -> Result<Pieces, serde_json::Error> {
    let head = format!(
        "{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{},\"items\":[",
        serde_json::to_string(meta)?
    );
    let sizes = items.iter().map(|item| size(splicer.as_ref(), item));
    let commas = items.len().saturating_sub(1);
    let length = head.len() + sizes.sum::<usize>() + commas + TAIL.len();
    let list = List {
        head: Some(head),
        items: items.into_iter().peekable(),
        splicer,
    };
    Ok(Pieces::new(length as u64, list))
}

/// Bytes of an item in the list.
fn size(splicer: Option<&Splicer>, item: &Item) -> usize {
    match (item, splicer) {
        (Item::Stored(entry), Some(splicer)) => splicer.size(&entry.value, entry.modified),
        (Item::Stored(_), None) => 0,
        (Item::Printed(object), _) => object.len(),
    }
}

struct List {
    /// Until it was written.
    head: Option<String>,
    items: Peekable<IntoIter<Item>>,
    splicer: Option<Splicer>,
}

impl Iterator for List {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let head = self.head.take();
        if head.is_none() {
            self.items.peek()?;
        }
        let mut out = Vec::with_capacity(PIECE);
        if let Some(head) = head {
            out.extend_from_slice(head.as_bytes());
            if self.items.peek().is_none() {
                out.extend_from_slice(TAIL);
            }
        }
        let (items, splicer) = (&mut self.items, self.splicer.as_ref());
        // At least one, however large.
        let mut room = usize::MAX;
        while let Some(item) = items.next_if(|item| size(splicer, item) < room) {
            match (&item, splicer) {
                (Item::Stored(entry), Some(splicer)) => {
                    splicer.append(&entry.value, entry.modified, &mut out);
                }
                (Item::Stored(_), None) => {}
                (Item::Printed(object), _) => out.extend_from_slice(object),
            }
            let last = items.peek().is_none();
            out.extend_from_slice(if last { TAIL } else { b"," });
            room = PIECE.saturating_sub(out.len() + TAIL.len());
        }
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use store::Revision;

    use super::*;
    use crate::kinds::builtin;

    proptest! {
        /// Whatever the items: the pieces are bounded, as long together as was said, and a list.
        #[test]
        fn pieces_are_the_list(sizes in prop::collection::vec((any::<bool>(), 0_usize..200_000), 0..12)) {
            let kind = builtin().into_iter().find(|k| k.plural == "configmaps").expect("a kind");
            let (mut items, mut expected) = (Vec::new(), Vec::new());
            for (n, (stored, size)) in sizes.iter().enumerate() {
                let (text, revision) = ("x".repeat(*size), 10_u64.pow(n as u32));
                let meta = serde_json::json!({"name": "n", "resourceVersion": revision.to_string()});
                expected.push(serde_json::json!({"metadata": meta, "data": {"k": text}}));
                items.push(if *stored {
                    let value = format!(
                        "{{\"metadata\":{{\"name\":\"n\"}},\"data\":{{\"k\":\"{text}\"}},\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"}}"
                    );
                    let revision = Revision(revision);
                    let key = "/core/configmaps/-/n".into();
                    Item::Stored(Entry { key, value: value.into(), created: revision, modified: revision })
                } else {
                    Item::Printed(expected[n].to_string().into_bytes())
                });
            }
            let meta = ListMeta { resource_version: "7".to_owned(), ..ListMeta::default() };
            let pieces = render(ListShape::Objects.head(&kind), items, &meta, Splicer::new(&kind, Shape::Item)).unwrap();
            let said = pieces.left();
            let largest = sizes.iter().map(|(_, size)| *size).max().unwrap_or_default();
            let pieces: Vec<Bytes> = pieces.collect();
            prop_assert!(pieces.iter().all(|p| p.len() <= PIECE.max(largest + 1000)));
            let whole = pieces.concat();
            prop_assert_eq!(whole.len() as u64, said);
            let list: Value = serde_json::from_slice(&whole).unwrap();
            prop_assert_eq!(list, serde_json::json!({
                "kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": expected,
            }));
        }
    }
}
