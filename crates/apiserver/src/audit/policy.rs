//! An audit policy (`audit.k8s.io/v1`): what is logged of which request. Pure.
//!
//! The first rule that matches decides; a request that none matches is not logged. Unknown fields are errors: a
//! misspelt rule would log too little without a word.

use ::authz::User;
use serde_json::Value;

use crate::request::RequestInfo;

/// How much of a request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// A moment of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

const LEVELS: [Level; 4] = [
    Level::None,
    Level::Metadata,
    Level::Request,
    Level::RequestResponse,
];
const STAGES: [Stage; 4] = [
    Stage::RequestReceived,
    Stage::ResponseStarted,
    Stage::ResponseComplete,
    Stage::Panic,
];

/// Why a policy cannot be used, with the place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// It is not YAML; the message names line and column.
    #[error("the audit policy is not YAML: {0}")]
    Yaml(String),
    /// A field is wrong.
    #[error("audit policy, {at}: {problem}")]
    Field {
        /// The field, such as `rules[2].level`.
        at: String,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Debug, Default)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    level: Level,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    urls: Vec<String>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

/// See the module.
#[derive(Debug)]
pub struct AuditPolicy {
    rules: Vec<Rule>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
}

/// What a policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

/// A part of the policy with its place.
struct At<'a> {
    value: &'a Value,
    at: String,
}

impl<'a> At<'a> {
    fn error(&self, field: &str, problem: impl Into<String>) -> PolicyError {
        let at = match (self.at.as_str(), field) {
            ("", field) => field.to_owned(),
            (at, "") => at.to_owned(),
            (at, field) => format!("{at}.{field}"),
        };
        PolicyError::Field {
            at,
            problem: problem.into(),
        }
    }

    fn known(&self, fields: &[&str]) -> Result<(), PolicyError> {
        let Some(map) = self.value.as_object() else {
            return Err(self.error("", "is no object"));
        };
        match map.keys().find(|key| !fields.contains(&key.as_str())) {
            Some(key) => Err(self.error(key, "unknown field")),
            None => Ok(()),
        }
    }

    fn list(&self, field: &str) -> Result<Vec<At<'a>>, PolicyError> {
        match self.value.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, value)| At {
                    value,
                    at: match self.at.as_str() {
                        "" => format!("{field}[{index}]"),
                        at => format!("{at}.{field}[{index}]"),
                    },
                })
                .collect()),
            Some(_) => Err(self.error(field, "is no list")),
        }
    }

    fn texts(&self, field: &str) -> Result<Vec<String>, PolicyError> {
        let text = |item: At<'_>| match item.value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(item.error("", "is no text")),
        };
        self.list(field)?.into_iter().map(text).collect()
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, PolicyError> {
        match self.value.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.error(field, "is neither true nor false")),
        }
    }

    fn stages(&self) -> Result<Vec<Stage>, PolicyError> {
        let stage = |item: At<'_>| {
            let found = STAGES.into_iter().find(|s| *item.value == s.name());
            found.ok_or_else(|| {
                item.error(
                    "",
                    "is none of RequestReceived, ResponseStarted, ResponseComplete, Panic",
                )
            })
        };
        self.list("omitStages")?.into_iter().map(stage).collect()
    }
}

