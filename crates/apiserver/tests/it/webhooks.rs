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
