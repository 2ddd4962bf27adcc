#![allow(clippy::needless_pass_by_value, reason = "values are written in place")]

use serde_json::{Value, json};

use super::*;

fn role(ns: &str, name: &str, rules: Value) -> Value {
    json!({"kind": "Role", "metadata": {"name": name, "namespace": ns}, "rules": rules})
}

fn cluster_role(name: &str, rules: Value) -> Value {
    json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn binding(ns: &str, name: &str, kind: &str, role: &str, subjects: Value) -> Value {
    let kind_of_binding = if ns.is_empty() {
        "ClusterRoleBinding"
    } else {
        "RoleBinding"
    };
    json!({"kind": kind_of_binding, "metadata": {"name": name, "namespace": ns},
           "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": subjects})
}

fn joe_subject() -> Value {
    json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "joe"}])
}

fn joe() -> User {
    User::new("joe", &["system:authenticated"])
}

fn index(objects: &[Value]) -> RbacIndex {
    let of = |kind: &'static str| objects.iter().filter(move |o| o["kind"] == kind);
    RbacIndex::from_objects(
        of("Role"),
        of("ClusterRole"),
        of("RoleBinding"),
        of("ClusterRoleBinding"),
    )
}

#[test]
fn a_role_allows_its_verbs_resources_and_namespace_only() {
    let index = index(&[
        role(
            "ns",
            "r",
            json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]),
        ),
        binding("ns", "b", "Role", "r", joe_subject()),
    ]);
    let joe = joe();
    let ask = Attributes::resource(&joe, "list", "", "configmaps").in_namespace("ns");
    assert_eq!(
        index.authorize(&ask),
        Decision::Allow {
            reason: "RBAC: allowed by RoleBinding \"b/ns\" of Role \"r\" to User \"joe\"".into()
        }
    );
    assert!(!index.authorize(&ask.in_namespace("other")).allowed());
    assert!(!index.authorize(&ask.in_namespace("")).allowed());
    assert!(
        !index
            .authorize(&Attributes {
                verb: "delete",
                ..ask
            })
            .allowed()
    );
    assert!(
        !index
            .authorize(&Attributes {
                group: "apps",
                ..ask
            })
            .allowed()
    );
    assert!(
        !index
            .authorize(&Attributes {
                resource: "secrets",
                ..ask
            })
            .allowed()
    );
    let jane = User::new("jane", &[]);
    assert!(
        !index
            .authorize(&Attributes { user: &jane, ..ask })
            .allowed()
    );
}

#[test]
fn a_cluster_role_holds_where_it_is_bound() {
    let reader = cluster_role(
        "cr",
        json!([{"apiGroups": ["x"], "resources": ["widgets"], "verbs": ["list"]}]),
    );
    let local = index(&[
        reader.clone(),
        binding("ns", "b", "ClusterRole", "cr", joe_subject()),
    ]);
    let joe = joe();
    let ask = Attributes::resource(&joe, "list", "x", "widgets");
    assert!(local.authorize(&ask.in_namespace("ns")).allowed());
    assert!(!local.authorize(&ask.in_namespace("ns2")).allowed());
    assert!(!local.authorize(&ask).allowed());
    let wide = index(&[reader, binding("", "b", "ClusterRole", "cr", joe_subject())]);
    assert!(wide.authorize(&ask.in_namespace("ns2")).allowed());
    assert!(wide.authorize(&ask).allowed());
}

