//! The index of all grants by subject.
//!
//! ```text
//! cluster:    subject ─► [Grant]             ClusterRoleBinding ─► ClusterRole
//! namespaces: ns ─► subject ─► [Grant]       RoleBinding ─► Role | ClusterRole
//! Grant = (binding, role) ─► rules (shared)
//! ```
//! A request looks at the grants of its user name and of each of its groups, in at most two maps; bindings of
//! other people cost nothing. A binding whose role does not exist grants nothing until a new index is made.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::quote::quoted;
use serde_json::{Value, json};

use crate::attributes::{Attributes, Decision, User};
use crate::quote::quoted_list;
use crate::rule::{PolicyRule, compact, uncovered};
use crate::subject::Subject;

#[derive(Debug)]
struct Grant {
    /// `ClusterRoleBinding "b" of ClusterRole "r"`, for the reason of a decision.
    origin: Arc<str>,
    subject: Subject,
    rules: Arc<[PolicyRule]>,
}

/// Grants by the name they are looked up with. Users and service accounts share a key space, as service
/// accounts are users with reserved names; groups have their own.
#[derive(Debug, Default)]
struct Grants {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

impl Grants {
    fn add(&mut self, grant: Grant) {
        let map = match grant.subject {
            Subject::Group(_) => &mut self.groups,
            _ => &mut self.users,
        };
        map.entry(grant.subject.user_name())
            .or_default()
            .push(grant);
    }

    fn of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Grant> {
        let own = self.users.get(&user.name).into_iter().flatten();
        let groups = user
            .groups
            .iter()
            .flat_map(|group| self.groups.get(group).into_iter().flatten());
        own.chain(groups)
    }
}

/// All grants of a cluster at one moment.
#[derive(Debug, Default)]
pub struct RbacIndex {
    cluster: Grants,
    namespaces: HashMap<String, Grants>,
}

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    path.iter()
        .try_fold(object, |value, key| value.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl RbacIndex {
    /// Builds the index from all objects of the four kinds.
    pub fn from_objects<'a>(
        roles: impl Iterator<Item = &'a Value>,
        cluster_roles: impl Iterator<Item = &'a Value>,
        role_bindings: impl Iterator<Item = &'a Value>,
        cluster_role_bindings: impl Iterator<Item = &'a Value>,
    ) -> Self {
        let read = |role: &Value| -> Arc<[PolicyRule]> { PolicyRule::of_role(role).into() };
        let roles: HashMap<(&str, &str), Arc<[PolicyRule]>> = roles
            .map(|role| {
                let namespace = text(role, &["metadata", "namespace"]);
                ((namespace, text(role, &["metadata", "name"])), read(role))
            })
            .collect();
        let cluster_roles: HashMap<&str, Arc<[PolicyRule]>> = cluster_roles
            .map(|role| (text(role, &["metadata", "name"]), read(role)))
            .collect();

        let mut index = RbacIndex::default();
        for binding in cluster_role_bindings {
            let role = text(binding, &["roleRef", "name"]);
            let rules = match text(binding, &["roleRef", "kind"]) {
                "ClusterRole" => cluster_roles.get(role),
                _ => None,
            };
            if let Some(rules) = rules {
                let name = quoted(text(binding, &["metadata", "name"]));
                let origin = format!("ClusterRoleBinding {name} of ClusterRole {}", quoted(role));
                grant(&mut index.cluster, binding, "", &origin, rules);
            }
        }
        for binding in role_bindings {
            let namespace = text(binding, &["metadata", "namespace"]);
            let role = text(binding, &["roleRef", "name"]);
            let kind = text(binding, &["roleRef", "kind"]);
            let rules = match kind {
                "ClusterRole" => cluster_roles.get(role),
                "Role" => roles.get(&(namespace, role)),
                _ => None,
            };
            if let Some(rules) = rules.filter(|_| !namespace.is_empty()) {
                let name = format!("{}/{namespace}", text(binding, &["metadata", "name"]));
                let origin = format!("RoleBinding {} of {kind} {}", quoted(&name), quoted(role));
                let grants = index.namespaces.entry(namespace.to_owned()).or_default();
                grant(grants, binding, namespace, &origin, rules);
            }
        }
        index
    }

    /// The grants that hold for `user` in `namespace` (empty: cluster-wide ones only).
    fn grants<'a>(&'a self, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Grant> {
        let local = (!namespace.is_empty())
            .then(|| self.namespaces.get(namespace))
            .flatten();
        self.cluster
            .of(user)
            .chain(local.into_iter().flat_map(|grants| grants.of(user)))
    }

    /// Decides one request.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_privileged() {
            return Decision::Allow {
                reason: String::new(),
            };
        }
        // Paths have no namespace: only cluster-wide grants count for them.
        let namespace = if attributes.is_resource {
            attributes.namespace
        } else {
            ""
        };
        let found = self
            .grants(attributes.user, namespace)
            .find(|grant| grant.rules.iter().any(|rule| rule.allows(attributes)));
        match found {
            Some(grant) => Decision::Allow {
                reason: format!("RBAC: allowed by {} to {}", grant.origin, grant.subject),
            },
            None => Decision::NoOpinion {
                reason: String::new(),
            },
        }
    }

    /// Every rule that holds for `user` in namespace `ns` (empty: cluster-wide rules only).
    pub fn rules_for(&self, user: &User, ns: &str) -> Vec<PolicyRule> {
        self.grants(user, ns)
            .flat_map(|grant| grant.rules.iter().cloned())
            .collect()
    }

    /// Whether `user` may grant `rules` in namespace `ns` (empty: cluster-wide) because all of them are held
    /// already. The callers ask before for the verbs `escalate` (roles) and `bind` (bindings), which waive this.
    ///
    /// # Errors
    /// The rules that are missing, joined and sorted as kube-apiserver prints them.
    pub fn escalation(
        &self,
        user: &User,
        ns: &str,
        rules: &[PolicyRule],
    ) -> Result<(), Vec<PolicyRule>> {
        if user.is_privileged() {
            return Ok(());
        }
        let missing = uncovered(&self.rules_for(user, ns), rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut missing = compact(missing);
        missing.sort_by_cached_key(ToString::to_string);
        Err(missing)
    }
}

