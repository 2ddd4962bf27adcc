//! Discovery and OpenAPI documents as clients ask for them.

use serde_json::{Value, json};

use crate::harness::Server;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn crd(size: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        size: {"type": "integer", "description": "How big."},
    }}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[tokio::test]
async fn aggregated_discovery_has_a_tag_that_changes_with_the_kinds() {
    let server = Server::start().await;
    let asked = async |tag: &str| {
        let headers = [("accept", AGGREGATED), ("if-none-match", tag)];
        server.send("GET", "/apis", &headers, "").await
    };
    let first = asked("").await;
    assert_eq!(first.header("content-type"), AGGREGATED);
    let tag = first.header("etag").to_owned();
    let known = asked(&tag).await;
    assert_eq!((known.code, known.bytes.len()), (304, 0));
    server.post(CRDS, &crd("size")).await.expect(201);
    let changed = asked(&tag).await;
    let items = changed.expect(200)["items"].clone();
    assert!(
        items
            .as_array()
            .unwrap()
            .iter()
            .any(|g| g["metadata"]["name"] == "example.com")
    );
    // Kubernetes 1.36 speaks v2 only: who asks for the beta alone is refused, who adds plain JSON gets that.
    let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    assert_eq!(
        server
            .send("GET", "/apis", &[("accept", beta)], "")
            .await
            .code,
        406
    );
    let either = format!("{beta},application/json");
    let plain = server
        .send("GET", "/apis", &[("accept", &either)], "")
        .await;
    assert_eq!(plain.expect(200)["kind"], "APIGroupList");
}

#[tokio::test]
async fn documents_of_v3_are_named_by_their_hash() {
    let server = Server::start().await;
    server.post(CRDS, &crd("size")).await.expect(201);
    let url = async || {
        let index = server.get("/openapi/v3").await.expect(200);
        index["paths"]["apis/example.com/v1"]["serverRelativeURL"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = url().await;
    let document = server.get(&first).await;
    assert_eq!(document.header("cache-control"), "public, immutable");
    assert!(document.header("expires").ends_with(" GMT"));
    let tag = document.header("etag").to_owned();
    assert!(first.ends_with(&format!("?hash={}", tag.trim_matches('"'))));
    let known = server
        .send("GET", &first, &[("if-none-match", &tag)], "")
        .await;
    assert_eq!(known.code, 304);
    let bare = server.get("/openapi/v3/apis/example.com/v1").await;
    assert_eq!(bare.header("cache-control"), "no-cache, private");
    assert_eq!(bare.bytes, document.bytes);
    // Another schema is another document; who holds the old name is sent to the new one.
    let patch = json!([{"op": "replace", "path": "/spec/versions", "value": crd("weight")["spec"]["versions"]}]);
    let path = format!("{CRDS}/widgets.example.com");
    server
        .patch(&path, "json-patch+json", &patch)
        .await
        .expect(200);
    let second = url().await;
    assert_ne!(first, second);
    let stale = server.get(&first).await;
    assert_eq!(
        (stale.code, stale.header("location")),
        (301, second.as_str())
    );
    let schemas = server.get(&second).await.expect(200)["components"]["schemas"].clone();
    assert!(
        schemas["com.example.v1.Widget"]["properties"]["spec"]["properties"]["weight"].is_object()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_v2_holds_all_kinds() {
    let server = Server::start().await;
    let first = server.get("/openapi/v2").await;
    assert_eq!(first.header("content-type"), "application/json");
    let tag = first.header("etag").to_owned();
    let document = first.expect(200);
    assert_eq!(document["swagger"], "2.0");
    let known = server
        .send("GET", "/openapi/v2", &[("if-none-match", &tag)], "")
        .await;
    assert_eq!(known.code, 304);
    server.post(CRDS, &crd("size")).await.expect(201);
    let second = server.get("/openapi/v2").await;
    assert_ne!(second.header("etag"), tag);
    let document = second.expect(200);
    let widget = &document["definitions"]["com.example.v1.Widget"];
    assert_eq!(
        widget["properties"]["spec"]["properties"]["size"]["description"],
        "How big."
    );
    assert!(
        document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
            .is_object()
    );
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let binary = server
        .send("GET", "/openapi/v2", &[("accept", protobuf)], "")
        .await;
    assert_eq!(binary.code, 200);
    assert_eq!(
        binary.header("content-type"),
        "application/com.github.proto-openapi.spec.v2.v1+protobuf"
    );
    assert_ne!(binary.header("etag"), second.header("etag"));
    // kubectl reads this form.
    let explained = server
        .kubectl(&[
            "explain",
            "widget.spec.size",
            "--output=plaintext-openapiv2",
        ])
        .await;
    assert!(explained.contains("How big."), "{explained}");
    let either = format!("application/json,{protobuf}");
    let headers = [("accept", either.as_str())];
    let json = server.send("GET", "/openapi/v2", &headers, "").await;
    assert_eq!(json.bytes, second.bytes);
}
