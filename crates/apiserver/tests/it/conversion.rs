//! Conversion webhooks: `size` in v1 is `{value, unit}` in v2.

use serde_json::{Value, json};

use crate::harness::Server;
use crate::hook::Hook;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";

fn path(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/widgets")
}

fn schema(spec: &Value) -> Value {
    json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": spec},
    }}})
}

/// Stores v1 and serves both.
fn crd(hook: &Hook) -> Value {
    let v1 =
        schema(&json!({"size": {"type": "string"}, "color": {"type": "string", "default": "red"}}));
    let v2 = schema(&json!({
        "extent": {"type": "object", "properties": {"value": {"type": "integer"}, "unit": {"type": "string"}}},
        "color": {"type": "string"},
    }));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": v1},
                {"name": "v2", "served": true, "storage": false, "schema": v2},
            ],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": {"url": hook.url, "caBundle": hook.ca},
                "conversionReviewVersions": ["v9", "v1"],
            }},
        },
    })
}

/// Between `"5m"` and `{value: 5, unit: "m"}`. An object annotated with `fail` cannot be converted, and the
/// annotation `meddle` makes it an answer that is not allowed.
fn convert(review: &Value) -> Value {
    let request = &review["request"];
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let mut result = json!({"status": "Success"});
    let mut converted = Vec::new();
    for object in request["objects"].as_array().unwrap() {
        let mut object = object.clone();
        let annotation = |name: &str| object["metadata"]["annotations"].get(name).is_some();
        let (fail, meddle) = (annotation("fail"), annotation("meddle"));
        if fail {
            result = json!({"status": "Failure", "message": "it does not want to"});
        }
        object["apiVersion"] = json!(wanted);
        if !object["spec"].is_object() {
            object["spec"] = json!({});
        }
        if wanted == "example.com/v2" {
            if let Some(Value::String(size)) =
                object["spec"].as_object_mut().unwrap().remove("size")
            {
                let digits = size.trim_end_matches(char::is_alphabetic);
                let unit = &size[digits.len()..];
                object["spec"]["extent"] =
                    json!({"value": digits.parse::<i64>().unwrap(), "unit": unit});
            }
        } else if let Some(extent) = object["spec"].as_object_mut().unwrap().remove("extent") {
            object["spec"]["size"] = json!(format!(
                "{}{}",
                extent["value"],
                extent["unit"].as_str().unwrap_or("")
            ));
        }
        object["metadata"]["labels"]["converted"] = json!("yes");
        object["metadata"]["generation"] = json!(77);
        object["spec"]["unknown"] = json!(true);
        if meddle {
            object["metadata"]["name"] = json!("another");
        }
        converted.push(object);
    }
    json!({
        "kind": "ConversionReview", "apiVersion": review["apiVersion"],
        "response": {"uid": request["uid"], "result": result, "convertedObjects": converted},
    })
}