#[test]
fn groups_and_service_accounts_are_subjects() {
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    let with = |subject: Value| {
        index(&[
            role("ns", "r", rules.clone()),
            binding("ns", "b", "Role", "r", json!([subject])),
        ])
    };
    let bot = User::service_account("ns", "bot");
    let ask = Attributes::resource(&bot, "list", "", "configmaps").in_namespace("ns");
    for subject in [
        json!({"kind": "Group", "name": "system:serviceaccounts:ns"}),
        json!({"kind": "Group", "name": "system:authenticated"}),
        json!({"kind": "ServiceAccount", "name": "bot"}),
        json!({"kind": "ServiceAccount", "name": "bot", "namespace": "ns"}),
        json!({"kind": "User", "name": "system:serviceaccount:ns:bot"}),
    ] {
        assert!(with(subject.clone()).authorize(&ask).allowed(), "{subject}");
    }
    for subject in [
        json!({"kind": "Group", "name": "bot"}),
        json!({"kind": "User", "name": "system:authenticated"}),
        json!({"kind": "ServiceAccount", "name": "bot", "namespace": "other"}),
        json!({"kind": "Robot", "name": "bot"}),
        json!(3),
    ] {
        assert!(
            !with(subject.clone()).authorize(&ask).allowed(),
            "{subject}"
        );
    }
}

#[test]
fn subresources_need_their_own_rule() {
    let joe = joe();
    let ask = Attributes::resource(&joe, "get", "", "pods")
        .in_namespace("ns")
        .on_subresource("log");
    let allows = |resource: &str| PolicyRule::resources(&["get"], &[""], &[resource]).allows(&ask);
    assert!(!allows("pods"));
    assert!(allows("pods/log"));
    assert!(allows("*/log"));
    assert!(allows("*"));
    assert!(!allows("*/scale"));
    assert!(!allows("pods/*"));
    let screenshot =
        Attributes::resource(&joe, "get", "g", "vmis").on_subresource("vnc/screenshot");
    assert!(PolicyRule::resources(&["get"], &["g"], &["vmis/vnc/screenshot"]).allows(&screenshot));
    assert!(!PolicyRule::resources(&["get"], &["g"], &["vmis/vnc"]).allows(&screenshot));
}

#[test]
fn resource_names_never_match_requests_without_a_name() {
    let rule = PolicyRule::resources(&["*"], &[""], &["configmaps"]).with_names(&["mine"]);
    let joe = joe();
    let ask = Attributes::resource(&joe, "get", "", "configmaps").in_namespace("ns");
    assert!(rule.allows(&ask.named("mine")));
    assert!(!rule.allows(&ask.named("other")));
    assert!(!rule.allows(&Attributes {
        verb: "list",
        ..ask
    }));
    assert!(!rule.allows(&Attributes {
        verb: "create",
        ..ask
    }));
    assert!(PolicyRule::from_value(&json!({"verbs": ["get"], "resourceNames": "mine"})).is_none());
}

#[test]
fn paths_match_exactly_or_by_prefix_and_only_cluster_wide() {
    let rules = json!([{"nonResourceURLs": ["/metrics", "/debug/*"], "verbs": ["get"]}]);
    let objects = [
        cluster_role("nr", rules),
        binding("", "nr", "ClusterRole", "nr", joe_subject()),
    ];
    let wide = index(&objects);
    let joe = joe();
    let allowed = |verb, path| {
        wide.authorize(&Attributes::path(&joe, verb, path))
            .allowed()
    };
    assert!(allowed("get", "/metrics"));
    assert!(allowed("get", "/debug/x/y"));
    assert!(!allowed("get", "/debug"));
    assert!(!allowed("post", "/metrics"));
    assert!(!allowed("get", "/metrics/x"));
    let local = index(&[
        objects[0].clone(),
        binding("ns", "nr", "ClusterRole", "nr", joe_subject()),
    ]);
    let ask = Attributes {
        namespace: "ns",
        ..Attributes::path(&joe, "get", "/metrics")
    };
    assert!(!local.authorize(&ask).allowed());
}

#[test]
fn masters_may_everything() {
    let root = User::new("root", &[SYSTEM_MASTERS]);
    let index = RbacIndex::default();
    assert!(
        index
            .authorize(&Attributes::resource(&root, "delete", "", "nodes"))
            .allowed()
    );
    assert!(
        index
            .escalation(&root, "", &[PolicyRule::urls(&["*"], &["*"])])
            .is_ok()
    );
}

