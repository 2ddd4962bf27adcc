//! `/openapi/v3`: the index, and documents made when first asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apimachinery::gvk::{GroupVersion, GroupVersionKind};
use bytes::Bytes;
use http::StatusCode;
use schema::openapi::{KindDoc, SubresourceDoc, document_hash, v3_document, v3_index};

use crate::kinds::{Kind, KindSet, SchemaSource};
use crate::negotiate::Accept;
use crate::respond;
use crate::subresource::Response;

/// Documents by path and by the hash of what they are made from.
#[derive(Debug, Default)]
pub(crate) struct OpenApi {
    documents: Mutex<HashMap<String, (String, Bytes)>>,
}

/// A name for what a document is made from: cheaper than the document, and different when it is.
fn fingerprint(kinds: &[Arc<Kind>]) -> String {
    let mut text = String::from(env!("CARGO_PKG_VERSION"));
    for kind in kinds {
        text.push_str(&format!(
            "|{}/{}/{}/{}",
            kind.plural,
            kind.kind,
            kind.namespaced,
            kind.subresources.len()
        ));
        if let SchemaSource::Crd(schema) = &kind.schema {
            // A CRD's schema is parsed anew when the CRD changes, so its place in memory names its content
            // for as long as it is served.
            text.push_str(&format!("@{:p}", Arc::as_ptr(schema)));
        }
    }
    document_hash(text.as_bytes())
}

fn doc(kind: &Kind) -> KindDoc {
    KindDoc {
        kind: kind.kind.clone(),
        list_kind: kind.list_kind.clone(),
        resource: kind.plural.clone(),
        namespaced: kind.namespaced,
        verbs: kind.verbs.iter().map(|v| (*v).to_owned()).collect(),
        schema: match &kind.schema {
            SchemaSource::Crd(schema) => Some(schema.get()),
            SchemaSource::Builtin => None,
        },
        subresources: kind
            .subresources
            .iter()
            .map(|s| SubresourceDoc {
                name: s.name.clone(),
                verbs: s.verbs.clone(),
                kind: (!s.version.is_empty() && s.name != "status").then(|| {
                    GroupVersionKind::new(s.group.clone(), s.version.clone(), s.kind.clone())
                }),
            })
            .collect(),
    }
}

impl OpenApi {
    /// Serves the index (`rest` empty) or a document.
    pub(crate) fn serve(&self, kinds: &KindSet, rest: &[&str], accept: Accept) -> Option<Response> {
        let (group, version) = match rest {
            [] => return Some(index(kinds, accept)),
            ["api", version] => ("", *version),
            ["apis", group, version] => (*group, *version),
            _ => return None,
        };
        let (_, list) = kinds.versions(group)?.iter().find(|(v, _)| v == version)?;
        let print = fingerprint(list);
        let path = rest.join("/");
        let cached = {
            let documents = self
                .documents
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            documents
                .get(&path)
                .filter(|(p, _)| *p == print)
                .map(|(_, data)| data.clone())
        };
        let data = match cached {
            Some(data) => data,
            None => {
                let docs: Vec<KindDoc> = list.iter().map(|kind| doc(kind)).collect();
                let document = v3_document(&GroupVersion::new(group, version), &docs);
                let data = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
                let mut documents = self
                    .documents
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                documents.insert(path, (print, data.clone()));
                data
            }
        };
        Some(respond::bytes(
            StatusCode::OK,
            data,
            "application/json",
            accept,
        ))
    }
}

fn index(kinds: &KindSet, accept: Accept) -> Response {
    let entries: Vec<(GroupVersion, String)> = kinds
        .groups()
        .flat_map(|(group, versions)| {
            versions.iter().map(move |(version, list)| {
                (GroupVersion::new(group, version.clone()), fingerprint(list))
            })
        })
        .collect();
    let index = v3_index(entries.iter().map(|(gv, hash)| (gv, hash.as_str())));
    // Upstream declares the index to be text; clients do not look.
    let data = serde_json::to_vec(&index).unwrap_or_default();
    respond::bytes(
        StatusCode::OK,
        data.into(),
        "text/plain;charset=utf-8",
        accept,
    )
}
