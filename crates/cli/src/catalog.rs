//! What the server serves, and the paths of its objects.
//!
//! Two requests (aggregated discovery) tell all kinds, with short names. A TYPE on the command line is a
//! plural, singular, short name or kind, alone or as `plural.group` or `plural.version.group`; the first
//! match in the server's order wins, full names before short ones.

use std::fmt::Write as _;

use kube::api::{Api, ApiResource, DynamicObject};
use kube::client::APIGroupDiscoveryList;

use crate::error::Error;
use crate::session::Session;

/// One kind that is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
}

impl Resource {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    fn with_group(&self, name: &str) -> String {
        if self.group.is_empty() {
            name.to_owned()
        } else {
            format!("{name}.{}", self.group)
        }
    }

    /// `virtualmachines.kubevirt.io`.
    pub(crate) fn plural_name(&self) -> String {
        self.with_group(&self.plural)
    }

    /// `virtualmachine.kubevirt.io`.
    pub(crate) fn singular_name(&self) -> String {
        let own = self.kind.to_lowercase();
        self.with_group(&own)
    }

    /// The path of the collection, in one namespace or in all.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            let _ = write!(path, "/namespaces/{}", encode(namespace));
        }
        let _ = write!(path, "/{}", self.plural);
        path
    }

    /// The path of an object.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), encode(name))
    }

    /// kube's view of it.
    pub(crate) fn api(&self, session: &Session, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        };
        let client = session.client.clone();
        if self.namespaced {
            Api::namespaced_with(client, namespace, &resource)
        } else {
            Api::all_with(client, &resource)
        }
    }
}

/// Percent-encodes what is not unreserved (RFC 3986, 2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `path?a=b&c=d`.
pub(crate) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (n, (key, value)) in query.iter().enumerate() {
        out.push(if n == 0 { '?' } else { '&' });
        let _ = write!(out, "{key}={}", encode(value));
    }
    out
}

/// Everything that is served, in the server's order of preference.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    resources: Vec<Resource>,
}

impl Catalog {
    pub(crate) async fn fetch(session: &Session) -> Result<Self, Error> {
        let doing = "asking the server which types it has";
        let core = session.client.list_core_api_versions_aggregated().await;
        let core = core.map_err(session.failed(doing))?;
        let groups = session.client.list_api_groups_aggregated().await;
        let groups = groups.map_err(session.failed(doing))?;
        Ok(Self::from_lists([core, groups]))
    }

    fn from_lists(lists: [APIGroupDiscoveryList; 2]) -> Self {
        let mut resources = Vec::new();
        for group in lists.into_iter().flat_map(|l| l.items) {
            let group_name = group.metadata.and_then(|m| m.name).unwrap_or_default();
            for version in group.versions {
                let version_name = version.version.unwrap_or_default();
                for found in version.resources {
                    let kind = found.response_kind.and_then(|k| k.kind);
                    let (Some(plural), Some(kind)) = (found.resource, kind) else {
                        continue;
                    };
                    let lists = found.verbs.iter().any(|v| v == "get" || v == "list");
                    if !lists {
                        continue;
                    }
                    resources.push(Resource {
                        group: group_name.clone(),
                        version: version_name.clone(),
                        plural,
                        singular: found.singular_resource.unwrap_or_default(),
                        short_names: found.short_names,
                        kind,
                        namespaced: found.scope.as_deref() == Some("Namespaced"),
                    });
                }
            }
        }
        Self { resources }
    }

    /// The resource that a TYPE means.
    pub(crate) fn by_type(&self, text: &str) -> Result<&Resource, Error> {
        let asked = text.to_lowercase();
        let (name, rest) = asked.split_once('.').unwrap_or((&asked, ""));
        let in_group = |r: &&Resource| {
            rest.is_empty()
                || rest == r.group
                || rest
                    .strip_prefix(r.version.as_str())
                    .and_then(|g| g.strip_prefix('.'))
                    == Some(r.group.as_str())
                || (r.group.is_empty() && rest == r.version)
        };
        let full = |r: &&Resource| {
            r.plural == name || r.singular == name || r.kind.eq_ignore_ascii_case(name)
        };
        let short = |r: &&Resource| r.short_names.iter().any(|s| s == name);
        let all = || self.resources.iter().filter(in_group);
        all()
            .find(full)
            .or_else(|| all().find(short))
            .ok_or_else(|| {
                Error::Refused(format!(
                    "the server doesn't have a resource type {text:?}{}",
                    self.suggestion(name)
                ))
            })
    }

    fn suggestion(&self, name: &str) -> String {
        let start: String = name.chars().take(3).collect();
        let mut near: Vec<&str> = self
            .resources
            .iter()
            .filter(|r| start.len() == 3 && r.plural.starts_with(&start))
            .map(|r| r.plural.as_str())
            .collect();
        near.dedup();
        near.truncate(5);
        if near.is_empty() {
            String::new()
        } else {
            format!("\n  did you mean {}?", near.join(", "))
        }
    }

    /// The resource of a manifest's type.
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|r| r.kind == kind && r.api_version() == api_version)
    }
}

/// `TYPE NAME...`, `TYPE/NAME...` or `TYPE[,TYPE]`: pairs of type and name.
pub(crate) fn targets(arguments: &[String]) -> Result<Vec<(String, Option<String>)>, Error> {
    let usage = |text: &str| Error::Usage(text.to_owned());
    let Some((first, names)) = arguments.split_first() else {
        return Err(usage("a TYPE is needed"));
    };
    if first.contains('/') {
        return arguments
            .iter()
            .map(|a| match a.split_once('/') {
                Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                    Ok((kind.to_owned(), Some(name.to_owned())))
                }
                _ => Err(Error::Usage(format!("{a:?} is not TYPE/NAME"))),
            })
            .collect();
    }
    if names.iter().any(|n| n.contains('/')) {
        return Err(usage("either TYPE NAME... or TYPE/NAME..., not both"));
    }
    let kinds: Vec<&str> = first.split(',').filter(|k| !k.is_empty()).collect();
    if kinds.is_empty() {
        return Err(usage("a TYPE is needed"));
    }
    if names.is_empty() {
        return Ok(kinds.into_iter().map(|k| (k.to_owned(), None)).collect());
    }
    Ok(kinds
        .iter()
        .flat_map(|k| names.iter().map(|n| ((*k).to_owned(), Some(n.clone()))))
        .collect())
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