impl AuditPolicy {
    /// Parses a policy file, YAML or JSON.
    ///
    /// # Errors
    /// Names the line, or the rule and the field.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let value: Value =
            serde_saphyr::from_str(text).map_err(|e| PolicyError::Yaml(e.to_string()))?;
        let top = At {
            value: &value,
            at: String::new(),
        };
        top.known(&[
            "apiVersion",
            "kind",
            "metadata",
            "rules",
            "omitStages",
            "omitManagedFields",
        ])?;
        for (field, wanted) in [("apiVersion", "audit.k8s.io/v1"), ("kind", "Policy")] {
            if value.get(field).is_none_or(|v| v != wanted) {
                return Err(top.error(field, format!("must be {wanted:?}")));
            }
        }
        let rules = top.list("rules")?;
        if rules.is_empty() {
            return Err(top.error("rules", "is empty: nothing would be logged"));
        }
        Ok(AuditPolicy {
            rules: rules.iter().map(rule).collect::<Result<_, _>>()?,
            omit_stages: top.stages()?,
            omit_managed_fields: top.flag("omitManagedFields")?.unwrap_or(false),
        })
    }

    /// What is logged of a request.
    pub(crate) fn decide(&self, info: &RequestInfo, user: &User) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(info, user));
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(rule.iter().flat_map(|r| &r.omit_stages));
        Decision {
            level: rule.map_or(Level::None, |r| r.level),
            omit_stages,
            omit_managed_fields: rule
                .and_then(|r| r.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

fn rule(at: &At<'_>) -> Result<Rule, PolicyError> {
    at.known(&[
        "level",
        "users",
        "userGroups",
        "verbs",
        "resources",
        "namespaces",
        "nonResourceURLs",
        "omitStages",
        "omitManagedFields",
    ])?;
    let level = at.value.get("level");
    let level = LEVELS
        .into_iter()
        .find(|l| level.is_some_and(|v| v == l.name()))
        .ok_or_else(|| {
            at.error(
                "level",
                "must be one of None, Metadata, Request, RequestResponse",
            )
        })?;
    let rule = Rule {
        level,
        users: at.texts("users")?,
        groups: at.texts("userGroups")?,
        verbs: at.texts("verbs")?,
        resources: at
            .list("resources")?
            .iter()
            .map(resources)
            .collect::<Result<_, _>>()?,
        namespaces: at.texts("namespaces")?,
        urls: at.texts("nonResourceURLs")?,
        omit_stages: at.stages()?,
        omit_managed_fields: at.flag("omitManagedFields")?,
    };
    let names_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if names_resources && !rule.urls.is_empty() {
        return Err(at.error(
            "nonResourceURLs",
            "rules cannot apply to both regular resources and non-resource URLs",
        ));
    }
    for (index, url) in rule.urls.iter().enumerate() {
        let body = url.strip_suffix('*').unwrap_or(url);
        if url != "*" && !url.starts_with('/') || body.contains('*') {
            return Err(at.error(
                &format!("nonResourceURLs[{index}]"),
                "must begin with '/', and may have '*' at its end alone",
            ));
        }
    }
    Ok(rule)
}

fn resources(at: &At<'_>) -> Result<Resources, PolicyError> {
    at.known(&["group", "resources", "resourceNames"])?;
    let group = match at.value.get("group") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(group)) if !group.contains('/') => group.clone(),
        Some(_) => {
            return Err(at.error("group", "is no name of a group (without a version)"));
        }
    };
    let parsed = Resources {
        group,
        resources: at.texts("resources")?,
        names: at.texts("resourceNames")?,
    };
    if !parsed.names.is_empty() && parsed.resources.is_empty() {
        return Err(at.error(
            "resourceNames",
            "using resourceNames requires at least one resource",
        ));
    }
    Ok(parsed)
}

impl Rule {
    fn matches(&self, info: &RequestInfo, user: &User) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted);
        if !self.users.is_empty() && !has(&self.users, &user.name) {
            return false;
        }
        if !self.groups.is_empty() && !self.groups.iter().any(|g| user.in_group(g)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, info.verb) && !has(&self.verbs, "*") {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && (self.namespaces.is_empty() || has(&self.namespaces, &info.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.covers(info)));
        }
        if !self.urls.is_empty() {
            return !info.is_resource
                && self.urls.iter().any(|url| match url.strip_suffix('*') {
                    Some(prefix) => info.path.starts_with(prefix),
                    None => *url == info.path,
                });
        }
        true
    }
}

