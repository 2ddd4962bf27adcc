//! What kube-apiserver does to built-in kinds on the way: one spelling, fields that are always there, parts that go
//! with a type, and webhooks that are asked only when their conditions hold.

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::harness::Server;

const CORE: &str = "/api/v1/namespaces/default";
const MERGE: &str = "application/merge-patch+json";

struct Api {
    client: kube::Client,
    _server: Server,
}

impl Api {
    async fn start() -> Self {
        let server = Server::start().await;
        Api {
            client: server.client(),
            _server: server,
        }
    }

    async fn send(&self, method: &str, path: &str, ty: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", ty)
            .body(Body::from(body.into_bytes()))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap())
    }

    async fn create(&self, path: &str, object: Value) -> Value {
        let (code, created) = self.send("POST", path, "application/json", &object).await;
        assert_eq!(code, 201, "{created}");
        created
    }

    async fn patch(&self, path: &str, patch: Value) -> (u16, Value) {
        self.send("PATCH", path, MERGE, &patch).await
    }

    /// Creates what is refused; gives the code and the fields that are at fault.
    async fn refused(&self, path: &str, object: Value) -> (u16, Vec<String>) {
        let (code, status) = self.send("POST", path, "application/json", &object).await;
        let causes = status["details"]["causes"].as_array();
        let fields = causes.into_iter().flatten();
        let fields = fields.filter_map(|c| c["field"].as_str().map(str::to_owned));
        assert!(code >= 400, "{status}");
        (code, fields.collect())
    }
}

