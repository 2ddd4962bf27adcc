//! What leads into containers and through nodes: named, and refused with a reason.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn subresources_that_need_a_kubelet_say_why_they_are_refused() {
    let server = Server::start().await;
    server.default_account().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod =
        |name: &str, spec: serde_json::Value| json!({"metadata": {"name": name}, "spec": spec});
    let containers = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    let placed =
        json!({"nodeName": "n", "containers": containers, "automountServiceAccountToken": false});
    let waits = json!({"containers": containers, "automountServiceAccountToken": false});
    server.post(pods, &pod("placed", placed)).await.expect(201);
    server.post(pods, &pod("waits", waits)).await.expect(201);
    let asked = async |path: &str| server.get(&format!("{pods}/{path}")).await;
    assert_eq!(
        asked("nothing/exec?command=ls").await.fails(404),
        "pods \"nothing\" not found"
    );
    assert_eq!(
        asked("waits/exec?container=a").await.fails(400),
        "pod waits does not have a host assigned"
    );
    assert!(
        asked("placed/attach")
            .await
            .fails(400)
            .contains("choose one of: [a b]")
    );
    assert!(
        asked("placed/exec?container=c")
            .await
            .fails(400)
            .contains("is not valid for pod")
    );
    let refused = asked("placed/exec?container=a&command=ls").await;
    let status = refused.expect(501);
    assert_eq!(status["reason"], "NotImplemented");
    assert_eq!(
        status["message"],
        "pods/exec \"placed\" is not implemented by this engine: it runs no containers to connect to"
    );
    assert_eq!(asked("waits/portforward").await.code, 400);
    assert_eq!(asked("placed/portforward").await.code, 501);
    assert_eq!(
        asked("placed:80/proxy/index.html").await.fails(400),
        "address not allowed"
    );
    assert_eq!(asked("placed:80:1:2/proxy").await.code, 400);
    // What is readable of them is the Pod.
    for (name, code) in [("resize", 200), ("ephemeralcontainers", 501)] {
        assert_eq!(
            asked(&format!("placed/{name}")).await.expect(200)["kind"],
            "Pod"
        );
        let path = format!("{pods}/placed/{name}");
        let patched = server
            .patch(&path, "merge-patch+json", &json!({"spec": {}}))
            .await;
        assert_eq!(patched.code, code);
        assert_eq!(server.send("DELETE", &path, &[], "").await.code, 405);
    }
    let nodes = server.get("/api/v1/nodes/n/proxy/metrics").await;
    assert_eq!(nodes.fails(404), "nodes \"n\" not found");
    server
        .post("/api/v1/nodes", &json!({"metadata": {"name": "n"}}))
        .await
        .expect(201);
    let nodes = server.get("/api/v1/nodes/n/proxy/metrics").await;
    assert!(nodes.fails(501).contains("no kubelet"));
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    server.post(services, &service).await.expect(201);
    let path = format!("{services}/https:s:443/proxy/");
    assert_eq!(server.get(&path).await.code, 501);
    assert_eq!(server.put(&path, &json!({})).await.code, 501);
}

#[tokio::test]
async fn a_pod_waits_for_the_account_that_a_controller_makes() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |account: &str| {
        json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": account, "containers": [{"name": "a", "image": "x"}],
        }})
    };
    let missing = |name: &str| {
        format!(
            "pods \"p\" is forbidden: error looking up service account default/{name}: serviceaccount {name:?} not found"
        )
    };
    // Nobody makes another one.
    let refused = server.post(pods, &pod("other")).await.fails(403);
    assert_eq!(refused, missing("other"));
    let began = std::time::Instant::now();
    let refused = server.post(pods, &pod("default")).await.fails(403);
    assert_eq!(refused, missing("default"));
    assert!(began.elapsed() >= std::time::Duration::from_millis(1200));
    // The account comes second.
    let account = json!({"metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let unnamed = pod("");
    let (admitted, made) =
        tokio::join!(server.post(pods, &unnamed), server.post(accounts, &account));
    made.expect(201);
    let pod = admitted.expect(201);
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
}

#[tokio::test]
async fn a_pod_that_waits_is_resized_within_its_quota_and_one_that_runs_is_not() {
    let server = Server::start().await;
    server.default_account().await;
    let core = "/api/v1/namespaces/default";
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "2"}}});
    let quotas = format!("{core}/resourcequotas");
    server.post(&quotas, &quota).await.expect(201);
    let resources = json!({"requests": {"cpu": "1", "memory": "64Mi"}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "automountServiceAccountToken": false,
        "containers": [{"name": "a", "image": "x", "resources": resources}],
    }});
    server.post(&format!("{core}/pods"), &pod).await.expect(201);
    let path = format!("{core}/pods/p/resize");
    let to = |cpu: &str| {
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "a", "image": "other", "resources": {"requests": {"cpu": cpu}}},
        ]}})
    };
    let form = "strategic-merge-patch+json";
    let resized = server.patch(&path, form, &to("1500m")).await.expect(200);
    let container = &resized["spec"]["containers"][0];
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": "1500m", "memory": "64Mi"})
    );
    assert_eq!(container["image"], "x");
    assert!(resized["metadata"]["labels"].is_null());
    assert_eq!(resized["metadata"]["generation"], 2);
    let refused = server.patch(&path, form, &to("3")).await.fails(403);
    assert!(refused.contains("exceeded quota: q"), "{refused}");
    let used = server.get(&format!("{quotas}/q")).await.expect(200);
    assert_eq!(used["status"]["used"]["requests.cpu"], "1500m");

    let running = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "a", "image": "x", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }]}});
    let status = format!("{core}/pods/p/status");
    server
        .patch(&status, "merge-patch+json", &running)
        .await
        .expect(200);
    let refused = server.patch(&path, form, &to("1")).await.fails(422);
    assert!(
        refused.contains("Pod running on node without support for resize"),
        "{refused}"
    );
}
