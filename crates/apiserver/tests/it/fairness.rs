//! One greedy client against the others, over real TLS; and bounds on what clients may cost.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Server, eventually};
use crate::wire::{self, Client, full, metric, p99, request};

const SLOW: usize = 150;
const ROUNDS: usize = 100;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Times of a modest client's gets and writes, and of the same by a caller in the process.
async fn measure(server: &Server) -> (Duration, Duration) {
    let mut modest = Client::new(server, "modest-token").await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let began = Instant::now();
        let (status, _) = modest.get(&format!("{MAPS}/m")).await;
        assert_eq!(status, 200);
        let patch = json!({"data": {"k": round.to_string()}});
        let body = full(patch.to_string());
        let mut write = request("modest-token", Method::PATCH, &format!("{MAPS}/m"), body);
        let media = "application/merge-patch+json".parse().unwrap();
        write.headers_mut().insert("content-type", media);
        let answer = modest.send(write).await;
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        outside.push(began.elapsed());
        let began = Instant::now();
        maps.get("m").await.unwrap();
        maps.patch("m", &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
        inside.push(began.elapsed());
    }
    (p99(outside), p99(inside))
}

/// A request that takes seconds of the server and none of its processor: a list at a revision that is not there yet.
async fn slow_lists(mut client: Client) {
    loop {
        let (status, text) = client
            .get(&format!(
                "{MAPS}?resourceVersion=999999999&resourceVersionMatch=NotOlderThan"
            ))
            .await;
        assert!(matches!(status.as_u16(), 429 | 504), "{status} {text}");
    }
}

