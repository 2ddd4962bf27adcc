//! `/openapi/v3`: the index, and a document for each group and version; `/openapi/v2`: all in one.
//!
//! Everything is made when first asked for, and again when what it is made from has another fingerprint. A client
//! of v3 that names the fingerprint as `hash`, as the index tells it to, may keep the answer for ever; one with
//! an old hash is sent to the present one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apimachinery::gvk::{GroupVersion, GroupVersionKind};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use schema::openapi::{
    KindDoc, SubresourceDoc, V2Part, document_hash, document_path, v2_document, v2_part,
    v2_protobuf, v3_document, v3_index,
};

use crate::aggregation::V2;
use crate::kinds::{Kind, KindSet, SchemaSource};
use crate::negotiate::Accept;
use crate::request::Query;
use crate::respond;
use crate::subresource::Response;

/// Something made from kinds, with the fingerprint of what it was made from.
type Made<T> = (String, T);

/// What was made, by path.
#[derive(Debug, Default)]
pub(crate) struct OpenApi {
    v3: Mutex<HashMap<String, Made<Bytes>>>,
    v2_parts: Mutex<HashMap<String, Made<Arc<V2Part>>>>,
    v2: Mutex<Option<Made<Bytes>>>,
    v2_protobuf: Mutex<Option<Made<Bytes>>>,
}

const JSON: &str = "application/json";
/// gnostic's form of the document of v2, which client-go asks for by either name.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1+protobuf";
const OLD_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Whether the first form in `Accept` that the document of v2 has is protobuf.
pub(crate) fn wants_protobuf(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let mut media = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|clause| clause.split(';').next().unwrap_or_default().trim());
    media
        .find(|media| {
            matches!(
                *media,
                JSON | "application/*" | "*/*" | PROTOBUF | OLD_PROTOBUF
            )
        })
        .is_some_and(|media| matches!(media, PROTOBUF | OLD_PROTOBUF))
}

/// A name for what a document is made from: cheaper than the document, and different when it is. The same on every
/// server of a cluster.
fn fingerprint(kinds: &[Arc<Kind>]) -> String {
    let mut text = String::from(env!("CARGO_PKG_VERSION"));
    for kind in kinds {
        text.push_str(&format!(
            "|{}/{}/{}/{}",
            kind.plural, kind.kind, kind.list_kind, kind.namespaced,
        ));
        for subresource in &kind.subresources {
            text.push_str(&format!("/{}", subresource.name));
        }
        if let SchemaSource::Crd(schema) = &kind.schema {
            text.push_str(&format!("@{}", schema.digest()));
        }
    }
    document_hash(text.as_bytes())
}

fn doc(kind: &Arc<Kind>) -> KindDoc {
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
                kind: if s.name == "status" {
                    None
                } else if !s.version.is_empty() {
                    Some(GroupVersionKind::new(&*s.group, &*s.version, &*s.kind))
                } else {
                    // Options of the group itself; they have no definition, and their answers are plain text.
                    (s.kind != kind.kind)
                        .then(|| GroupVersionKind::new(&*kind.group, &*kind.version, &*s.kind))
                },
            })
            .collect(),
    }
}

/// What was made for `path` from what has this fingerprint; made now if need be, without holding the lock.
fn made<T: Clone>(
    cache: &Mutex<HashMap<String, Made<T>>>,
    path: &str,
    print: &str,
    make: impl FnOnce() -> T,
) -> T {
    let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, value)) = lock().get(path).filter(|(p, _)| p == print) {
        return value.clone();
    }
    let value = make();
    lock().insert(path.to_owned(), (print.to_owned(), value.clone()));
    value
}