fn core(kind: &str, name: &str, spec: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    object["spec"] = spec;
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_and_times_come_back_in_one_spelling() {
    let api = Api::start().await;
    let quota = json!({"hard": {"requests.cpu": "1000m", "requests.memory": "1024Mi", "pods": 5}});
    let quota = api
        .create(
            &format!("{CORE}/resourcequotas"),
            core("ResourceQuota", "q", quota),
        )
        .await;
    assert_eq!(
        quota["spec"]["hard"],
        json!({"requests.cpu": "1", "requests.memory": "1Gi", "pods": "5"})
    );
    assert_eq!(quota["status"], json!({}));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = |renewed: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"renewTime": renewed},
        })
    };
    assert_eq!(api.refused(leases, lease("yesterday")).await, (400, vec![]));
    let lease = api
        .create(leases, lease("2024-01-01T02:00:00.5+02:00"))
        .await;
    assert_eq!(lease["spec"]["renewTime"], "2024-01-01T00:00:00.500000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_range_completes_itself_and_says_what_it_set() {
    let api = Api::start().await;
    let limits = json!({"limits": [{"type": "Container", "max": {"memory": "128Mi"}}]});
    let range = api
        .create(
            &format!("{CORE}/limitranges"),
            core("LimitRange", "l", limits),
        )
        .await;
    let item = &range["spec"]["limits"][0];
    assert_eq!(item["default"], json!({"memory": "128Mi"}));
    assert_eq!(item["defaultRequest"], json!({"memory": "128Mi"}));
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    api.send(
        "POST",
        &format!("{CORE}/serviceaccounts"),
        "application/json",
        &account,
    )
    .await;
    let spec = json!({
        "automountServiceAccountToken": false, "hostNetwork": false,
        "containers": [{"name": "c", "image": "x"}],
    });
    let pod = api
        .create(&format!("{CORE}/pods?dryRun=All"), core("Pod", "p", spec))
        .await;
    assert_eq!(pod["spec"].get("hostNetwork"), None);
    assert_eq!(
        pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: memory request for container c; memory limit for container c"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_service_go_with_its_type() {
    let api = Api::start().await;
    let services = format!("{CORE}/services");
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let service = api.create(&services, core("Service", "s", spec)).await;
    assert!(service["spec"]["ports"][0]["nodePort"].is_i64());
    assert_eq!(service["status"], json!({"loadBalancer": {}}));
    let one = format!("{services}/s");
    let (code, service) = api
        .patch(&one, json!({"spec": {"type": "ClusterIP"}}))
        .await;
    assert_eq!(code, 200, "{service}");
    assert_eq!(service["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(service["spec"].get("externalTrafficPolicy"), None);
    let wrong = json!({"ports": [{"port": 80, "nodePort": 30001}], "loadBalancerClass": "a/b"});
    let expected = ["spec.ports[0].nodePort", "spec.loadBalancerClass"].map(str::to_owned);
    assert_eq!(
        api.refused(&services, core("Service", "w", wrong)).await,
        (422, expected.to_vec())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_claim_grows_where_its_class_can() {
    let api = Api::start().await;
    let class = |name: &str, grows: bool| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "x.example.com/y", "allowVolumeExpansion": grows,
        })
    };
    let claims = format!("{CORE}/persistentvolumeclaims");
    for (name, grows, after_binding) in [("elastic", true, 200), ("stiff", false, 403)] {
        api.create("/apis/storage.k8s.io/v1/storageclasses", class(name, grows))
            .await;
        let spec = json!({
            "storageClassName": name, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1024Mi"}},
        });
        let claim = api
            .create(&claims, core("PersistentVolumeClaim", name, spec))
            .await;
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
        let one = format!("{claims}/{name}");
        let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let (code, status) = api.patch(&one, more.clone()).await;
        assert_eq!(code, 422, "{status}");
        assert_eq!(status["details"]["causes"][0]["field"], "spec");
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        let (code, _) = api.patch(&format!("{one}/status"), bound).await;
        assert_eq!(code, 200);
        let (code, answer) = api.patch(&one, more).await;
        assert_eq!(code, after_binding, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_new_form_say_more() {
    let api = Api::start().await;
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = |more: Value| {
        let mut event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"namespace": "default", "kind": "Pod", "name": "p"},
        });
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        event
    };
    let (code, fields) = api.refused(events, event(json!({}))).await;
    assert_eq!(
        (code, fields),
        (422, ["eventTime", "type"].map(str::to_owned).to_vec())
    );
    let whole = json!({
        "eventTime": "2024-01-01T00:00:00.000000Z", "type": "Normal", "reason": "r", "action": "a",
        "reportingController": "example.com/c", "reportingInstance": "i",
    });
    api.create(events, event(whole)).await;
    let (_, core) = api
        .send(
            "GET",
            &format!("{CORE}/events/e"),
            "application/json",
            &Value::Null,
        )
        .await;
    assert_eq!(core["reportingComponent"], "example.com/c");
    assert_eq!(core["source"], json!({}));
    assert!(core["firstTimestamp"].is_null() && core.get("firstTimestamp").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_to_another_type_is_the_patchs_fault() {
    let api = Api::start().await;
    let maps = format!("{CORE}/configmaps");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    api.create(&maps, map).await;
    let one = format!("{maps}/m");
    for patch in [json!({"data": {"k": 5}}), json!({"data": []})] {
        let (code, status) = api.patch(&one, patch).await;
        assert_eq!(code, 422, "{status}");
        assert_eq!(status["details"]["causes"][0]["field"], "patch", "{status}");
    }
    let applied = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "bogus": 1,
    });
    let (code, status) = api
        .send(
            "PATCH",
            &format!("{one}?fieldManager=m"),
            "application/apply-patch+yaml",
            &applied,
        )
        .await;
    assert_eq!(code, 500, "{status}");
    assert_eq!(
        status["message"],
        "failed to create typed patch object (default/m; v1, Kind=ConfigMap): .bogus: field not declared in schema"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_asked_when_its_conditions_hold() {
    let api = Api::start().await;
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    // Nobody listens: whoever is asked fails.
    let hook = |conditions: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "h"},
            "webhooks": [{
                "name": "h.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:1/"}, "timeoutSeconds": 1,
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
                "matchConditions": conditions,
            }],
        })
    };
    let wrong = json!([
        {"name": "a", "expression": "object.x =="}, {"name": "a", "expression": "1"}, {"name": "", "expression": ""},
    ]);
    let (code, fields) = api.refused(hooks, hook(wrong)).await;
    let at = |rest: &str| format!("webhooks[0].matchConditions{rest}");
    assert_eq!(code, 422);
    for expected in [
        "[1].name",
        "[2].name",
        "[2].expression",
        "[0].expression",
        "[1].expression",
    ] {
        assert!(fields.contains(&at(expected)), "{expected}: {fields:?}");
    }
    let conditions = json!([
        {"name": "named", "expression": "object.metadata.name.startsWith('asked')"},
        {"name": "by-people", "expression": "request.userInfo.username == 'tester' && object.data.k != ''"},
    ]);
    api.create(hooks, hook(conditions)).await;
    let maps = format!("{CORE}/configmaps");
    let map = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    api.create(&maps, map("free", json!({"k": "v"}))).await;
    let (code, _) = api.refused(&maps, map("asked", json!({"k": "v"}))).await;
    assert_eq!(code, 500);
    // The second condition fails to evaluate, and the failure policy is `Fail`.
    let (code, _) = api.refused(&maps, map("asked-not", json!({}))).await;
    assert_eq!(code, 403);
    // It fails here, too, but the first one is false, which decides.
    api.create(&maps, map("free-too", json!({}))).await;
}
