//! Admission webhooks, asked for real.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::hook::Hook;

const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An answer to a review; `patch` is a JSON patch.
fn reply(review: &Value, allowed: bool, patch: Option<&Value>) -> Value {
    let mut response = json!({"uid": review["request"]["uid"], "allowed": allowed});
    if let Some(patch) = patch {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(patch.to_string()));
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

/// A configuration with one webhook.
fn configuration(kind: &str, client: &Value, resources: &[&str], operations: &[&str]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "test"},
    "webhooks": [{
        "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": client,
        "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": resources}],
    }]})
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_asked_by_its_name() {
    let server = Server::start().await;
    let hook = Hook::start(&server, |review| {
        reply(review, review["request"]["name"] != "refused", None)
    })
    .await;
    let client = hook.behind(&server, "hook", "/validate").await;
    let object = configuration(
        "ValidatingWebhookConfiguration",
        &client,
        &["configmaps"],
        &["CREATE"],
    );
    let made = server.post(VALIDATING, &object).await.expect(201);
    server.post(MAPS, &map("a")).await.expect(201);
    let host = format!("hook.default.svc:{}", hook.port());
    assert_eq!(hook.asked(), ("/validate?timeout=10s".to_owned(), host));
    assert_eq!(
        server.post(MAPS, &map("refused")).await.fails(400),
        "admission webhook \"a.example.com\" denied the request without explanation"
    );
    assert_eq!(hook.take().len(), 2);

    // What is not there is said as kube-apiserver says it.
    let lead = async |service: Value| {
        let mut changed = made.clone();
        changed["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        changed["webhooks"][0]["clientConfig"]["service"] = service;
        let path = format!("{VALIDATING}/test");
        server.put(&path, &changed).await.expect(200);
        server.post(MAPS, &map("b")).await.fails(500)
    };
    assert_eq!(
        lead(json!({"namespace": "default", "name": "none", "path": "/validate"})).await,
        "Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: \
         Post \"https://none.default.svc:443/validate?timeout=10s\": service \"none\" not found"
    );
    let plain = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "plain"},
        "spec": {"ports": [{"port": 80}]}});
    let services = "/api/v1/namespaces/default/services";
    server.post(services, &plain).await.expect(201);
    let message = lead(json!({"namespace": "default", "name": "plain"})).await;
    assert!(
        message.ends_with("no service port 443 found for service \"plain\""),
        "{message}"
    );
    let message = lead(json!({"namespace": "default", "name": "plain", "port": 80})).await;
    assert!(
        message.ends_with("no endpoints available for service \"plain\""),
        "{message}"
    );
    // The certificate is of another Service.
    let other = hook.behind(&server, "other", "/").await;
    let message = lead(other["service"].clone()).await;
    assert!(message.contains("other.default.svc"), "{message}");
    assert!(hook.take().is_empty());
}

#[tokio::test]
async fn webhooks_change_bindings_evictions_and_scales() {
    let server = Server::start().await;
    server.default_account().await;
    let hook = Hook::start(&server, |review| {
        let request = &review["request"];
        let patch = match request["subResource"].as_str() {
            Some("binding") => json!([{"op": "replace", "path": "/target/name", "value": "other"}]),
            Some("eviction") => {
                json!([{"op": "add", "path": "/deleteOptions", "value": {"dryRun": ["All"]}}])
            }
            Some("scale") if request["object"]["spec"]["replicas"].as_i64() > Some(3) => {
                json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])
            }
            // Deletions of Pods among them.
            None => return reply(review, false, None),
            _ => json!([]),
        };
        reply(review, true, Some(&patch))
    })
    .await;
    let client = json!({"url": hook.url, "caBundle": hook.ca});
    let resources = ["pods/binding", "pods/eviction", "*/scale"];
    let mut object = configuration(
        "MutatingWebhookConfiguration",
        &client,
        &resources,
        &["CREATE", "UPDATE"],
    );
    object["webhooks"][0]["rules"].as_array_mut().unwrap().push(
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]}),
    );
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post(pods, &pod).await.expect(201);
    let mutating = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    server.post(mutating, &object).await.expect(201);

    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node"}});
    server
        .post(&format!("{pods}/p/binding"), &binding)
        .await
        .expect(201);
    let bound = server.get(&format!("{pods}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "other");

    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    server
        .post(&format!("{pods}/p/eviction"), &eviction)
        .await
        .expect(201);
    let kept = server.get(&format!("{pods}/p")).await.expect(200);
    assert_eq!(kept["metadata"].get("deletionTimestamp"), None, "a dry run");
    let asked = hook.take();
    let operations: Vec<(&Value, &Value)> = asked
        .iter()
        .map(|r| (&r["request"]["operation"], &r["request"]["subResource"]))
        .collect();
    assert_eq!(
        operations,
        [
            (&json!("CREATE"), &json!("binding")),
            (&json!("CREATE"), &json!("eviction")),
        ],
        "nobody is asked about the deletion that an eviction is"
    );
    assert_eq!(
        server
            .send("DELETE", &format!("{pods}/p"), &[], "")
            .await
            .code,
        400,
        "but about one that is asked for"
    );

    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    server.post(deployments, &deployment).await.expect(201);
    let path = format!("{deployments}/d/scale");
    let mut scale = server.get(&path).await.expect(200);
    scale["spec"]["replicas"] = json!(10);
    let scaled = server.put(&path, &scale).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 3);
    let scaled = server
        .patch(&path, "merge-patch+json", &json!({"spec": {"replicas": 2}}))
        .await
        .expect(200);
    assert_eq!(scaled["spec"]["replicas"], 2);
    // The version that was read is demanded still.
    assert_eq!(server.put(&path, &scale).await.code, 409);
}
