//! OpenAPI documents, seen the way kubectl reads them.

use std::sync::Arc;

use apimachinery::gvk::{GroupVersion, GroupVersionKind};
use serde_json::{Value, json};

use super::{fields, widget};
use crate::openapi::{self, KindDoc, SubresourceDoc};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

const ALL: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

fn kind(kind: &str, resource: &str) -> KindDoc {
    KindDoc {
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        resource: resource.to_owned(),
        namespaced: true,
        verbs: words(&ALL),
        schema: None,
        subresources: vec![SubresourceDoc {
            name: "status".to_owned(),
            verbs: words(&["get", "patch", "update"]),
            kind: None,
        }],
    }
}

/// Every `$ref` of a document has a target in it.
fn assert_complete(document: &Value) {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                    let pointer = target.trim_start_matches('#');
                    assert!(document.pointer(pointer).is_some(), "{target} is missing");
                }
                object.values().for_each(|child| walk(child, document));
            }
            Value::Array(items) => items.iter().for_each(|child| walk(child, document)),
            _ => {}
        }
    }
    walk(document, document);
}

#[test]
fn every_patch_of_a_kind_names_its_query_parameters() {
    let gv = GroupVersion::new("", "v1");
    let document =
        openapi::v3_document(&gv, &[kind("ConfigMap", "configmaps"), kind("Pod", "pods")]);
    assert_complete(&document);
    let paths = document["paths"].as_object().unwrap();
    let mut patches = 0;
    for item in paths.values() {
        let Some(patch) = item.get("patch") else {
            continue;
        };
        patches += 1;
        let parameters = patch["parameters"].as_array().unwrap();
        for name in ["dryRun", "fieldValidation", "fieldManager", "force"] {
            let found = parameters.iter().find(|own| own["name"] == name).unwrap();
            assert_eq!(found["in"], "query");
        }
        assert_eq!(patch["x-kubernetes-action"], "patch");
    }
    assert_eq!(patches, 4);
    let object = &paths["/api/v1/namespaces/{namespace}/configmaps/{name}"];
    for method in ["get", "put", "patch", "delete"] {
        let gvk = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
        assert_eq!(object[method]["x-kubernetes-group-version-kind"], gvk);
    }
    assert_eq!(
        object["get"]["operationId"],
        "readCoreV1NamespacedConfigMap"
    );
    assert_eq!(
        paths["/api/v1/configmaps"]["get"]["x-kubernetes-action"],
        "list"
    );
    let schema = &document["components"]["schemas"]["io.k8s.api.core.v1.ConfigMap"];
    let gvk = json!([{"group": "", "version": "v1", "kind": "ConfigMap"}]);
    assert_eq!(schema["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(schema["properties"]["immutable"]["type"], "boolean");
}

#[test]
fn operation_ids_are_unique() {
    let gv = GroupVersion::new("apps", "v1");
    let mut deployment = kind("Deployment", "deployments");
    deployment.subresources.push(SubresourceDoc {
        name: "scale".to_owned(),
        verbs: words(&["get", "patch", "update"]),
        kind: Some(GroupVersionKind::new("autoscaling", "v1", "Scale")),
    });
    let document = openapi::v3_document(&gv, &[deployment]);
    assert_complete(&document);
    let mut ids = Vec::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            ids.extend(operation["operationId"].as_str());
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count), (14, 14), "{ids:?}");
    assert!(ids.contains(&"deleteAppsV1CollectionNamespacedDeployment"));
    assert!(
        ids.contains(&"replaceAppsV1NamespacedDeploymentScale"),
        "{ids:?}"
    );
}

