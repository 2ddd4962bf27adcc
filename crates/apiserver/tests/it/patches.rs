//! Patches that do not fit, and apply through `scale`.

use serde_json::{Value, json};

use crate::harness::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// Field and reason of each cause of a refusal.
fn causes(status: &Value) -> Vec<String> {
    let list = status["details"]["causes"].as_array();
    let text = |cause: &Value| {
        let (field, reason) = (&cause["field"], &cause["reason"]);
        format!("{} {}", field.as_str().unwrap(), reason.as_str().unwrap())
    };
    list.into_iter().flatten().map(text).collect()
}

#[tokio::test]
async fn what_a_patch_breaks_is_the_fault_of_the_patch() {
    let server = Server::start().await;
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    server.post(MAPS, &map).await.expect(201);
    let one = format!("{MAPS}/a");
    for broken in [
        json!({"data": 5}),
        json!({"kind": "Secret"}),
        json!({"apiVersion": "v2"}),
        json!({"metadata": 5}),
        json!({"metadata": {"labels": {"l": 1}}}),
    ] {
        let answer = server.patch(&one, "merge-patch+json", &broken).await;
        let status = answer.expect(422);
        assert_eq!(causes(&status), ["patch FieldValueInvalid"], "{broken}");
        assert_eq!(status["details"]["kind"], Value::Null, "names no object");
    }
    // What cannot be applied at all has no causes.
    let failing = json!([{"op": "test", "path": "/data/k", "value": "other"}]);
    let status = server.patch(&one, "json-patch+json", &failing).await;
    let status = status.expect(422);
    assert_eq!(status["reason"], "Invalid");
    assert_eq!(status["details"], json!({}));
    // What is no patch is a bad request.
    let malformed = json!(["remove"]);
    let answer = server.patch(&one, "json-patch+json", &malformed).await;
    answer.fails(400);
}

#[tokio::test]
async fn replicas_can_be_applied_through_scale() {
    let server = Server::start().await;
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}, "color": {"type": "string"}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    }});
    let scale =
        json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                          "subresources": {"scale": scale}}],
        },
    });
    server.post(CRDS, &crd).await.expect(201);
    let form = "apply-patch+yaml";
    let one = format!("{WIDGETS}/w");
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"replicas": 1, "color": "red"}});
    let owner = format!("{one}?fieldManager=owner");
    server.patch(&owner, form, &widget).await.expect(201);

    let scaler = |options: &str| format!("{one}/scale?fieldManager=scaler{options}");
    let of = |replicas: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "w"},
               "spec": {"replicas": replicas}})
    };
    let status = server.patch(&scaler(""), form, &of(3)).await.expect(409);
    assert_eq!(causes(&status), [".spec.replicas FieldManagerConflict"]);
    let scale = server.patch(&scaler("&force=true"), form, &of(3)).await;
    assert_eq!(scale.expect(200)["spec"]["replicas"], 3);
    let object = server.get(&one).await.expect(200);
    assert_eq!(object["spec"], json!({"replicas": 3, "color": "red"}));
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let entry = managers.iter().find(|m| m["manager"] == "scaler").unwrap();
    assert_eq!(entry["subresource"], "scale");
    assert_eq!(entry["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));

    let status = server.patch(&scaler(""), form, &of(-1)).await.expect(422);
    assert_eq!(causes(&status), ["spec.replicas FieldValueInvalid"]);
    server.patch(&scaler(""), form, &widget).await.fails(400);
    let missing = format!("{WIDGETS}/none/scale?fieldManager=scaler");
    server.patch(&missing, form, &of(1)).await.fails(404);
}