#[test]
fn denials_read_like_kube_apiservers() {
    let joe = joe();
    let ask = Attributes::resource(&joe, "list", "", "pods");
    assert_eq!(
        ask.denial(),
        "User \"joe\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    assert_eq!(
        Attributes { verb: "get", ..ask }
            .in_namespace("ns")
            .named("p")
            .on_subresource("log")
            .denial(),
        "User \"joe\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"ns\""
    );
    assert_eq!(
        Attributes::path(&joe, "get", "/metrics").denial(),
        "User \"joe\" cannot get path \"/metrics\""
    );
}

#[test]
fn nobody_grants_what_he_lacks() {
    let adm = role(
        "ns",
        "adm",
        json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"],
         "verbs": ["create", "get", "update", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]),
    );
    let index = index(&[adm, binding("ns", "adm", "Role", "adm", joe_subject())]);
    let joe = joe();
    let config = PolicyRule::resources(&["get"], &[""], &["configmaps"]);
    assert!(
        index
            .escalation(&joe, "ns", std::slice::from_ref(&config))
            .is_ok()
    );
    assert!(index.escalation(&joe, "", &[config]).is_err());
    let much = PolicyRule::resources(&["get", "list"], &[""], &["configmaps", "secrets"]);
    let missing = index.escalation(&joe, "ns", &[much]).unwrap_err();
    assert_eq!(
        escalation_message(&joe, &missing),
        "user \"joe\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"list\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
    );
    let policy = bootstrap_policy();
    let admin = policy
        .iter()
        .find(|o| o["metadata"]["name"] == "cluster-admin")
        .unwrap();
    let missing = index
        .escalation(&joe, "ns", &PolicyRule::of_role(admin))
        .unwrap_err();
    let text: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}",
            "{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"
        ]
    );
}

#[test]
fn covering_respects_names_subresources_and_wildcards() {
    let covers = |own: PolicyRule, asked: PolicyRule| uncovered(&[own], &[asked]).is_empty();
    let rule = |resource: &str| PolicyRule::resources(&["get"], &[""], &[resource]);
    assert!(covers(rule("*"), rule("pods/log")));
    assert!(covers(rule("*/scale"), rule("deployments/scale")));
    assert!(covers(rule("*/scale"), rule("*/scale")));
    assert!(!covers(rule("pods"), rule("*")));
    assert!(!covers(rule("pods"), rule("pods/log")));
    assert!(covers(rule("pods"), rule("pods").with_names(&["a", "b"])));
    assert!(!covers(rule("pods").with_names(&["a"]), rule("pods")));
    assert!(!covers(
        rule("pods").with_names(&["a"]),
        rule("pods").with_names(&["a", "b"])
    ));
    let url = |u: &str| PolicyRule::urls(&["get"], &[u]);
    assert!(covers(url("/debug/*"), url("/debug/pprof")));
    assert!(!covers(url("/debug/x"), url("/debug/*")));
    // Two rules may cover one together.
    let both = [rule("pods"), rule("secrets")];
    let asked = PolicyRule::resources(&["get"], &[""], &["pods", "secrets"]);
    assert!(uncovered(&both, &[asked]).is_empty());
}

