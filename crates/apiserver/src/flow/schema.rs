//! A FlowSchema: which requests it takes, and what a flow is in it. Pure.

use std::sync::Arc;

use ::authz::User;
use http::HeaderValue;
use serde_json::Value;

use super::stats::SchemaStats;
use crate::request::RequestInfo;

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distinguisher {
    /// All its requests are one flow.
    None,
    ByUser,
    ByNamespace,
}

#[derive(Debug, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Subject {
    fn parse(value: &Value) -> Option<Self> {
        let name = |at: &str| value.pointer(at)?.as_str().map(str::to_owned);
        Some(match value.get("kind")?.as_str()? {
            "User" => Subject::User(name("/user/name")?),
            "Group" => Subject::Group(name("/group/name")?),
            "ServiceAccount" => Subject::ServiceAccount {
                namespace: name("/serviceAccount/namespace")?,
                name: name("/serviceAccount/name")?,
            },
            _ => return None,
        })
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == user.name,
            Subject::Group(name) => name == "*" || user.in_group(name),
            Subject::ServiceAccount { namespace, name } => user
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(ns, account)| ns == namespace && (name == "*" || account == name)),
        }
    }
}

#[derive(Debug, Default)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster_scope: bool,
}

#[derive(Debug, Default)]
struct PathRule {
    verbs: Vec<String>,
    urls: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FlowSchema {
    pub name: String,
    /// The uid, for the answer's header.
    pub uid_header: HeaderValue,
    /// The smallest that matches decides.
    pub precedence: i64,
    /// Name of its priority level.
    pub level: String,
    pub distinguisher: Distinguisher,
    /// Shared with earlier and later forms of the schema.
    pub stats: Arc<SchemaStats>,
    rules: Vec<Rule>,
}

/// A uid as the value of a header.
pub(super) fn uid_header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let items = value.get(key).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn parts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl FlowSchema {
    /// Reads an object; `None` when it is none that was validated.
    pub(crate) fn parse(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let rules = parts(spec, "rules").map(|rule| Rule {
            subjects: parts(rule, "subjects").filter_map(Subject::parse).collect(),
            resources: parts(rule, "resourceRules")
                .map(|r| ResourceRule {
                    verbs: texts(r, "verbs"),
                    groups: texts(r, "apiGroups"),
                    resources: texts(r, "resources"),
                    namespaces: texts(r, "namespaces"),
                    cluster_scope: r.get("clusterScope").is_some_and(|v| v == true),
                })
                .collect(),
            paths: parts(rule, "nonResourceRules")
                .map(|r| PathRule {
                    verbs: texts(r, "verbs"),
                    urls: texts(r, "nonResourceURLs"),
                })
                .collect(),
        });
        let text = |at: &str| object.pointer(at).and_then(Value::as_str);
        Some(FlowSchema {
            name: text("/metadata/name")?.to_owned(),
            uid_header: uid_header(text("/metadata/uid").unwrap_or_default()),
            precedence: spec
                .get("matchingPrecedence")
                .and_then(Value::as_i64)
                .unwrap_or(1000),
            level: text("/spec/priorityLevelConfiguration/name")?.to_owned(),
            distinguisher: match text("/spec/distinguisherMethod/type") {
                Some("ByUser") => Distinguisher::ByUser,
                Some("ByNamespace") => Distinguisher::ByNamespace,
                _ => Distinguisher::None,
            },
            stats: Arc::default(),
            rules: rules.collect(),
        })
    }

    /// Whether it takes a request.
    pub(crate) fn matches(&self, info: &RequestInfo, user: &User) -> bool {
        self.rules.iter().any(|rule| {
            let fits = if info.is_resource {
                rule.resources.iter().any(|r| r.matches(info))
            } else {
                rule.paths.iter().any(|r| r.matches(info))
            };
            fits && rule.subjects.iter().any(|subject| subject.is(user))
        })
    }

    /// What tells this request's flow from the others of the schema.
    pub(crate) fn flow<'a>(&self, info: &'a RequestInfo, user: &'a User) -> &'a str {
        match self.distinguisher {
            Distinguisher::None => "",
            Distinguisher::ByUser => &user.name,
            Distinguisher::ByNamespace => &info.namespace,
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let in_scope = if info.namespace.is_empty() {
            self.cluster_scope
        } else {
            has(&self.namespaces, &info.namespace)
        };
        in_scope
            && has(&self.verbs, info.verb)
            && has(&self.groups, &info.group)
            && self.resources.iter().any(|pattern| {
                pattern == "*"
                    || match pattern.split_once('/') {
                        None => info.subresource.is_empty() && *pattern == info.resource,
                        Some((resource, subresource)) => {
                            (resource == "*" || resource == info.resource)
                                && !info.subresource.is_empty()
                                && (subresource == "*" || subresource == info.subresource)
                        }
                    }
            })
    }
}

impl PathRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        has(&self.verbs, info.verb)
            && self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => info.path.starts_with(prefix),
                None => *url == info.path,
            })
    }
}