#[test]
fn custom_resources_are_documented_as_written() {
    let gv = GroupVersion::new("r1.example.com", "v1");
    let mut doc = kind("Widget", "widgets");
    let mut schema = widget(&fields(json!({
        "color": {"type": "string"},
        "size": {"type": "integer", "minimum": 1, "description": "How big."},
    })));
    schema.required.push("spec".to_owned());
    doc.schema = Some(Arc::new(schema));
    let document = openapi::v3_document(&gv, &[doc]);
    assert_complete(&document);
    let schema = &document["components"]["schemas"]["com.example.r1.v1.Widget"];
    assert_eq!(schema["required"], json!(["spec"]));
    assert_eq!(
        schema["properties"]["spec"]["properties"],
        json!({"color": {"type": "string"},
               "size": {"description": "How big.", "type": "integer", "minimum": 1}})
    );
    let gvk = json!([{"group": "r1.example.com", "version": "v1", "kind": "Widget"}]);
    assert_eq!(schema["x-kubernetes-group-version-kind"], gvk);
    assert!(schema["properties"]["metadata"]["allOf"][0]["$ref"].is_string());
    assert!(schema.get("allOf").is_none());
}

#[test]
fn the_index_names_documents_by_hash() {
    let (core, apps) = (GroupVersion::new("", "v1"), GroupVersion::new("apps", "v1"));
    let hash = openapi::document_hash(b"{}");
    assert_eq!(hash.len(), 64);
    let index = openapi::v3_index([(&core, hash.as_str()), (&apps, "1")]);
    assert_eq!(
        index["paths"]["api/v1"]["serverRelativeURL"],
        format!("/openapi/v3/api/v1?hash={hash}")
    );
    assert_eq!(
        index["paths"]["apis/apps/v1"]["serverRelativeURL"],
        "/openapi/v3/apis/apps/v1?hash=1"
    );
}

#[test]
fn v2_says_in_one_document_what_it_can() {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["a", "b", "c"], "properties": {
            "a": {"type": "string", "default": "x"},
            "b": {"type": "string", "nullable": true},
            "c": {"type": "integer", "anyOf": [{"minimum": 1}, {"maximum": -1}]},
            "port": {"x-kubernetes-int-or-string": true},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"k": {"type": "string"}}},
        }},
    }});
    let custom = KindDoc {
        schema: Some(Arc::new(crate::Schema::parse(&schema).unwrap())),
        ..kind("Widget", "widgets")
    };
    let parts = [
        openapi::v2_part(
            &GroupVersion::new("", "v1"),
            &[kind("Pod", "pods"), kind("Service", "services")],
        ),
        openapi::v2_part(
            &GroupVersion::new("apps", "v1"),
            &[kind("Deployment", "deployments")],
        ),
        openapi::v2_part(&GroupVersion::new("example.com", "v1"), &[custom]),
    ];
    let document: Value = serde_json::from_str(&openapi::v2_document(&parts)).unwrap();
    assert_eq!(document["swagger"], "2.0");
    assert_complete(&document);
    let definitions = &document["definitions"];
    let pod = &definitions["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["properties"]["metadata"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let port = &definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!(
        (&port["type"], &port["format"]),
        (&json!("string"), &json!("int-or-string"))
    );
    let spec = &definitions["com.example.v1.Widget"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(["c"]));
    assert_eq!(spec["properties"]["b"].get("type"), None);
    assert_eq!(spec["properties"]["c"], json!({"type": "integer"}));
    assert_eq!(
        spec["properties"]["port"],
        json!({"x-kubernetes-int-or-string": true})
    );
    assert_eq!(spec["properties"]["open"].get("properties"), None);
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert!(
        patch["consumes"]
            .as_array()
            .unwrap()
            .contains(&json!("application/apply-patch+yaml"))
    );
    assert_eq!(patch["parameters"][0]["in"], "body");
    let dry_run = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["name"] == "dryRun");
    assert_eq!(
        (&dry_run.unwrap()["in"], &dry_run.unwrap()["type"]),
        (&json!("query"), &json!("string"))
    );
    let answer = &patch["responses"]["200"]["schema"];
    assert_eq!(
        answer["$ref"],
        "#/definitions/io.k8s.api.apps.v1.Deployment"
    );
}
