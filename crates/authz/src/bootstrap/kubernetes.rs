//! Default roles of any cluster: administrators, everybody, and the system's components.

use serde_json::Value;

use super::{ALL, READ, bind, bind_in, cluster_role, group, role, service_account, user};
use crate::attributes::SYSTEM_MASTERS;
use crate::rule::PolicyRule;

const EVENTS: &[&str] = &["", "events.k8s.io"];

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> PolicyRule {
    PolicyRule::resources(verbs, groups, resources)
}

fn write_events() -> PolicyRule {
    rule(&["create", "patch", "update"], EVENTS, &["events"])
}

pub(super) fn objects() -> Vec<Value> {
    let mut objects = everybody();
    objects.extend(nodes());
    objects.extend(components());
    objects.extend(namespaced());
    objects
}

fn everybody() -> Vec<Value> {
    vec![
        cluster_role("cluster-admin", &[], &PolicyRule::full_authority()),
        bind("cluster-admin", vec![group(SYSTEM_MASTERS)]),
        cluster_role(
            "system:discovery",
            &[],
            &[PolicyRule::urls(
                &["get"],
                &[
                    "/api",
                    "/api/*",
                    "/apis",
                    "/apis/*",
                    "/healthz",
                    "/livez",
                    "/openapi",
                    "/openapi/*",
                    "/readyz",
                    "/version",
                    "/version/",
                ],
            )],
        ),
        bind("system:discovery", vec![group("system:authenticated")]),
        cluster_role(
            "system:basic-user",
            &[],
            &[
                rule(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ),
                rule(
                    &["create"],
                    &["authentication.k8s.io"],
                    &["selfsubjectreviews"],
                ),
            ],
        ),
        bind("system:basic-user", vec![group("system:authenticated")]),
        cluster_role(
            "system:public-info-viewer",
            &[],
            &[PolicyRule::urls(
                &["get"],
                &["/healthz", "/livez", "/readyz", "/version", "/version/"],
            )],
        ),
        bind(
            "system:public-info-viewer",
            vec![
                group("system:authenticated"),
                group("system:unauthenticated"),
            ],
        ),
        cluster_role(
            "system:monitoring",
            &[],
            &[PolicyRule::urls(
                &["get"],
                &[
                    "/healthz",
                    "/healthz/*",
                    "/livez",
                    "/livez/*",
                    "/metrics",
                    "/metrics/slis",
                    "/readyz",
                    "/readyz/*",
                ],
            )],
        ),
        bind("system:monitoring", vec![group("system:monitoring")]),
        cluster_role(
            "system:service-account-issuer-discovery",
            &[],
            &[PolicyRule::urls(
                &["get"],
                &[
                    "/.well-known/openid-configuration",
                    "/.well-known/openid-configuration/",
                    "/openid/v1/jwks",
                    "/openid/v1/jwks/",
                ],
            )],
        ),
        bind(
            "system:service-account-issuer-discovery",
            vec![group("system:serviceaccounts")],
        ),
        cluster_role(
            "system:auth-delegator",
            &[],
            &[
                rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
                rule(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["subjectaccessreviews"],
                ),
            ],
        ),
    ]
}

fn nodes() -> Vec<Value> {
    let node_write = &["create", "delete", "get", "patch", "update"];
    vec![
        cluster_role(
            "system:node",
            &[],
            &[
                rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
                rule(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["localsubjectaccessreviews", "subjectaccessreviews"],
                ),
                rule(READ, &[""], &["services"]),
                rule(&["create", "get", "list", "watch"], &[""], &["nodes"]),
                rule(&["patch", "update"], &[""], &["nodes/status"]),
                rule(&["delete", "patch", "update"], &[""], &["nodes"]),
                write_events(),
                rule(READ, &[""], &["pods"]),
                rule(&["create", "delete"], &[""], &["pods"]),
                rule(&["patch", "update"], &[""], &["pods/status"]),
                rule(&["create"], &[""], &["pods/eviction"]),
                rule(READ, &[""], &["configmaps", "secrets"]),
                rule(
                    &["get"],
                    &[""],
                    &["persistentvolumeclaims", "persistentvolumes"],
                ),
                rule(
                    &["get", "patch", "update"],
                    &[""],
                    &["persistentvolumeclaims/status"],
                ),
                rule(&["create"], &[""], &["serviceaccounts/token"]),
                rule(&["get"], &[""], &["serviceaccounts"]),
                rule(
                    &["create", "get", "list", "watch"],
                    &["certificates.k8s.io"],
                    &["certificatesigningrequests"],
                ),
                rule(node_write, &["coordination.k8s.io"], &["leases"]),
                rule(READ, &["storage.k8s.io"], &["csidrivers"]),
                rule(node_write, &["storage.k8s.io"], &["csinodes"]),
                rule(&["get"], &["storage.k8s.io"], &["volumeattachments"]),
                rule(READ, &["node.k8s.io"], &["runtimeclasses"]),
            ],
        ),
        bind("system:node", vec![]),
        cluster_role(
            "system:node-problem-detector",
            &[],
            &[
                rule(&["get"], &[""], &["nodes"]),
                rule(&["patch"], &[""], &["nodes/status"]),
                write_events(),
            ],
        ),
        cluster_role(
            "system:node-proxier",
            &[],
            &[
                rule(&["list", "watch"], &[""], &["endpoints", "services"]),
                rule(READ, &[""], &["nodes"]),
                write_events(),
                rule(
                    &["list", "watch"],
                    &["discovery.k8s.io"],
                    &["endpointslices"],
                ),
                rule(
                    &["list", "watch"],
                    &["networking.k8s.io"],
                    &["servicecidrs"],
                ),
            ],
        ),
        bind("system:node-proxier", vec![user("system:kube-proxy")]),
        cluster_role(
            "system:kubelet-api-admin",
            &[],
            &[
                rule(READ, &[""], &["nodes"]),
                rule(&["proxy"], &[""], &["nodes"]),
                rule(
                    ALL,
                    &[""],
                    &[
                        "nodes/configz",
                        "nodes/healthz",
                        "nodes/log",
                        "nodes/metrics",
                        "nodes/pods",
                        "nodes/proxy",
                        "nodes/stats",
                    ],
                ),
            ],
        ),
        cluster_role(
            "system:node-bootstrapper",
            &[],
            &[rule(
                &["create", "get", "list", "watch"],
                &["certificates.k8s.io"],
                &["certificatesigningrequests"],
            )],
        ),
    ]
}