fn widget(version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn start() -> (Server, Hook) {
    let server = Server::start().await;
    let hook = Hook::start(&server, convert).await;
    server.post(CRDS, &crd(&hook)).await.expect(201);
    (server, hook)
}

#[tokio::test]
async fn every_version_is_read_and_written_through_the_webhook() {
    let (server, hook) = start().await;
    let (v1, v2) = (path("v1"), path("v2"));
    let made = server
        .post(&v1, &widget("v1", "a", &json!({"size": "5m"})))
        .await
        .expect(201);
    assert_eq!(made["spec"], json!({"size": "5m", "color": "red"}));
    server.get(&format!("{v1}/a")).await.expect(200);
    assert!(
        hook.take().is_empty(),
        "the stored version needs no conversion"
    );

    let read = server.get(&format!("{v2}/a")).await.expect(200);
    assert_eq!(read["apiVersion"], "example.com/v2");
    assert_eq!(
        read["spec"],
        json!({"extent": {"value": 5, "unit": "m"}, "color": "red"})
    );
    // Labels are the webhook's to change, the rest of the metadata is not.
    assert_eq!(read["metadata"]["labels"], json!({"converted": "yes"}));
    assert_eq!(read["metadata"]["generation"], 1);
    assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
    let review = hook.take().pop().unwrap();
    assert_eq!(review["apiVersion"], "apiextensions.k8s.io/v1");
    assert_eq!(review["request"]["desiredAPIVersion"], "example.com/v2");
    assert_eq!(
        review["request"]["objects"][0]["metadata"]["uid"],
        made["metadata"]["uid"]
    );
    // As upstream asks: the revision is put in after the conversion.
    assert_eq!(
        review["request"]["objects"][0]["metadata"].get("resourceVersion"),
        None
    );

    // A write in the other version is converted to be stored, and shown as it will be read back.
    let extent = json!({"extent": {"value": 7, "unit": "km"}});
    let made = server
        .post(&v2, &widget("v2", "b", &extent))
        .await
        .expect(201);
    assert_eq!(
        made["spec"],
        json!({"extent": {"value": 7, "unit": "km"}, "color": "red"})
    );
    let read = server.get(&format!("{v1}/b")).await.expect(200);
    assert_eq!(read["spec"], json!({"size": "7km", "color": "red"}));
    let patch = json!({"spec": {"extent": {"value": 8}}});
    let patched = server
        .patch(&format!("{v2}/b"), "merge-patch+json", &patch)
        .await
        .expect(200);
    assert_eq!(patched["spec"]["extent"], json!({"value": 8, "unit": "km"}));
    assert_eq!(patched["metadata"]["generation"], 2);
    let mut object = server.get(&format!("{v2}/b")).await.expect(200);
    object["spec"]["extent"]["unit"] = json!("mm");
    server.put(&format!("{v2}/b"), &object).await.expect(200);
    let read = server.get(&format!("{v1}/b")).await.expect(200);
    assert_eq!(read["spec"]["size"], "8mm");

    hook.take();
    let list = server.get(&format!("{v2}?limit=10")).await.expect(200);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| item["spec"]["extent"].is_object()));
    assert_eq!(hook.take().len(), 1, "a list is one question");
    let dry = widget("v2", "c", &json!({"extent": {"value": 1, "unit": "m"}}));
    let dry = server
        .post(&format!("{v2}?dryRun=All"), &dry)
        .await
        .expect(201);
    assert_eq!(dry["spec"]["color"], "red");
    assert_eq!(server.get(&format!("{v2}/c")).await.code, 404);
    server
        .send("DELETE", &format!("{v2}/b"), &[], "")
        .await
        .expect(200);
}

#[tokio::test]
async fn a_webhook_may_stand_behind_a_service() {
    let server = Server::start().await;
    let hook = Hook::start(&server, convert).await;
    let mut object = crd(&hook);
    object["spec"]["conversion"]["webhook"]["clientConfig"] =
        hook.behind(&server, "hook", "/convert").await;
    server.post(CRDS, &object).await.expect(201);
    let made = widget("v1", "a", &json!({"size": "5m"}));
    server.post(&path("v1"), &made).await.expect(201);
    let read = server.get(&format!("{}/a", path("v2"))).await.expect(200);
    assert_eq!(read["spec"]["extent"], json!({"value": 5, "unit": "m"}));
    let host = format!("hook.default.svc:{}", hook.port());
    assert_eq!(hook.asked(), ("/convert?timeout=30s".to_owned(), host));
}

#[tokio::test]
async fn watches_show_their_version() {
    let (server, _hook) = start().await;
    let (v1, v2) = (path("v1"), path("v2"));
    server
        .post(&v1, &widget("v1", "a", &json!({"size": "5m"})))
        .await
        .expect(201);
    let version = server.get(&v1).await.expect(200)["metadata"]["resourceVersion"].clone();
    let patch = json!({"spec": {"size": "6m"}});
    server
        .patch(&format!("{v1}/a"), "merge-patch+json", &patch)
        .await
        .expect(200);
    server
        .send("DELETE", &format!("{v1}/a"), &[], "")
        .await
        .expect(200);
    let from = version.as_str().unwrap();
    let watched = server
        .get(&format!(
            "{v2}?watch=1&resourceVersion={from}&timeoutSeconds=1"
        ))
        .await;
    let lines = watched
        .bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let shown: Vec<(&str, &Value)> = events
        .iter()
        .map(|event| {
            (
                event["type"].as_str().unwrap(),
                &event["object"]["spec"]["extent"]["value"],
            )
        })
        .collect();
    assert_eq!(shown, [("MODIFIED", &json!(6)), ("DELETED", &json!(6))]);
    assert!(
        events
            .iter()
            .all(|event| event["object"]["apiVersion"] == "example.com/v2")
    );
}

