//! What is asked (`Attributes`), by whom (`User`), and what was decided (`Decision`).

use std::collections::BTreeMap;

use apimachinery::quote::quoted;
use serde::{Deserialize, Serialize};

/// The group that every check lets pass, whatever the stored policy says.
pub const SYSTEM_MASTERS: &str = "system:masters";

/// An authenticated identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct User {
    /// The name, e.g. `jane` or `system:serviceaccount:ns:name`.
    #[serde(rename = "username")]
    pub name: String,
    /// Stable id, empty when the authenticator knows none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups, `system:authenticated` included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Further facts of the authenticator.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with a name and groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        User {
            name: name.into(),
            groups: groups.iter().map(|&g| g.to_owned()).collect(),
            ..User::default()
        }
    }

    /// The identity of a service account with the groups that come with it.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            ..User::default()
        }
    }

    /// Who sends a request without credentials.
    pub fn anonymous() -> Self {
        User::new("system:anonymous", &["system:unauthenticated"])
    }

    /// Whether the user belongs to `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Whether every check lets the user pass (`system:masters`).
    pub fn is_privileged(&self) -> bool {
        self.in_group(SYSTEM_MASTERS)
    }
}

/// One question to the authorizer. Empty strings stand for "none".
///
/// `name` is empty for `create` of a top-level resource (the name is in the body) and for `list`, `watch` and
/// `deletecollection` unless a field selector `metadata.name=x` narrows them to one object.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// `get`, `list`, `create`, ... for resources; the lower-case HTTP method for paths.
    pub verb: &'a str,
    /// API group, empty for the core group.
    pub group: &'a str,
    /// API version; rules never look at it.
    pub version: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource; may itself contain slashes (`vnc/screenshot`).
    pub subresource: &'a str,
    /// Namespace; empty for cluster-wide requests.
    pub namespace: &'a str,
    /// Object name.
    pub name: &'a str,
    /// Path of a request that is not for a resource.
    pub path: &'a str,
    /// Whether this is about a resource (else about `path`).
    pub is_resource: bool,
}

impl<'a> Attributes<'a> {
    /// A question about a resource; refine with struct update syntax or the fields.
    pub fn resource(user: &'a User, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Attributes {
            user,
            verb,
            group,
            version: "*",
            resource,
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            is_resource: true,
        }
    }

    /// A question about a path such as `/metrics`.
    pub fn path(user: &'a User, verb: &'a str, path: &'a str) -> Self {
        Attributes {
            path,
            is_resource: false,
            ..Attributes::resource(user, verb, "", "")
        }
    }

    /// The same question in a namespace.
    pub fn in_namespace(self, namespace: &'a str) -> Self {
        Attributes { namespace, ..self }
    }

    /// The same question about one object.
    pub fn named(self, name: &'a str) -> Self {
        Attributes { name, ..self }
    }

    /// The same question about a subresource.
    pub fn on_subresource(self, subresource: &'a str) -> Self {
        Attributes {
            subresource,
            ..self
        }
    }

    /// The text of a 403 after `... is forbidden: ` (or `forbidden: ` for paths), as kube-apiserver words it:
    /// `User "joe" cannot list resource "pods" in API group "" in the namespace "ns"`.
    pub fn denial(&self) -> String {
        let user = quoted(&self.user.name);
        if !self.is_resource {
            return format!(
                "User {user} cannot {} path {}",
                self.verb,
                quoted(self.path)
            );
        }
        let resource = if self.subresource.is_empty() {
            quoted(self.resource)
        } else {
            quoted(&format!("{}/{}", self.resource, self.subresource))
        };
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", quoted(self.namespace))
        };
        format!(
            "User {user} cannot {} resource {resource} in API group {} {scope}",
            self.verb,
            quoted(self.group)
        )
    }
}

/// The answer of an authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and by what.
    Allow {
        /// Names the binding that grants.
        reason: String,
    },
    /// Nothing grants it; another authorizer may.
    NoOpinion {
        /// Why nothing could be said, usually empty.
        reason: String,
    },
    /// Forbidden, whatever others say. RBAC never answers this.
    Deny,
}

impl Decision {
    /// Whether the request may go on.
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow { .. })
    }
}
