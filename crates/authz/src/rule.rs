//! One policy rule: what it matches, what it covers, how it prints.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attributes::Attributes;
use crate::quote::quoted_list;

/// `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyRule {
    /// Verbs; `*` is all.
    pub verbs: Vec<String>,
    /// API groups; `*` is all, empty string the core group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names of objects; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths; a trailing `*` matches any rest.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

fn owned(items: &[&str]) -> Vec<String> {
    items.iter().map(|&s| s.to_owned()).collect()
}

fn has(set: &[String], item: &str) -> bool {
    set.iter().any(|s| s == item)
}

fn has_or_all(set: &[String], item: &str) -> bool {
    set.iter().any(|s| s == item || s == "*")
}

impl PolicyRule {
    /// A rule about resources.
    pub fn resources(verbs: &[&str], api_groups: &[&str], resources: &[&str]) -> Self {
        PolicyRule {
            verbs: owned(verbs),
            api_groups: owned(api_groups),
            resources: owned(resources),
            ..PolicyRule::default()
        }
    }

    /// A rule about paths.
    pub fn urls(verbs: &[&str], urls: &[&str]) -> Self {
        PolicyRule {
            verbs: owned(verbs),
            non_resource_urls: owned(urls),
            ..PolicyRule::default()
        }
    }

    /// Everything: what a user must hold to write an `aggregationRule`.
    pub fn full_authority() -> [PolicyRule; 2] {
        [
            PolicyRule::resources(&["*"], &["*"], &["*"]),
            PolicyRule::urls(&["*"], &["*"]),
        ]
    }

    /// The same rule for these object names only.
    pub fn with_names(mut self, names: &[&str]) -> Self {
        self.resource_names = owned(names);
        self
    }

    /// Reads a rule; `None` when it is malformed. A list that cannot be read must not count as empty: an empty
    /// `resourceNames` would grant more than was written.
    pub fn from_value(value: &Value) -> Option<PolicyRule> {
        let object = value.as_object()?;
        let list = |key: &str| -> Option<Vec<String>> {
            match object.get(key) {
                None | Some(Value::Null) => Some(Vec::new()),
                Some(Value::Array(items)) => items
                    .iter()
                    .map(|i| i.as_str().map(str::to_owned))
                    .collect(),
                Some(_) => None,
            }
        };
        Some(PolicyRule {
            verbs: list("verbs")?,
            api_groups: list("apiGroups")?,
            resources: list("resources")?,
            resource_names: list("resourceNames")?,
            non_resource_urls: list("nonResourceURLs")?,
        })
    }

    /// The readable rules of a Role or ClusterRole object.
    pub fn of_role(role: &Value) -> Vec<PolicyRule> {
        role.get("rules")
            .and_then(Value::as_array)
            .map(|rules| rules.iter().filter_map(PolicyRule::from_value).collect())
            .unwrap_or_default()
    }

    /// The JSON form.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, a: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, a.verb) {
            return false;
        }
        if !a.is_resource {
            return self.non_resource_urls.iter().any(|u| url_covers(u, a.path));
        }
        has_or_all(&self.api_groups, a.group)
            && self
                .resources
                .iter()
                .any(|r| resource_matches(r, a.resource, a.subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, a.name))
    }

    /// Whether this rule alone grants all that the simple rule `other` grants.
    fn covers(&self, other: &PolicyRule) -> bool {
        let all = |own: &[String], asked: &[String]| {
            has(own, "*") || asked.iter().all(|item| has(own, item))
        };
        let names = if other.resource_names.is_empty() {
            self.resource_names.is_empty()
        } else {
            self.resource_names.is_empty()
                || other
                    .resource_names
                    .iter()
                    .all(|n| has(&self.resource_names, n))
        };
        let resource = |asked: &String| {
            self.resources.iter().any(|own| {
                own == "*"
                    || own == asked
                    || match (own.strip_prefix("*/"), asked.split_once('/')) {
                        (Some(own_sub), Some((_, asked_sub))) => own_sub == asked_sub,
                        _ => false,
                    }
            })
        };
        let url = |asked: &String| self.non_resource_urls.iter().any(|u| url_covers(u, asked));
        names
            && all(&self.verbs, &other.verbs)
            && all(&self.api_groups, &other.api_groups)
            && other.resources.iter().all(resource)
            && other.non_resource_urls.iter().all(url)
    }

    /// The rule as a set of rules with one value per list; each is granted or not as a whole.
    fn parts(&self) -> impl Iterator<Item = PolicyRule> + '_ {
        let names: Vec<Option<&String>> = if self.resource_names.is_empty() {
            vec![None]
        } else {
            self.resource_names.iter().map(Some).collect()
        };
        let resources = self.api_groups.iter().flat_map(move |group| {
            let names = names.clone();
            self.resources.iter().flat_map(move |resource| {
                let names = names.clone();
                self.verbs.iter().flat_map(move |verb| {
                    names.clone().into_iter().map(move |name| PolicyRule {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names: name.cloned().into_iter().collect(),
                        non_resource_urls: Vec::new(),
                    })
                })
            })
        });
        let urls = self.non_resource_urls.iter().flat_map(move |url| {
            self.verbs.iter().map(move |verb| PolicyRule {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..PolicyRule::default()
            })
        });
        resources.chain(urls)
    }
}

fn resource_matches(own: &str, resource: &str, subresource: &str) -> bool {
    if own == "*" {
        return true;
    }
    if subresource.is_empty() {
        return own == resource;
    }
    match own.split_once('/') {
        Some((r, sub)) => sub == subresource && (r == "*" || r == resource),
        None => false,
    }
}

fn url_covers(own: &str, asked: &str) -> bool {
    own == "*"
        || own == asked
        || (own.ends_with('*') && asked.starts_with(own.trim_end_matches('*')))
}

/// The parts of `asked` that `held` does not cover, one value per list, in order.
pub fn uncovered(held: &[PolicyRule], asked: &[PolicyRule]) -> Vec<PolicyRule> {
    asked
        .iter()
        .flat_map(PolicyRule::parts)
        .filter(|part| !held.iter().any(|own| own.covers(part)))
        .collect()
}

/// Joins the verbs of rules for one group and one resource without names; keeps all others as they are.
pub fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut out: Vec<PolicyRule> = Vec::with_capacity(rules.len());
    let mut seen = std::collections::HashMap::<(String, String), usize>::new();
    for rule in rules {
        let simple = match (rule.api_groups.as_slice(), rule.resources.as_slice()) {
            ([g], [r]) if rule.resource_names.is_empty() && rule.non_resource_urls.is_empty() => {
                Some((g.clone(), r.clone()))
            }
            _ => None,
        };
        let Some(key) = simple else {
            out.push(rule);
            continue;
        };
        match seen.get(&key).and_then(|&i| out.get_mut(i)) {
            Some(kept) => {
                for verb in rule.verbs {
                    if !has(&kept.verbs, &verb) {
                        kept.verbs.push(verb);
                    }
                }
            }
            None => {
                seen.insert(key, out.len());
                out.push(rule);
            }
        }
    }
    out
}

impl std::fmt::Display for PolicyRule {
    /// `{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}`, empty lists left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name}:{}", quoted_list(list)))
        .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}
