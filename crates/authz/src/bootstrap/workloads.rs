//! The roles that people get in their namespaces: `admin`, `edit`, `view`, built up by aggregation.
//!
//! `view` carries the label that aggregates it into `edit`, `edit` the one for `admin`; any role may join by
//! carrying one of the labels.

use serde_json::Value;

use super::{READ, WRITE, aggregated_role, cluster_role};
use crate::rule::PolicyRule;

pub(super) const TO_ADMIN: &str = "rbac.authorization.k8s.io/aggregate-to-admin";
pub(super) const TO_EDIT: &str = "rbac.authorization.k8s.io/aggregate-to-edit";
pub(super) const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> PolicyRule {
    PolicyRule::resources(verbs, &[group], resources)
}

pub(super) fn objects() -> Vec<Value> {
    vec![
        aggregated_role("admin", &[], TO_ADMIN),
        aggregated_role("edit", &[TO_ADMIN], TO_EDIT),
        aggregated_role("view", &[TO_EDIT], TO_VIEW),
        cluster_role("system:aggregate-to-admin", &[TO_ADMIN], &admin()),
        cluster_role("system:aggregate-to-edit", &[TO_EDIT], &edit()),
        cluster_role("system:aggregate-to-view", &[TO_VIEW], &view()),
    ]
}

fn admin() -> Vec<PolicyRule> {
    vec![
        rule(
            &["create"],
            "authorization.k8s.io",
            &["localsubjectaccessreviews"],
        ),
        rule(
            &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            "rbac.authorization.k8s.io",
            &["rolebindings", "roles"],
        ),
    ]
}

fn edit() -> Vec<PolicyRule> {
    let scaled = [
        "daemonsets",
        "deployments",
        "deployments/rollback",
        "deployments/scale",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
    ];
    vec![
        rule(
            READ,
            "",
            &[
                "pods/attach",
                "pods/exec",
                "pods/portforward",
                "pods/proxy",
                "secrets",
                "services/proxy",
            ],
        ),
        rule(&["impersonate"], "", &["serviceaccounts"]),
        rule(
            WRITE,
            "",
            &[
                "pods",
                "pods/attach",
                "pods/exec",
                "pods/portforward",
                "pods/proxy",
            ],
        ),
        rule(&["create"], "", &["pods/eviction"]),
        rule(
            WRITE,
            "",
            &[
                "configmaps",
                "events",
                "persistentvolumeclaims",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "secrets",
                "serviceaccounts",
                "services",
                "services/proxy",
            ],
        ),
        rule(&["create"], "", &["serviceaccounts/token"]),
        rule(WRITE, "apps", &scaled),
        rule(WRITE, "autoscaling", &["horizontalpodautoscalers"]),
        rule(WRITE, "batch", &["cronjobs", "jobs"]),
        rule(WRITE, "policy", &["poddisruptionbudgets"]),
        rule(
            WRITE,
            "networking.k8s.io",
            &["ingresses", "networkpolicies"],
        ),
        rule(WRITE, "coordination.k8s.io", &["leases"]),
        rule(
            WRITE,
            "resource.k8s.io",
            &["resourceclaims", "resourceclaimtemplates"],
        ),
    ]
}

fn view() -> Vec<PolicyRule> {
    vec![
        rule(
            READ,
            "",
            &[
                "configmaps",
                "endpoints",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "serviceaccounts",
                "services",
                "services/status",
            ],
        ),
        rule(
            READ,
            "",
            &[
                "bindings",
                "events",
                "limitranges",
                "namespaces/status",
                "pods/log",
                "pods/status",
                "replicationcontrollers/status",
                "resourcequotas",
                "resourcequotas/status",
            ],
        ),
        rule(READ, "", &["namespaces"]),
        rule(READ, "discovery.k8s.io", &["endpointslices"]),
        rule(
            READ,
            "apps",
            &[
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ],
        ),
        rule(
            READ,
            "autoscaling",
            &[
                "horizontalpodautoscalers",
                "horizontalpodautoscalers/status",
            ],
        ),
        rule(
            READ,
            "batch",
            &["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
        ),
        rule(
            READ,
            "policy",
            &["poddisruptionbudgets", "poddisruptionbudgets/status"],
        ),
        rule(
            READ,
            "networking.k8s.io",
            &["ingresses", "ingresses/status", "networkpolicies"],
        ),
        rule(READ, "coordination.k8s.io", &["leases"]),
        rule(
            READ,
            "resource.k8s.io",
            &[
                "resourceclaims",
                "resourceclaims/status",
                "resourceclaimtemplates",
            ],
        ),
    ]
}
