//! Whether a webhook is to be asked.

use apimachinery::meta;
use apimachinery::selector::LabelSelector;
use serde_json::Value;

use super::config::{Rule, Webhook};
use crate::kinds::Kind;
use crate::strategy::Operation;

/// What is being written.
pub(super) struct Target<'a> {
    pub kind: &'a Kind,
    pub subresource: &'a str,
    pub operation: Operation,
    pub object: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

/// The version of the kind in which the webhook wants to see it: that of the request if a rule names it, else
/// (with `matchPolicy: Equivalent`) the first other one that a rule names.
pub(super) fn version<'a>(
    webhook: &Webhook,
    target: &Target<'a>,
    versions: &[&'a str],
) -> Option<&'a str> {
    let matched = |version: &str| webhook.rules.iter().any(|r| rule(r, target, version));
    let own: &'a str = &target.kind.version;
    if matched(own) {
        return Some(own);
    }
    if !webhook.equivalent {
        return None;
    }
    versions.iter().copied().find(|version| matched(version))
}

fn rule(rule: &Rule, target: &Target<'_>, version: &str) -> bool {
    let operation = match target.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    };
    let has = |list: &[String], value: &str| list.iter().any(|v| v == "*" || v == value);
    let scope = match rule.scope.as_str() {
        // A namespace is an object of the cluster.
        "Cluster" => !target.kind.namespaced,
        "Namespaced" => target.kind.namespaced,
        _ => true,
    };
    scope
        && has(&rule.operations, operation)
        && has(&rule.groups, &target.kind.group)
        && has(&rule.versions, version)
        && rule
            .resources
            .iter()
            .any(|pattern| resource(pattern, &target.kind.plural, target.subresource))
}

/// `pods`, `pods/status`, `pods/*`, `*/status`, `*` (no subresources), `*/*`.
fn resource(pattern: &str, plural: &str, subresource: &str) -> bool {
    let (want, want_sub) = match pattern.split_once('/') {
        Some((want, sub)) => (want, sub),
        None => (pattern, ""),
    };
    (want == "*" || want == plural) && (want_sub == "*" || want_sub == subresource)
}

/// Whether the new or the old object has the labels.
pub(super) fn objects(webhook: &Webhook, target: &Target<'_>) -> bool {
    labelled(&webhook.object_selector, target.object)
        || (target.old.is_some() && labelled(&webhook.object_selector, target.old))
}

/// Whether an object has labels that the selector wants.
pub(super) fn labelled(selector: &LabelSelector, object: Option<&Value>) -> bool {
    object.is_some_and(|object| match meta::labels(object) {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&serde_json::Map::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;
    use serde_json::json;

    #[test]
    fn resources_match_as_patterns_say() {
        for (pattern, sub, expected) in [
            ("pods", "", true),
            ("pods", "status", false),
            ("pods/status", "status", true),
            ("pods/*", "status", true),
            ("*", "", true),
            ("*", "status", false),
            ("*/*", "status", true),
            ("*/status", "status", true),
            ("services", "", false),
        ] {
            assert_eq!(resource(pattern, "pods", sub), expected, "{pattern} {sub}");
        }
    }

    #[test]
    fn equivalent_versions_count_unless_the_policy_is_exact() {
        let kinds = crate::kinds::builtin();
        let kind = kinds.iter().find(|k| k.plural == "deployments").unwrap();
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        let target = Target {
            kind,
            subresource: "",
            operation: Operation::Create,
            object: Some(&object),
            old: None,
        };
        let hook = |policy: &str, version: &str, scope: &str| {
            config::parse(&json!({"webhooks": [{
                "name": "a.b.c", "matchPolicy": policy,
                "clientConfig": {"url": "https://x"},
                "objectSelector": {"matchLabels": {"a": "b"}},
                "rules": [{"operations": ["CREATE"], "apiGroups": ["apps"],
                    "apiVersions": [version], "resources": ["deployments"], "scope": scope}],
            }]}))
            .pop()
            .unwrap()
        };
        let versions = ["v1", "v1beta1"];
        let exact = hook("Exact", "v1beta1", "*");
        assert_eq!(version(&exact, &target, &versions), None);
        let equivalent = hook("Equivalent", "v1beta1", "*");
        assert_eq!(version(&equivalent, &target, &versions), Some("v1beta1"));
        assert_eq!(
            version(&hook("Exact", "v1", "Cluster"), &target, &versions),
            None
        );
        assert!(objects(&exact, &target));
        let other = json!({"metadata": {}});
        assert!(!labelled(&exact.object_selector, Some(&other)));
    }
}
