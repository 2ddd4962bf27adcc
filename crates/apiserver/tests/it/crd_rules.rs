//! What becomes of CRDs: names that collide, their end, rules of their fields.

use serde_json::{Value, json};

use crate::harness::{Server, eventually};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn crd(group: &str, plural: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "color": {"type": "string"}, "list": {"type": "array", "items": {"type": "string"}},
    }}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

/// `status reason` of a condition.
async fn condition(server: &Server, name: &str, ty: &str) -> String {
    let object = server.get(&format!("{CRDS}/{name}")).await.expect(200);
    let list = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = list.iter().find(|c| c["type"] == ty);
    found.map_or_else(String::new, |c| {
        format!(
            "{} {}",
            c["status"].as_str().unwrap(),
            c["reason"].as_str().unwrap()
        )
    })
}

async fn becomes(server: &Server, name: &str, ty: &str, wanted: &str) {
    eventually(&format!("{ty} = {wanted} of {name}"), async || {
        condition(server, name, ty).await == wanted
    })
    .await;
}

#[tokio::test]
async fn names_are_accepted_one_by_one_and_freed_again() {
    let server = Server::start().await;
    server
        .post(CRDS, &crd("example.com", "widgets", "Widget"))
        .await
        .expect(201);
    server
        .post(CRDS, &crd("example.com", "gadgets", "Widget"))
        .await
        .expect(201);
    becomes(
        &server,
        "widgets.example.com",
        "Established",
        "True InitialNamesAccepted",
    )
    .await;
    becomes(
        &server,
        "gadgets.example.com",
        "NamesAccepted",
        "False ListKindConflict",
    )
    .await;
    assert_eq!(
        condition(&server, "gadgets.example.com", "Established").await,
        "False NotAccepted"
    );
    let refused = server
        .get(&format!("{CRDS}/gadgets.example.com"))
        .await
        .expect(200);
    assert_eq!(refused["status"]["acceptedNames"]["plural"], "gadgets");
    assert_eq!(refused["status"]["acceptedNames"]["kind"], "");
    assert_eq!(server.get("/apis/example.com/v1/gadgets").await.code, 404);
    // The one that is served asks for a short name that is taken: it stays served under the names it has.
    let mut third = crd("example.com", "things", "Thing");
    third["spec"]["names"]["shortNames"] = json!(["x"]);
    server.post(CRDS, &third).await.expect(201);
    becomes(
        &server,
        "things.example.com",
        "Established",
        "True InitialNamesAccepted",
    )
    .await;
    let patch = json!({"spec": {"names": {"shortNames": ["x"]}}});
    let path = format!("{CRDS}/widgets.example.com");
    server
        .patch(&path, "merge-patch+json", &patch)
        .await
        .expect(200);
    becomes(
        &server,
        "widgets.example.com",
        "NamesAccepted",
        "False ShortNamesConflict",
    )
    .await;
    assert_eq!(server.get("/apis/example.com/v1/widgets").await.code, 200);
    // What is freed goes to who waits for it.
    server.send("DELETE", &path, &[], "").await.expect(200);
    becomes(
        &server,
        "gadgets.example.com",
        "Established",
        "True InitialNamesAccepted",
    )
    .await;
    eventually("the kind of the freed name", async || {
        server.get("/apis/example.com/v1/gadgets").await.code == 200
    })
    .await;
}

#[tokio::test]
async fn builtin_kinds_win() {
    let server = Server::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    server
        .post(leases, &json!({"metadata": {"name": "l"}, "spec": {}}))
        .await
        .expect(201);
    let mut object = crd("coordination.k8s.io", "leases", "Lease");
    object["spec"]["versions"][0]["name"] = json!("v2");
    server.post(CRDS, &object).await.fails(422);
    object["metadata"]["annotations"] =
        json!({"api-approved.kubernetes.io": "unapproved, for a test"});
    server.post(CRDS, &object).await.expect(201);
    let name = "leases.coordination.k8s.io";
    becomes(&server, name, "NamesAccepted", "False ListKindConflict").await;
    assert_eq!(
        condition(&server, name, "KubernetesAPIApprovalPolicyConformant").await,
        "False UnapprovedAnnotation"
    );
    assert_eq!(
        server.get("/apis/coordination.k8s.io/v2/leases").await.code,
        404
    );
    // Its end takes nothing along that is not its own.
    server
        .send("DELETE", &format!("{CRDS}/{name}"), &[], "")
        .await
        .expect(200);
    eventually("the end of the CRD", async || {
        server.get(&format!("{CRDS}/{name}")).await.code == 404
    })
    .await;
    server.get(&format!("{leases}/l")).await.expect(200);
}