fn components() -> Vec<Value> {
    vec![
        cluster_role(
            "system:kube-aggregator",
            &[],
            &[rule(READ, &[""], &["endpoints", "services"])],
        ),
        cluster_role(
            "system:kube-controller-manager",
            &[],
            &[
                write_events(),
                rule(&["create"], &["coordination.k8s.io"], &["leases"]),
                rule(&["get", "update"], &["coordination.k8s.io"], &["leases"])
                    .with_names(&["kube-controller-manager"]),
                rule(
                    &["create"],
                    &[""],
                    &["secrets", "serviceaccounts", "serviceaccounts/token"],
                ),
                rule(&["delete"], &[""], &["secrets"]),
                rule(
                    &["get"],
                    &[""],
                    &["configmaps", "namespaces", "secrets", "serviceaccounts"],
                ),
                rule(&["update"], &[""], &["secrets", "serviceaccounts"]),
                rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
                rule(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["subjectaccessreviews"],
                ),
                rule(&["list", "watch"], &["*"], &["*"]),
            ],
        ),
        bind(
            "system:kube-controller-manager",
            vec![user("system:kube-controller-manager")],
        ),
        cluster_role(
            "system:kube-dns",
            &[],
            &[rule(&["list", "watch"], &[""], &["endpoints", "services"])],
        ),
        bind(
            "system:kube-dns",
            vec![service_account("kube-system", "kube-dns")],
        ),
        cluster_role(
            "system:persistent-volume-provisioner",
            &[],
            &[
                rule(
                    &["create", "delete", "get", "list", "watch"],
                    &[""],
                    &["persistentvolumes"],
                ),
                rule(
                    &["get", "list", "update", "watch"],
                    &[""],
                    &["persistentvolumeclaims"],
                ),
                rule(READ, &["storage.k8s.io"], &["storageclasses"]),
                rule(&["watch"], &[""], &["events"]),
                write_events(),
            ],
        ),
        cluster_role(
            "system:kube-scheduler",
            &[],
            &[
                write_events(),
                rule(
                    &["create", "get", "list", "update", "watch"],
                    &["coordination.k8s.io"],
                    &["leases"],
                ),
                rule(READ, &[""], &["namespaces", "nodes"]),
                rule(&["delete", "get", "list", "watch"], &[""], &["pods"]),
                rule(&["create"], &[""], &["bindings", "pods/binding"]),
                rule(&["patch", "update"], &[""], &["pods/status"]),
                rule(READ, &[""], &["replicationcontrollers", "services"]),
                rule(READ, &["apps", "extensions"], &["replicasets"]),
                rule(READ, &["apps"], &["statefulsets"]),
                rule(READ, &["policy"], &["poddisruptionbudgets"]),
                rule(
                    READ,
                    &[""],
                    &["persistentvolumeclaims", "persistentvolumes"],
                ),
                rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
                rule(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["subjectaccessreviews"],
                ),
                rule(
                    READ,
                    &["storage.k8s.io"],
                    &[
                        "csidrivers",
                        "csinodes",
                        "csistoragecapacities",
                        "storageclasses",
                        "volumeattachments",
                    ],
                ),
            ],
        ),
        bind("system:kube-scheduler", vec![user("system:kube-scheduler")]),
        cluster_role(
            "system:volume-scheduler",
            &[],
            &[
                rule(
                    &["get", "list", "patch", "update", "watch"],
                    &[""],
                    &["persistentvolumes"],
                ),
                rule(READ, &["storage.k8s.io"], &["storageclasses"]),
                rule(
                    &["get", "list", "patch", "update", "watch"],
                    &[""],
                    &["persistentvolumeclaims"],
                ),
            ],
        ),
        bind(
            "system:volume-scheduler",
            vec![user("system:kube-scheduler")],
        ),
    ]
}

fn namespaced() -> Vec<Value> {
    let reader = "extension-apiserver-authentication-reader";
    vec![
        role(
            "kube-system",
            reader,
            &[rule(READ, &[""], &["configmaps"])
                .with_names(&["extension-apiserver-authentication"])],
        ),
        bind_in(
            "kube-system",
            reader,
            vec![
                user("system:kube-controller-manager"),
                user("system:kube-scheduler"),
            ],
        ),
    ]
}