impl OpenApi {
    /// Serves the index of v3 (`rest` empty) or a document.
    /// `others` are documents of other servers, by group version and a name for their content.
    pub(crate) fn serve(
        &self,
        kinds: &KindSet,
        (rest, query): (&[&str], &Query),
        others: &[(GroupVersion, String)],
        accept: Accept,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let (group, version) = match rest {
            [] => return Some(index(kinds, others, accept)),
            ["api", version] => ("", *version),
            ["apis", group, version] => (*group, *version),
            _ => return None,
        };
        let (_, list) = kinds.versions(group)?.iter().find(|(v, _)| v == version)?;
        let print = fingerprint(list);
        let gv = GroupVersion::new(group, version);
        let path = document_path(&gv);
        let asked = query.get("hash").filter(|hash| !hash.is_empty());
        if asked.is_some_and(|hash| hash != print) {
            return Some(moved(&format!("/openapi/v3/{path}?hash={print}")));
        }
        let data = made(&self.v3, &path, &print, || {
            let docs: Vec<KindDoc> = list.iter().map(doc).collect();
            Bytes::from(v3_document(&gv, &docs).to_string())
        });
        let mut response = tagged(data, &print, JSON, accept, headers);
        if asked.is_some() {
            let headers = response.headers_mut();
            headers.insert(
                header::CACHE_CONTROL,
                HeaderValue::from_static("public, immutable"),
            );
            let year = Timestamp::now() + SignedDuration::from_hours(24 * 365);
            let year = year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            if let Ok(year) = HeaderValue::from_str(&year) {
                headers.insert(header::EXPIRES, year);
            }
        }
        Some(response)
    }

    /// Serves the document of v2, with what `others` say of their group versions.
    pub(crate) fn serve_v2(
        &self,
        kinds: &KindSet,
        others: &[Arc<V2>],
        accept: Accept,
        headers: &HeaderMap,
    ) -> Response {
        let (print, data) = self.v2(kinds, others);
        if !wants_protobuf(headers) {
            return tagged(data, &print, JSON, accept, headers);
        }
        let lock = || {
            self.v2_protobuf
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = lock().as_ref().filter(|(p, _)| *p == print).cloned();
        let data = match known {
            Some((_, data)) => data,
            None => {
                let document = serde_json::from_slice(&data).unwrap_or_default();
                let data = Bytes::from(v2_protobuf(&document));
                *lock() = Some((print.clone(), data.clone()));
                data
            }
        };
        // Another form is another thing to whoever keeps it.
        tagged(
            data,
            &format!("{print}-protobuf"),
            PROTOBUF,
            accept,
            headers,
        )
    }

    /// The document of v2, with its fingerprint.
    fn v2(&self, kinds: &KindSet, others: &[Arc<V2>]) -> Made<Bytes> {
        let versions: Vec<(GroupVersion, String, &[Arc<Kind>])> = kinds
            .groups()
            .flat_map(|(group, versions)| {
                versions.iter().map(move |(version, list)| {
                    let gv = GroupVersion::new(group, version.as_str());
                    (gv, fingerprint(list), list.as_slice())
                })
            })
            .collect();
        let all: String = versions
            .iter()
            .map(|(_, print, _)| print.as_str())
            .chain(others.iter().map(|other| other.name.as_str()))
            .collect();
        let print = document_hash(all.as_bytes());
        let lock = || self.v2.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, data)) = lock().as_ref().filter(|(p, _)| *p == print) {
            return (print, data.clone());
        }
        let parts: Vec<Arc<V2Part>> = versions
            .iter()
            .map(|(gv, print, list)| {
                made(&self.v2_parts, &document_path(gv), print, || {
                    let docs: Vec<KindDoc> = list.iter().map(doc).collect();
                    Arc::new(v2_part(gv, &docs))
                })
            })
            .collect();
        let served: Vec<String> = versions.iter().map(|(gv, ..)| document_path(gv)).collect();
        self.v2_parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|path, _| served.contains(path));
        let own = parts.iter().map(|part| &**part);
        // Last, so that nobody else's names change ours.
        let all = own.chain(others.iter().map(|other| &other.part));
        let data = Bytes::from(v2_document(all));
        *lock() = Some((print.clone(), data.clone()));
        (print, data)
    }
}

/// A document with its tag, or 304 when the client has it.
fn tagged(data: Bytes, print: &str, media: &str, accept: Accept, headers: &HeaderMap) -> Response {
    let tag = format!("\"{print}\"");
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|list| list.split(',').any(|one| one.trim() == tag));
    let mut response = if known {
        let mut response = Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::bytes(StatusCode::OK, data, media, accept)
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn moved(to: &str) -> Response {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

fn index(kinds: &KindSet, others: &[(GroupVersion, String)], accept: Accept) -> Response {
    let entries: Vec<(GroupVersion, String)> = kinds
        .groups()
        .flat_map(|(group, versions)| {
            versions.iter().map(move |(version, list)| {
                (GroupVersion::new(group, version.clone()), fingerprint(list))
            })
        })
        .chain(others.iter().cloned())
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