#[tokio::test]
async fn field_managers_of_one_version_keep_what_they_own_in_another() {
    let (server, _hook) = start().await;
    let apply = async |version: &str, manager: &str, force: &str, spec: Value| {
        let path = format!("{}/a?fieldManager={manager}&force={force}", path(version));
        let body = widget(version, "a", &spec);
        server.patch(&path, "apply-patch+yaml", &body).await
    };
    apply("v1", "one", "false", json!({"size": "5m"}))
        .await
        .expect(201);
    // In v2 the size is two fields, which belong to who applied it in v1.
    let taken = apply("v2", "two", "false", json!({"extent": {"value": 6}})).await;
    let message = taken.fails(409);
    assert!(message.contains("conflict with \"one\""), "{message}");
    assert!(message.contains(".spec.size"), "{message}");
    let both = apply(
        "v2",
        "two",
        "false",
        json!({"color": "blue", "extent": {"value": 5, "unit": "m"}}),
    )
    .await;
    let both = both.expect(200);
    let fields = both["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .clone();
    let versions: Vec<&str> = fields
        .iter()
        .map(|f| f["apiVersion"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["example.com/v1", "example.com/v2"]);
    // By force it is taken, and the field of v1 with it.
    let forced = apply(
        "v2",
        "two",
        "true",
        json!({"extent": {"value": 6, "unit": "m"}}),
    )
    .await
    .expect(200);
    let fields = forced["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .clone();
    let one = fields.iter().find(|f| f["manager"] == "one");
    assert_eq!(
        one.and_then(|one| one["fieldsV1"]["f:spec"].get("f:size")),
        None
    );
    // Who applied in v2 and applies nothing in v1 now gives its fields up.
    apply("v1", "two", "false", json!({})).await.expect(200);
    let left = server.get(&format!("{}/a", path("v1"))).await.expect(200);
    assert_eq!(left["spec"].get("size"), None, "{left}");
}

#[tokio::test]
async fn what_the_webhook_gets_wrong_is_said() {
    let (server, hook) = start().await;
    let (v1, v2) = (path("v1"), path("v2"));
    for annotation in ["fail", "meddle"] {
        let mut object = widget("v1", annotation, &json!({"size": "5m"}));
        object["metadata"]["annotations"] = json!({annotation: ""});
        server.post(&v1, &object).await.expect(201);
    }
    assert_eq!(
        server.get(&format!("{v2}/fail")).await.fails(500),
        "conversion webhook for example.com/v1, Kind=Widget failed: it does not want to"
    );
    assert_eq!(
        server.get(&format!("{v2}/meddle")).await.fails(500),
        "conversion webhook for example.com/v1, Kind=Widget returned invalid object: must have the same name: meddle != another"
    );
    assert_eq!(server.get(&v2).await.code, 500);
    let watched = server.get(&format!("{v2}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(watched.code, 500);
    // A Service may lead nowhere, and a webhook may be gone: the stored version is served all the same.
    let service = json!({"spec": {"conversion": {"webhook": {"clientConfig": {
        "url": null, "service": {"namespace": "n", "name": "s"},
    }}}}});
    let changed = server
        .patch(CRD, "merge-patch+json", &service)
        .await
        .expect(200);
    assert_eq!(
        changed["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"],
        443
    );
    assert_eq!(
        server.get(&format!("{v2}/fail")).await.fails(500),
        "conversion webhook for example.com/v1, Kind=Widget failed: Post \"https://s.n.svc:443/?timeout=30s\": service \"s\" not found"
    );
    server.get(&format!("{v1}/fail")).await.expect(200);
    drop(hook);
    // And the end of the CRD does not hang on it.
    server.send("DELETE", CRD, &[], "").await.expect(200);
    crate::harness::eventually("the end of the CRD", async || {
        server.get(CRD).await.code == 404
    })
    .await;
}

#[tokio::test]
async fn a_new_storage_version_takes_objects_over_when_they_are_written() {
    let (server, hook) = start().await;
    let v1 = path("v1");
    server
        .post(&v1, &widget("v1", "a", &json!({"size": "5m"})))
        .await
        .expect(201);
    let turn = json!([
        {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true},
    ]);
    let changed = server
        .patch(CRD, "json-patch+json", &turn)
        .await
        .expect(200);
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    hook.take();
    let before = server.get(&format!("{v1}/a")).await.expect(200);
    assert!(hook.take().is_empty(), "it is still stored in v1");
    let written = server.put(&format!("{v1}/a"), &before).await.expect(200);
    assert_ne!(
        written["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
    hook.take();
    server.get(&format!("{}/a", path("v2"))).await.expect(200);
    assert!(hook.take().is_empty(), "it is stored in v2 now");
    assert_eq!(
        server.get(&format!("{v1}/a")).await.expect(200)["spec"]["size"],
        "5m"
    );
}

#[tokio::test]
async fn a_conversion_must_be_complete() {
    let (server, hook) = start().await;
    let causes = async |conversion: Value| {
        let mut object = crd(&hook);
        object["metadata"]["name"] = json!("gadgets.example.com");
        object["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
        object["spec"]["conversion"] = conversion;
        let status = server.post(CRDS, &object).await.expect(422);
        let causes = status["details"]["causes"].as_array().unwrap().clone();
        causes
            .iter()
            .map(|c| c["field"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let at = |field: &str| format!("spec.conversion.{field}");
    assert_eq!(
        causes(json!({"strategy": "Webhook"})).await,
        [at("webhookClientConfig"), at("conversionReviewVersions")]
    );
    let plain = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": "http://127.0.0.1/"}, "conversionReviewVersions": ["v2"],
    }});
    assert_eq!(
        causes(plain).await,
        [
            at("webhookClientConfig.url"),
            at("conversionReviewVersions")
        ]
    );
    assert_eq!(causes(json!({"strategy": "Magic"})).await, [at("strategy")]);
    let none = json!({"strategy": "None", "webhook": {
        "clientConfig": {"url": "https://127.0.0.1/"}, "conversionReviewVersions": ["v1"],
    }});
    assert_eq!(
        causes(none).await,
        [at("webhookClientConfig"), at("conversionReviewVersions")]
    );
}

#[tokio::test]
async fn many_watchers_cost_one_conversion_each_change() {
    let (server, hook) = start().await;
    let (v1, v2) = (path("v1"), path("v2"));
    server
        .post(&v1, &widget("v1", "a", &json!({"size": "1m"})))
        .await
        .expect(201);
    let from = server.get(&v1).await.expect(200)["metadata"]["resourceVersion"].clone();
    for size in ["2m", "3m", "4m"] {
        let patch = json!({"spec": {"size": size}});
        let path = format!("{v1}/a");
        let patched = server.patch(&path, "merge-patch+json", &patch).await;
        patched.expect(200);
    }
    let watched = format!(
        "{v2}?watch=1&resourceVersion={}&timeoutSeconds=3",
        from.as_str().unwrap()
    );
    let answers = futures_util::future::join_all((0..8).map(|_| server.get(&watched))).await;
    for answer in answers {
        let lines = answer.bytes.split(|byte| *byte == b'\n');
        let values: Vec<Value> = lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice::<Value>(line).unwrap())
            .map(|event| event["object"]["spec"]["extent"]["value"].clone())
            .collect();
        assert_eq!(values, [json!(2), json!(3), json!(4)]);
    }
    // The three new ones, and the first as what was there before.
    let asked: usize = hook
        .take()
        .iter()
        .map(|review| review["request"]["objects"].as_array().unwrap().len())
        .sum();
    assert_eq!(asked, 4);
    server.get(&format!("{v2}/a")).await.expect(200);
    server.get(&v2).await.expect(200);
    assert!(hook.take().is_empty(), "it is known");
}
