//! Which requests a policy or binding concerns: resource rules and selectors.

use apimachinery::meta;
use apimachinery::selector::LabelSelector;
use serde_json::Value as Json;

use super::compile::{list, text};

/// `MatchResources` of a policy or binding.
#[derive(Debug)]
pub struct Matcher {
    rules: Vec<ResourceRule>,
    exclude: Vec<ResourceRule>,
    objects: LabelSelector,
    namespaces: LabelSelector,
    equivalent: bool,
}

#[derive(Debug)]
struct ResourceRule {
    names: Vec<String>,
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// The request that is matched.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub operation: &'a str,
    /// API group.
    pub group: &'a str,
    /// Version of the request.
    pub version: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// `status`, ..., or empty.
    pub subresource: &'a str,
    /// Name of the object; may be empty.
    pub name: &'a str,
    /// Whether the kind lies in namespaces.
    pub namespaced: bool,
    /// The object as it will be.
    pub object: Option<&'a Json>,
    /// The object as it was.
    pub old_object: Option<&'a Json>,
    /// The namespace of the object (or the object itself, if that is a namespace).
    pub namespace: Option<&'a Json>,
}

impl Matcher {
    /// Reads `MatchResources`. A selector that cannot be read matches nothing; admission has refused it.
    #[must_use]
    pub fn read(given: &Json) -> Matcher {
        let rules = |key: &str| list(given, key).iter().map(ResourceRule::read).collect();
        let selector = |key: &str| match given.get(key) {
            None | Some(Json::Null) => LabelSelector::everything(),
            Some(given) => {
                LabelSelector::from_json(given).unwrap_or_else(|_| LabelSelector::nothing())
            }
        };
        Matcher {
            rules: rules("resourceRules"),
            exclude: rules("excludeResourceRules"),
            objects: selector("objectSelector"),
            namespaces: selector("namespaceSelector"),
            equivalent: text(given, "matchPolicy") != "Exact",
        }
    }

    /// Whether a policy with these constraints concerns the request.
    #[must_use]
    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.rules.iter().any(|rule| self.rule(rule, request)) && self.narrows(request)
    }

    /// Whether a binding with these resources concerns a request that its policy concerns: without
    /// rules it does.
    #[must_use]
    pub fn admits(&self, request: &Request<'_>) -> bool {
        (self.rules.is_empty() || self.rules.iter().any(|rule| self.rule(rule, request)))
            && self.narrows(request)
    }

    fn narrows(&self, request: &Request<'_>) -> bool {
        !self.exclude.iter().any(|rule| self.rule(rule, request))
            && self.namespace(request)
            && self.object(request)
    }

    fn rule(&self, rule: &ResourceRule, request: &Request<'_>) -> bool {
        rule.matches(request, self.equivalent)
    }

    fn namespace(&self, request: &Request<'_>) -> bool {
        if self.namespaces.is_everything() {
            return true;
        }
        match request.namespace {
            Some(namespace) => meta::labels(namespace).map_or_else(
                || self.namespaces.matches(&serde_json::Map::new()),
                |labels| self.namespaces.matches(labels),
            ),
            // Cluster-wide objects are in no namespace and never left out.
            None => !request.namespaced,
        }
    }

    fn object(&self, request: &Request<'_>) -> bool {
        if self.objects.is_everything() {
            return true;
        }
        [request.object, request.old_object]
            .into_iter()
            .flatten()
            .any(|object| match meta::labels(object) {
                Some(labels) => self.objects.matches(labels),
                None => self.objects.matches(&serde_json::Map::new()),
            })
    }
}

impl ResourceRule {
    fn read(given: &Json) -> ResourceRule {
        let texts = |key: &str| {
            list(given, key)
                .iter()
                .filter_map(Json::as_str)
                .map(str::to_owned)
                .collect()
        };
        ResourceRule {
            names: texts("resourceNames"),
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: text(given, "scope").to_owned(),
        }
    }

    fn matches(&self, request: &Request<'_>, equivalent: bool) -> bool {
        let any =
            |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        let scope = match self.scope.as_str() {
            "Namespaced" => request.namespaced || request.resource == "namespaces",
            "Cluster" => !request.namespaced,
            _ => true,
        };
        scope
            && any(&self.operations, request.operation)
            && any(&self.groups, request.group)
            // All versions of a resource are stored as one, so they are equivalent.
            && (equivalent || any(&self.versions, request.version))
            && self.resources.iter().any(|given| resource(given, request))
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
    }
}

/// `pods`, `pods/status`, `*`, `*/*`, `pods/*`, `*/scale`.
fn resource(given: &str, request: &Request<'_>) -> bool {
    let (resource, subresource) = given.split_once('/').unwrap_or((given, ""));
    let fits = |given: &str, wanted: &str| given == "*" || given == wanted;
    fits(resource, request.resource) && fits(subresource, request.subresource)
}