fn grant(
    grants: &mut Grants,
    binding: &Value,
    namespace: &str,
    origin: &str,
    rules: &Arc<[PolicyRule]>,
) {
    let origin: Arc<str> = origin.into();
    let subjects = binding.get("subjects").and_then(Value::as_array);
    for subject in subjects.into_iter().flatten() {
        if let Some(subject) = Subject::from_value(subject, namespace) {
            grants.add(Grant {
                origin: Arc::clone(&origin),
                subject,
                rules: Arc::clone(rules),
            });
        }
    }
}

/// The text of the 403 for a grant of `missing` rules, after `... is forbidden: `.
pub fn escalation_message(user: &User, missing: &[PolicyRule]) -> String {
    let rules: Vec<String> = missing.iter().map(ToString::to_string).collect();
    format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quoted(&user.name),
        quoted_list(&user.groups),
        rules.join("\n")
    )
}

/// The `status` of a SelfSubjectRulesReview for the rules of [`RbacIndex::rules_for`].
pub fn rules_status(rules: &[PolicyRule]) -> Value {
    let resources: Vec<Value> = rules
        .iter()
        .filter(|rule| !rule.resources.is_empty())
        .map(|rule| {
            let mut rule = rule.clone();
            rule.non_resource_urls.clear();
            rule.to_value()
        })
        .collect();
    let urls: Vec<Value> = rules
        .iter()
        .filter(|rule| !rule.non_resource_urls.is_empty())
        .map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}))
        .collect();
    json!({"resourceRules": resources, "nonResourceRules": urls, "incomplete": false})
}