#[tokio::test]
async fn the_end_of_a_crd_waits_for_its_objects() {
    let server = Server::start().await;
    let name = "widgets.example.com";
    server
        .post(CRDS, &crd("example.com", "widgets", "Widget"))
        .await
        .expect(201);
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let object = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, "finalizers": ["example.com/f"]}});
    server.post(widgets, &object("a")).await.expect(201);
    server
        .send("DELETE", &format!("{CRDS}/{name}"), &[], "")
        .await
        .expect(200);
    let refused = server.post(widgets, &object("b")).await.fails(405);
    assert_eq!(
        refused,
        "create not allowed while custom resource definition is terminating"
    );
    let resources = server.get("/apis/example.com/v1").await.expect(200);
    assert_eq!(
        resources["resources"][0]["verbs"],
        json!(["delete", "deletecollection", "get", "list", "watch"])
    );
    let free = json!({"metadata": {"finalizers": null}});
    server
        .patch(&format!("{widgets}/a"), "merge-patch+json", &free)
        .await
        .expect(200);
    eventually("the end of the CRD", async || {
        server.get(&format!("{CRDS}/{name}")).await.code == 404
    })
    .await;
}

#[tokio::test]
async fn selectable_fields_and_warnings_are_checked() {
    let server = Server::start().await;
    let fields = async |change: &dyn Fn(&mut Value)| {
        let mut object = crd("example.com", "widgets", "Widget");
        change(&mut object["spec"]["versions"][0]);
        let status = server.post(CRDS, &object).await.expect(422);
        let causes = status["details"]["causes"].as_array().unwrap().clone();
        causes
            .iter()
            .map(|c| c["field"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let wrong = fields(&|version| {
        version["selectableFields"] = json!([
            {"jsonPath": ".spec.color"}, {"jsonPath": ".spec.none"}, {"jsonPath": ".spec.list"},
        ]);
    });
    let at = "spec.versions[0]";
    assert_eq!(
        wrong.await,
        [
            "spec.selectableFields[1].jsonPath",
            "spec.selectableFields[2].jsonPath"
        ]
    );
    let warning = [format!("{at}.deprecationWarning")];
    assert_eq!(
        fields(&|version| version["deprecationWarning"] = json!("old")).await,
        warning
    );
    let long = fields(&|version| {
        version["deprecated"] = json!(true);
        version["deprecationWarning"] = json!("x".repeat(300));
    });
    assert_eq!(long.await, warning);
}

/// Many operators write finalizers without a path.
#[tokio::test]
async fn finalizers_of_custom_kinds_need_no_path() {
    let server = Server::start().await;
    let crd = crd("example.com", "widgets", "Widget");
    server.post(CRDS, &crd).await.expect(201);
    eventually("the kind is established", || async {
        condition(&server, "widgets.example.com", "Established").await
            == "True InitialNamesAccepted"
    })
    .await;
    let object = |group: &str, kind: &str, finalizer: &str| {
        json!({
            "apiVersion": group, "kind": kind,
            "metadata": {"generateName": "w-", "finalizers": [finalizer]},
        })
    };
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    for (finalizer, code, warned) in [
        ("example.com/cleanup", 201, false),
        ("cleanup.example.com", 201, true),
        ("not qualified", 422, false),
    ] {
        let answer = server
            .post(widgets, &object("example.com/v1", "Widget", finalizer))
            .await;
        assert_eq!(answer.code, code, "{finalizer}");
        let warning = answer.header("warning");
        assert_eq!(
            warning.contains("prefer a domain-qualified"),
            warned,
            "{finalizer}: {warning}"
        );
    }
    let built_in = object("v1", "ConfigMap", "cleanup.example.com");
    let status = server
        .post("/api/v1/namespaces/default/configmaps", &built_in)
        .await
        .expect(422);
    assert_eq!(
        status["details"]["causes"][0]["field"],
        "metadata.finalizers[0]"
    );
}