impl Resources {
    fn covers(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if !self.names.is_empty() && !self.names.contains(&info.name) {
            return false;
        }
        self.resources.is_empty()
            || self
                .resources
                .iter()
                .any(|pattern| match pattern.split_once('/') {
                    None => {
                        pattern == "*" || info.subresource.is_empty() && *pattern == info.resource
                    }
                    Some((resource, subresource)) => {
                        // `pods/*` is the Pods too, as in Kubernetes.
                        let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
                        fits(resource, &info.resource)
                            && fits(subresource, &info.subresource)
                            && (resource != "*" || !info.subresource.is_empty())
                    }
                })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Result<AuditPolicy, PolicyError> {
        AuditPolicy::parse(&format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n{rules}"
        ))
    }

    fn level(policy: &AuditPolicy, method: &http::Method, path: &str, user: &User) -> Level {
        let info = RequestInfo::parse(method, &path.parse().unwrap());
        policy.decide(&info, user).level
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(
            r#"
- {level: None, users: [system:kube-proxy], verbs: [watch]}
- {level: None, nonResourceURLs: ["/healthz*", /version]}
- {level: Metadata, resources: [{group: "", resources: [secrets, pods/log, "*/token"]}]}
- {level: Request, namespaces: [kube-system, ""], resources: [{resources: [configmaps], resourceNames: [c]}]}
- {level: RequestResponse, userGroups: [ops], resources: [{group: apps}, {group: batch, resources: ["jobs/*"]}]}
- {level: Metadata, omitStages: [ResponseStarted], omitManagedFields: true}
"#,
        )
        .unwrap();
        let get = &http::Method::GET;
        let joe = User::new("joe", &["ops"]);
        let proxy = User::new("system:kube-proxy", &[]);
        assert_eq!(
            level(&policy, get, "/api/v1/pods?watch=1", &proxy),
            Level::None
        );
        assert_eq!(level(&policy, get, "/api/v1/pods", &proxy), Level::Metadata);
        assert_eq!(level(&policy, get, "/healthz/etcd", &joe), Level::None);
        assert_eq!(level(&policy, get, "/version", &joe), Level::None);
        assert_eq!(level(&policy, get, "/versions", &joe), Level::Metadata);
        let of = |path: &str| level(&policy, get, path, &joe);
        let ns = "/api/v1/namespaces/kube-system";
        assert_eq!(of(&format!("{ns}/configmaps/c")), Level::Request);
        assert_eq!(of(&format!("{ns}/configmaps/d")), Level::Metadata);
        assert_eq!(
            of("/apis/apps/v1/namespaces/n/deployments/d/scale"),
            Level::RequestResponse
        );
        assert_eq!(
            of("/apis/batch/v1/namespaces/n/jobs/j/status"),
            Level::RequestResponse
        );
        assert_eq!(
            of("/apis/batch/v1/namespaces/n/jobs/j"),
            Level::RequestResponse
        );
        let info = RequestInfo::parse(get, &"/api/v1/nodes".parse().unwrap());
        let decision = policy.decide(&info, &joe);
        assert_eq!(
            decision.omit_stages,
            [Stage::RequestReceived, Stage::ResponseStarted]
        );
        assert!(decision.omit_managed_fields);
    }

    #[test]
    fn errors_name_the_place() {
        let message = |rules: &str| policy(rules).unwrap_err().to_string();
        assert_eq!(
            message("- {level: Metadata}\n- {level: Loud}\n"),
            "audit policy, rules[1].level: must be one of None, Metadata, Request, RequestResponse"
        );
        assert_eq!(
            message("- {level: Metadata, user: [joe]}\n"),
            "audit policy, rules[0].user: unknown field"
        );
        assert_eq!(
            message("- {level: Metadata, resources: [{group: apps/v1}]}\n"),
            "audit policy, rules[0].resources[0].group: is no name of a group (without a version)"
        );
        assert!(
            message("- {level: None, nonResourceURLs: [healthz]}\n")
                .contains("rules[0].nonResourceURLs[0]")
        );
        assert!(
            message("- {level: None, omitStages: [Later]}\n").contains("rules[0].omitStages[0]")
        );
        assert!(message("- level: [\n").contains("not YAML"));
        assert!(message("[]").contains("rules"));
    }
}
