//! What a request is about, from its method, path and query alone.
//!
//! ```text
//! /api/v1/...            group ""            /apis/<group>/<version>/...
//!   [watch/] [namespaces/<ns>/] <resource> [/<name> [/<subresource> [/<tail>...]]]
//! ```
//! A namespace itself is `/api/v1/namespaces/<name>[/<status|finalize>]`: its requests lie in the namespace
//! of their own name, so that a Role in it can grant them.

use apimachinery::selector::FieldSelector;
use http::Method;

/// The parameters of a query, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`; `+` is a space.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        Query(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Whether a boolean parameter is set: present, and neither `false` nor `0`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

/// Decodes `%xx`.
pub(crate) fn percent_decode(text: &str) -> String {
    decode(text, false)
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (b'+', _, _) if plus_is_space => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource; else only `path` counts.
    pub is_resource: bool,
    /// The path, still encoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, ...; the lower-case method when not about a resource.
    pub verb: &'static str,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Plural resource.
    pub resource: String,
    /// First segment behind the name.
    pub subresource: String,
    /// Object name, or empty.
    pub name: String,
    /// Segments behind the subresource.
    pub tail: Vec<String>,
    /// The query.
    pub query: Query,
    /// Whether the name is a field selector's, not the path's.
    selected: bool,
}

fn plain_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "unknown",
    }
}

impl RequestInfo {
    /// Reads method, path and query.
    #[must_use]
    pub fn parse(method: &Method, uri: &http::Uri) -> Self {
        let path = uri.path();
        let mut info = RequestInfo {
            path: path.to_owned(),
            verb: plain_verb(method),
            query: Query::parse(uri.query().unwrap_or_default()),
            ..RequestInfo::default()
        };
        let parts: Vec<String> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .map(|p| decode(p, false))
            .collect();
        let rest = match parts.as_slice() {
            [api, version, rest @ ..] if api == "api" && !rest.is_empty() => {
                info.version.clone_from(version);
                rest
            }
            [apis, group, version, rest @ ..] if apis == "apis" && !rest.is_empty() => {
                info.group.clone_from(group);
                info.version.clone_from(version);
                rest
            }
            _ => return info,
        };
        info.is_resource = true;
        info.verb = match *method {
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        let mut rest = rest;
        let mut old_watch = false;
        if let [first, more @ ..] = rest
            && first == "watch"
            && !more.is_empty()
        {
            old_watch = true;
            rest = more;
        }
        match rest {
            [namespaces, namespace, more @ ..] if namespaces == "namespaces" => {
                info.namespace.clone_from(namespace);
                let own = more.is_empty()
                    || matches!(more, [sub] if sub == "status" || sub == "finalize");
                if !own || !info.group.is_empty() {
                    rest = more;
                }
            }
            _ => {}
        }
        if let Some(resource) = rest.first() {
            info.resource.clone_from(resource);
        }
        if let Some(name) = rest.get(1) {
            info.name.clone_from(name);
        }
        if let Some(subresource) = rest.get(2) {
            info.subresource.clone_from(subresource);
        }
        info.tail = rest.get(3..).unwrap_or_default().to_vec();
        info.settle_verb(old_watch);
        info
    }

    /// Without a name, a get is a list or a watch, and a delete takes the whole collection.
    fn settle_verb(&mut self, old_watch: bool) {
        if old_watch && self.verb == "get" {
            self.verb = "watch";
        } else if self.name.is_empty() && self.verb == "get" {
            self.verb = if self.query.flag("watch") {
                "watch"
            } else {
                "list"
            };
        } else if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection";
        }
        // A selector of one name narrows what is asked for, so a rule with resourceNames can allow it.
        if self.name.is_empty()
            && matches!(self.verb, "list" | "watch" | "deletecollection")
            && let Some(name) = self.query.get("fieldSelector").and_then(single_name)
        {
            self.name = name;
            self.selected = true;
        }
    }

