//! Lists and watches at a revision: what is gone, and how clients go on.

use std::sync::Arc;

use serde_json::{Value, json};
use store::{Revision, Store};

use crate::harness::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn map(server: &Server, name: &str) -> u64 {
    let object = json!({"metadata": {"name": name}});
    revision(&server.post(MAPS, &object).await.expect(201))
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap();
    text.parse().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

/// The events of a watch, which the server ends within a second.
async fn events(server: &Server, path: &str) -> Vec<Value> {
    let answer = server.get(&format!("{path}watch=1&timeoutSeconds=1")).await;
    assert_eq!(answer.code, 200);
    let lines = answer.bytes.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_token_that_expired_comes_with_one_that_goes_on_with_newer_state() {
    let mut kept: Option<Arc<dyn Store>> = None;
    let server = Server::with(|config| kept = Some(Arc::clone(&config.store))).await;
    for name in ["a", "b", "c"] {
        map(&server, name).await;
    }
    let page = server.get(&format!("{MAPS}?limit=1")).await.expect(200);
    assert_eq!(names(&page), ["a"]);
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    let newest = map(&server, "bb").await;
    kept.unwrap().compact(Revision(newest)).await.unwrap();

    let page = server
        .get(&format!("{MAPS}?limit=1&continue={token}"))
        .await;
    let status = page.expect(410);
    assert_eq!(status["reason"], "Expired");
    let token = status["metadata"]["continue"].as_str().unwrap().to_owned();
    let page = server
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await;
    let page = page.expect(200);
    assert_eq!(names(&page), ["b", "bb"], "the rest as it is now");
    assert_eq!(revision(&page), newest);
    // From here on the pages agree with one another again.
    map(&server, "bbb").await;
    let token = page["metadata"]["continue"].as_str().unwrap();
    let page = server.get(&format!("{MAPS}?continue={token}")).await;
    assert_eq!(names(&page.expect(200)), ["c"]);
}

#[tokio::test]
async fn a_list_of_any_state_is_whole() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        map(&server, name).await;
    }
    let path = format!("{MAPS}?resourceVersion=0&limit=1");
    let list = server.get(&path).await.expect(200);
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list["metadata"]["continue"], Value::Null);
}

#[tokio::test]
async fn the_history_of_a_custom_kind_begins_with_its_crd() {
    let server = Server::start().await;
    let before = map(&server, "a").await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    server.post(CRDS, &crd).await.expect(201);
    let widgets = "/apis/example.com/v1/widgets";
    let fresh = revision(&server.get(widgets).await.expect(200));
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    server.post(widgets, &widget).await.expect(201);

    let early = events(&server, &format!("{widgets}?resourceVersion={before}&")).await;
    assert_eq!(early.len(), 1, "{early:?}");
    assert_eq!(early[0]["type"], "ERROR");
    let object = &early[0]["object"];
    assert_eq!(
        (&object["code"], &object["reason"]),
        (&json!(410), &json!("Expired"))
    );

    let later = events(&server, &format!("{widgets}?resourceVersion={fresh}&")).await;
    assert_eq!(later.len(), 1, "{later:?}");
    assert_eq!(later[0]["type"], "ADDED");
}

#[tokio::test]
async fn views_must_fit_what_is_read() {
    let server = Server::start().await;
    map(&server, "a").await;
    let get = async |path: &str, view: &str| {
        let media = format!("application/json;as={view};g=meta.k8s.io;v=v1");
        let answer = server.send("GET", path, &[("accept", &media)], "").await;
        answer.code
    };
    let one = format!("{MAPS}/a");
    assert_eq!(get(&one, "PartialObjectMetadata").await, 200);
    assert_eq!(get(MAPS, "PartialObjectMetadataList").await, 200);
    assert_eq!(get(MAPS, "PartialObjectMetadata").await, 406);
    assert_eq!(get(&one, "PartialObjectMetadataList").await, 406);
    let none = format!("{MAPS}?includeObject=None");
    assert_eq!(get(&none, "Table").await, 200);
    let wrong = format!("{MAPS}?includeObject=All");
    assert_eq!(get(&wrong, "Table").await, 400);
    assert_eq!(server.get(&wrong).await.code, 200, "says nothing of others");
}