/// A body that is announced and does not come.
async fn slow_body(mut client: Client) {
    client
        .send(wire::announce("greedy-token", MAPS, 10_000))
        .await;
    // Sent away after a minute; whoever measures is done by then.
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_client_does_not_slow_the_others_down() {
    // Few seats, so that a few hundred requests are many times too many.
    let server = wire::server_with(|config| config.seats = 60).await;
    let mut admin = Client::new(&server, "admin-token").await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    assert_eq!(admin.ask(Method::POST, MAPS, map).await.0, 201);
    let (outside, inside) = measure(&server).await;

    let mut greedy = tokio::task::JoinSet::new();
    for _ in 0..SLOW {
        greedy.spawn(slow_lists(Client::new(&server, "greedy-token").await));
        greedy.spawn(slow_body(Client::new(&server, "greedy-token").await));
    }
    let level = r#"{priority_level="global-default"}"#;
    let waiting = format!("apiserver_flowcontrol_current_inqueue_requests{level}");
    let mut watcher = Client::new(&server, "admin-token").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let queued = metric(&mut watcher, &waiting).await;
        let bodies = metric(&mut watcher, "ferrovirt_apiserver_bodies_receiving ").await;
        if queued >= 20.0 && bodies >= SLOW as f64 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{queued} wait, {bodies} bodies come"
        );
        tokio::task::yield_now().await;
    }
    let (outside_beside, inside_beside) = measure(&server).await;
    println!(
        "P99 of a get and a write: client {outside:?}, beside the greedy one {outside_beside:?}; in process {inside:?}, beside {inside_beside:?}"
    );
    // Without fairness each would wait for a list of three seconds, or for a body for a minute. The bound is wide for
    // machines that do much else.
    let bound = |alone: Duration| (alone * 20).max(Duration::from_millis(1500));
    assert!(
        outside_beside < bound(outside),
        "{outside:?} {outside_beside:?}"
    );
    assert!(
        inside_beside < bound(inside),
        "{inside:?} {inside_beside:?}"
    );
    // The greedy one itself is served, within its share.
    let seats = format!("apiserver_flowcontrol_current_executing_seats{level}");
    let held = metric(&mut watcher, &seats).await;
    assert!((1.0..60.0).contains(&held), "{held}");
    assert!(greedy.try_join_next().is_none(), "a greedy request failed");
    greedy.shutdown().await;
    let idle = async || metric(&mut Client::new(&server, "admin-token").await, &seats).await;
    eventually("seats are given back", || async { idle().await < 1.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flow_schemas_are_served_and_decide() {
    let server = wire::server_with(|_| {}).await;
    let mut admin = Client::new(&server, "admin-token").await;
    let base = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let (_, levels) = admin
        .ask(
            Method::GET,
            &format!("{base}/prioritylevelconfigurations"),
            json!(null),
        )
        .await;
    let names: Vec<&str> = levels["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    // A level that takes nothing, for one user.
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "tiny"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}},
    });
    let (code, level) = admin
        .ask(
            Method::POST,
            &format!("{base}/prioritylevelconfigurations"),
            level,
        )
        .await;
    assert_eq!(
        (code, &level["spec"]["limited"]["lendablePercent"]),
        (201, &json!(0)),
        "{level}"
    );
    let schema = |precedence: u32| {
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "greedy"},
            "spec": {"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": "tiny"}, "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "greedy"}}],
                "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["*"]}],
            }]},
        })
    };
    let (code, status) = admin
        .ask(Method::POST, &format!("{base}/flowschemas"), schema(1))
        .await;
    assert_eq!(code, 422, "{status}");
    let (code, schema) = admin
        .ask(Method::POST, &format!("{base}/flowschemas"), schema(700))
        .await;
    assert_eq!(code, 201, "{schema}");
    let uid = schema["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut greedy = Client::new(&server, "greedy-token").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let response = greedy
            .send(request("greedy-token", Method::GET, MAPS, full("")))
            .await;
        let header = response
            .headers()
            .get("x-kubernetes-pf-flowschema-uid")
            .unwrap()
            .clone();
        response.into_body().collect().await.unwrap();
        if header.to_str().unwrap() == uid {
            break;
        }
        assert!(Instant::now() < deadline, "the schema is not taken up");
    }
    // Its level has one seat and no queue.
    let slow = tokio::spawn(async move {
        greedy
            .get(&format!(
                "{MAPS}?resourceVersion=999999999&resourceVersionMatch=NotOlderThan"
            ))
            .await
    });
    let mut second = Client::new(&server, "greedy-token").await;
    let refused = loop {
        let response = second
            .send(request("greedy-token", Method::GET, MAPS, full("")))
            .await;
        let (parts, body) = response.into_parts();
        body.collect().await.unwrap();
        if parts.status == 429 {
            break parts;
        }
        assert!(!slow.is_finished(), "it never held its seat");
    };
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers["x-kubernetes-pf-flowschema-uid"], uid);
    assert_eq!(slow.await.unwrap().0, 504);
    let rejected = r#"apiserver_flowcontrol_rejected_requests_total{priority_level="tiny",flow_schema="greedy",reason="concurrency-limit"}"#;
    assert!(metric(&mut admin, rejected).await >= 1.0);
    // A mandatory object comes back.
    let path = format!("{base}/flowschemas/catch-all");
    assert_eq!(admin.ask(Method::DELETE, &path, json!(null)).await.0, 200);
    let is_back = async || Client::new(&server, "admin-token").await.get(&path).await.0 == 200;
    eventually("catch-all is made again", || async { is_back().await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_may_send_is_bounded() {
    let server = wire::server_with(|_| {}).await;
    let mut client = Client::new(&server, "modest-token").await;
    let announced = wire::announce("modest-token", MAPS, (3 << 20) + 1);
    assert_eq!(client.send(announced).await.status(), 413);
    // Heads.
    let mut client = Client::new(&server, "modest-token").await;
    let mut long = request("modest-token", Method::GET, MAPS, full(""));
    long.headers_mut()
        .insert("x-long", "x".repeat(100_000).parse().unwrap());
    assert_eq!(client.send(long).await.status(), 431);
    // Requests that are taken back as soon as they are sent (CVE-2023-44487): the connection ends, the server does not.
    let mut sender = wire::http2(&server).await;
    for _ in 0..5_000 {
        if sender.ready().await.is_err() {
            break;
        }
        let path = format!("https://localhost{MAPS}");
        drop(sender.send_request(request("greedy-token", Method::GET, &path, full(""))));
        tokio::task::yield_now().await;
    }
    let mut client = Client::new(&server, "modest-token").await;
    assert_eq!(client.get(MAPS).await.0, 200);
    let level =
        r#"apiserver_flowcontrol_current_executing_requests{priority_level="global-default"}"#;
    let idle = async || metric(&mut Client::new(&server, "admin-token").await, level).await;
    eventually("nothing is left of what was taken back", || async {
        idle().await < 1.0
    })
    .await;
}