    /// Name of the object in the URL's path; empty when the name comes from a field selector.
    #[must_use]
    pub fn path_name(&self) -> &str {
        if self.selected { "" } else { &self.name }
    }
}

/// The one name that a selector lets through. Read by the parser that the selection itself uses: a value may hold
/// escaped commas, and `type!=a\,metadata.name=x` pins no name at all.
fn single_name(selector: &str) -> Option<String> {
    let selector = FieldSelector::parse(selector).ok()?;
    let name = selector.exact("metadata.name")?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &Method, uri: &str) -> RequestInfo {
        RequestInfo::parse(method, &uri.parse().unwrap())
    }

    #[test]
    fn resources_are_recognized() {
        let i = info(&Method::GET, "/api/v1/namespaces/a/pods/p/log?follow=true");
        assert_eq!(
            (
                i.verb,
                i.namespace.as_str(),
                i.resource.as_str(),
                i.name.as_str(),
                i.subresource.as_str()
            ),
            ("get", "a", "pods", "p", "log")
        );
        let i = info(&Method::GET, "/apis/kubevirt.io/v1/virtualmachines?watch=1");
        assert_eq!(
            (i.verb, i.group.as_str(), i.resource.as_str()),
            ("watch", "kubevirt.io", "virtualmachines")
        );
        let i = info(&Method::DELETE, "/api/v1/namespaces/a/pods");
        assert_eq!(i.verb, "deletecollection");
        let i = info(
            &Method::GET,
            "/apis/subresources.kubevirt.io/v1/namespaces/n/virtualmachineinstances/v/portforward/22/tcp",
        );
        assert_eq!(
            (i.subresource.as_str(), i.tail.as_slice()),
            (
                "portforward",
                ["22".to_owned(), "tcp".to_owned()].as_slice()
            )
        );
    }

    #[test]
    fn a_namespace_lies_in_itself() {
        let i = info(&Method::PUT, "/api/v1/namespaces/a/finalize");
        assert_eq!(
            (
                i.resource.as_str(),
                i.name.as_str(),
                i.namespace.as_str(),
                i.subresource.as_str()
            ),
            ("namespaces", "a", "a", "finalize")
        );
        let i = info(&Method::GET, "/api/v1/namespaces");
        assert_eq!((i.verb, i.resource.as_str()), ("list", "namespaces"));
    }

    #[test]
    fn other_paths_are_paths() {
        let i = info(&Method::GET, "/apis/apps/v1");
        assert!(!i.is_resource);
        assert_eq!(i.verb, "get");
        assert!(!info(&Method::GET, "/healthz").is_resource);
    }

    #[test]
    fn a_selected_name_counts_for_authorization() {
        let i = info(
            &Method::GET,
            "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dx",
        );
        assert_eq!((i.verb, i.name.as_str(), i.path_name()), ("list", "x", ""));
        // An escaped comma belongs to the value: this selects every Secret but one type.
        let i = info(
            &Method::GET,
            "/api/v1/namespaces/a/secrets?fieldSelector=type!%3Da%5C%2Cmetadata.name%3Dx",
        );
        assert_eq!((i.verb, i.name.as_str()), ("list", ""));
        let i = info(
            &Method::GET,
            "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name!%3Dx",
        );
        assert_eq!(i.name, "");
        let i = info(&Method::GET, "/api/v1/watch/namespaces/a/pods/p");
        assert_eq!((i.verb, i.path_name()), ("watch", "p"));
        let i = info(
            &Method::GET,
            "/api/v1/watch/pods?fieldSelector=metadata.name%3Dp",
        );
        assert_eq!((i.verb, i.name.as_str(), i.path_name()), ("watch", "p", ""));
        let i = info(&Method::GET, "/api/v1/%77atch/namespaces/a/secrets/p");
        assert_eq!((i.verb, i.path_name()), ("watch", "p"));
    }
}