#[test]
fn rules_review_lists_the_rules_of_bindings() {
    let index = index(&[
        role(
            "ns",
            "r",
            json!([
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"], "resourceNames": ["x"]}]),
        ),
        binding("ns", "b", "Role", "r", joe_subject()),
        cluster_role("u", json!([{"nonResourceURLs": ["/x"], "verbs": ["get"]}])),
        binding("", "u", "ClusterRole", "u", joe_subject()),
    ]);
    assert_eq!(
        rules_status(&index.rules_for(&joe(), "ns")),
        json!({
            "resourceRules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["x"]}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}],
            "incomplete": false
        })
    );
    assert_eq!(index.rules_for(&joe(), "other").len(), 1);
}

#[test]
fn default_roles_aggregate_and_serve() {
    let policy = bootstrap_policy();
    let mut again = policy.clone();
    assert!(!aggregate_all(&mut again));
    let index = {
        let mut objects = policy.clone();
        objects.push(binding("ns", "b", "ClusterRole", "admin", joe_subject()));
        objects.push(binding("ns2", "b", "ClusterRole", "view", joe_subject()));
        index(&objects)
    };
    let joe = joe();
    let vms = Attributes::resource(&joe, "delete", "kubevirt.io", "virtualmachines");
    assert!(index.authorize(&vms.in_namespace("ns")).allowed());
    assert!(!index.authorize(&vms.in_namespace("ns2")).allowed());
    assert!(
        index
            .authorize(&Attributes { verb: "get", ..vms }.in_namespace("ns2"))
            .allowed()
    );
    let console = Attributes::resource(
        &joe,
        "get",
        "subresources.kubevirt.io",
        "virtualmachineinstances",
    )
    .on_subresource("console");
    assert!(index.authorize(&console.in_namespace("ns")).allowed());
    assert!(!index.authorize(&console.in_namespace("ns2")).allowed());
    assert!(
        !index
            .authorize(&Attributes::resource(&joe, "get", "", "secrets").in_namespace("ns2"))
            .allowed()
    );
    for path in [
        "/api",
        "/apis/apps/v1",
        "/version",
        "/healthz",
        "/livez",
        "/openapi/v3",
    ] {
        assert!(
            index
                .authorize(&Attributes::path(&joe, "get", path))
                .allowed(),
            "{path}"
        );
    }
    let anonymous = User::anonymous();
    assert!(
        index
            .authorize(&Attributes::path(&anonymous, "get", "/healthz"))
            .allowed()
    );
    assert!(
        !index
            .authorize(&Attributes::path(&anonymous, "get", "/api"))
            .allowed()
    );
    let review = Attributes::resource(
        &joe,
        "create",
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
    );
    assert!(index.authorize(&review).allowed());
    assert!(
        !index
            .authorize(&Attributes {
                resource: "subjectaccessreviews",
                ..review
            })
            .allowed()
    );
}

#[test]
fn policy_objects_are_unique_and_marked() {
    let policy = bootstrap_policy();
    let mut keys = std::collections::HashSet::new();
    for object in &policy {
        let key = (
            object["kind"].to_string(),
            object["metadata"]["namespace"].to_string(),
            object["metadata"]["name"].to_string(),
        );
        assert!(keys.insert(key), "{object}");
    }
    let view = policy
        .iter()
        .find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == "view")
        .unwrap();
    assert_eq!(
        view["metadata"]["labels"]["kubernetes.io/bootstrapping"],
        "rbac-defaults"
    );
    assert_eq!(
        view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"],
        "true"
    );
}

#[test]
fn reconciling_adds_what_lacks_and_keeps_what_users_added() {
    let policy = bootstrap_policy();
    let wanted = policy
        .iter()
        .find(|o| o["metadata"]["name"] == "system:basic-user")
        .unwrap();
    assert_eq!(reconcile(wanted, wanted), None);
    let mut changed = wanted.clone();
    changed["rules"] = json!([{"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]}]);
    let result = reconcile(&changed, wanted).unwrap();
    assert_eq!(result["rules"][0]["apiGroups"], json!(["x"]));
    assert!(uncovered(&PolicyRule::of_role(&result), &PolicyRule::of_role(wanted)).is_empty());
    changed["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] =
        "false".into();
    assert_eq!(reconcile(&changed, wanted), None);
    let binding = policy
        .iter()
        .find(|o| o["kind"] == "ClusterRoleBinding" && o["metadata"]["name"] == "cluster-admin")
        .unwrap();
    let mut emptied = binding.clone();
    emptied["subjects"] = Value::Null;
    assert_eq!(reconcile(&emptied, binding).as_ref(), Some(binding));
}

#[test]
fn garbage_grants_nothing_and_never_panics() {
    let garbage = [
        json!(null),
        json!([]),
        json!({"kind": "Role", "metadata": 3, "rules": {"a": 1}}),
        json!({"kind": "RoleBinding", "metadata": {"namespace": "ns"}, "roleRef": [], "subjects": {}}),
        json!({"kind": "ClusterRole", "aggregationRule": {"clusterRoleSelectors": [3, {"matchLabels": []}]}}),
    ];
    let all = || garbage.iter();
    let index = RbacIndex::from_objects(all(), all(), all(), all());
    let joe = joe();
    assert!(
        !index
            .authorize(&Attributes::resource(&joe, "get", "", "pods").in_namespace("ns"))
            .allowed()
    );
    aggregate_all(&mut garbage.clone());
}

#[test]
fn one_user_does_not_pay_for_the_bindings_of_others() {
    let mut objects = Vec::new();
    for i in 0..3000 {
        let (ns, role_name) = (format!("ns{}", i % 100), format!("r{i}"));
        objects.push(role(
            &ns,
            &role_name,
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
        ));
        objects.push(binding(
            &ns,
            &role_name,
            "Role",
            &role_name,
            json!([{"kind": "User", "name": format!("u{i}")}]),
        ));
    }
    let index = index(&objects);
    let user = User::new("u2999", &["system:authenticated"]);
    let ask = Attributes::resource(&user, "get", "", "pods").in_namespace("ns99");
    assert!(index.authorize(&ask).allowed());
    assert!(!index.authorize(&ask.in_namespace("ns98")).allowed());
    assert_eq!(index.rules_for(&user, "ns99").len(), 1);
}

mod properties {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::super::*;

    const VERBS: &[&str] = &["get", "list", "create", "*"];
    const GROUPS: &[&str] = &["", "apps", "*"];
    const RESOURCES: &[&str] = &["pods", "pods/log", "*/scale", "pods/scale", "*"];
    const NAMES: &[&str] = &["a", "b"];
    const URLS: &[&str] = &["/a", "/a/*", "/a/b", "*"];

    fn some(of: &'static [&'static str], min: usize) -> impl Strategy<Value = Vec<String>> {
        subsequence(of, min..=of.len())
            .prop_map(|items| items.into_iter().map(str::to_owned).collect())
    }

    fn rule() -> impl Strategy<Value = PolicyRule> {
        prop_oneof![
            (
                some(VERBS, 1),
                some(GROUPS, 1),
                some(RESOURCES, 1),
                some(NAMES, 0)
            )
                .prop_map(|(verbs, api_groups, resources, resource_names)| {
                    PolicyRule {
                        verbs,
                        api_groups,
                        resources,
                        resource_names,
                        non_resource_urls: vec![],
                    }
                }),
            (some(VERBS, 1), some(URLS, 1)).prop_map(|(verbs, non_resource_urls)| PolicyRule {
                verbs,
                non_resource_urls,
                ..PolicyRule::default()
            }),
        ]
    }

    proptest! {
        /// What may be granted without `escalate` never allows a request that was not allowed before.
        #[test]
        fn covered_rules_allow_nothing_new(
            held in proptest::collection::vec(rule(), 0..4),
            asked in rule(),
            verb in select(&["get", "list", "delete"][..]),
            group in select(&["", "apps", "x"][..]),
            (resource, subresource) in select(&[("pods", ""), ("pods", "log"), ("pods", "scale"), ("x", "scale")][..]),
            name in select(&["", "a", "c"][..]),
            path in select(&["/a", "/a/", "/a/b", "/c"][..]),
        ) {
            let user = User::new("joe", &[]);
            let resource = Attributes::resource(&user, verb, group, resource).on_subresource(subresource).named(name);
            for request in [resource, Attributes::path(&user, verb, path)] {
                if uncovered(&held, std::slice::from_ref(&asked)).is_empty() && asked.allows(&request) {
                    prop_assert!(held.iter().any(|rule| rule.allows(&request)), "{request:?}");
                }
            }
            // Every rule covers itself.
            prop_assert!(uncovered(std::slice::from_ref(&asked), std::slice::from_ref(&asked)).is_empty());
        }

        #[test]
        fn rules_survive_json(rule in rule()) {
            prop_assert_eq!(PolicyRule::from_value(&rule.to_value()), Some(rule));
        }
    }
}
