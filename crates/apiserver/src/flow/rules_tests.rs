use super::super::bootstrap;
use super::*;

fn rules() -> Rules {
    let objects = bootstrap::objects();
    let schemas = objects.iter().filter(|o| o["kind"] == "FlowSchema");
    let levels = objects.iter().filter(|o| o["kind"] != "FlowSchema");
    let mut slot = 0;
    Rules::new(
        schemas
            .filter_map(FlowSchema::parse)
            .map(Arc::new)
            .collect(),
        levels.filter_map(Level::parse).collect(),
        600,
        |_| {
            slot += 1;
            slot
        },
    )
}

fn schema_of(method: &http::Method, path: &str, name: &str, groups: &[&str]) -> String {
    let info = RequestInfo::parse(method, &path.parse().unwrap());
    let class = rules().classify(&info, &User::new(name, groups), &RandomState::new());
    class.unwrap().schema.name.clone()
}

#[test]
fn requests_go_where_kubernetes_sends_them() {
    let get = &http::Method::GET;
    let all = "system:authenticated";
    let pods = "/api/v1/namespaces/n/pods";
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a";
    assert_eq!(
        schema_of(get, pods, "admin", &["system:masters", all]),
        "exempt"
    );
    assert_eq!(
        schema_of(
            get,
            "/readyz",
            "system:anonymous",
            &["system:unauthenticated"]
        ),
        "probes"
    );
    assert_eq!(
        schema_of(
            &http::Method::PUT,
            lease,
            "system:node:a",
            &["system:nodes", all]
        ),
        "system-node-high"
    );
    assert_eq!(
        schema_of(get, pods, "system:node:a", &["system:nodes", all]),
        "system-nodes"
    );
    let account = "system:serviceaccount:n:a";
    let groups = ["system:serviceaccounts", all];
    assert_eq!(schema_of(get, pods, account, &groups), "service-accounts");
    assert_eq!(
        schema_of(get, pods, "system:serviceaccount:kube-system:a", &groups),
        "kube-system-service-accounts"
    );
    assert_eq!(schema_of(get, pods, "joe", &[all]), "global-default");
    assert_eq!(schema_of(get, "/apis", "joe", &[all]), "global-default");
    // Nobody has groups like these; whoever it is, it is counted.
    assert_eq!(schema_of(get, pods, "ghost", &[]), "catch-all");
}

#[test]
fn flows_are_told_apart_by_what_the_schema_says() {
    let rules = rules();
    let hasher = RandomState::new();
    let flow = |path: &str, name: &str, group: &str| {
        let info = RequestInfo::parse(&http::Method::GET, &path.parse().unwrap());
        rules
            .classify(&info, &User::new(name, &[group]), &hasher)
            .unwrap()
            .flow
    };
    let (a, b) = ("/api/v1/namespaces/a/pods", "/api/v1/namespaces/b/pods");
    let all = "system:authenticated";
    assert_eq!(flow(a, "joe", all), flow(b, "joe", all));
    assert_ne!(flow(a, "joe", all), flow(a, "jim", all));
    let scheduler = "system:kube-scheduler";
    assert_ne!(flow(a, scheduler, all), flow(b, scheduler, all));
}

#[test]
fn seats_are_dealt_by_shares() {
    let rules = rules();
    let of = |name: &str| {
        let target = rules.targets.iter().find(|t| t.level.name == name).unwrap();
        (target.limits.nominal, target.limits.reserved)
    };
    assert_eq!(of("workload-low"), (245, 24));
    assert_eq!(of("leader-election"), (25, 25));
    assert_eq!(of("catch-all"), (13, 13));
}

#[test]
fn wide_lists_take_more_seats() {
    let of = |uri: &str, stored: u64| {
        let info = RequestInfo::parse(&http::Method::GET, &uri.parse().unwrap());
        width(&info, stored)
    };
    assert_eq!(of("/api/v1/pods", 50), 1);
    assert_eq!(of("/api/v1/pods", 450), 5);
    assert_eq!(of("/api/v1/pods", 1_000_000), 10);
    assert_eq!(of("/api/v1/pods?limit=100", 1_000_000), 1);
    assert_eq!(of("/api/v1/pods?watch=1&resourceVersion=7", 450), 1);
    assert_eq!(of("/api/v1/pods?watch=1", 450), 5);
    assert_eq!(of("/api/v1/namespaces/n/pods/p", 450), 1);
}
