use crate::harness::{Server, eventually};

const CRD: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 0, maximum: 9, description: How big it is.}
              color: {type: string, default: red, enum: [red, blue]}
          status: {type: object, properties: {size: {type: integer}}}
";
const WIDGET: &str =
    "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kind_is_served_at_once() {
    let server = Server::start().await;
    server.kubectl_with(&["apply", "-f", "-"], CRD).await;
    server.kubectl_with(&["apply", "-f", "-"], WIDGET).await;
    server
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/widgets.example.com",
            "--timeout=20s",
        ])
        .await;
    let table = server.kubectl(&["get", "wd"]).await;
    assert!(table.contains("SIZE") && table.contains('3'), "{table}");
    assert_eq!(
        server
            .kubectl(&["get", "wd", "w", "-o", "jsonpath={.spec.color}"])
            .await,
        "red"
    );
    assert!(
        server
            .kubectl(&["explain", "widget.spec.size"])
            .await
            .contains("How big it is.")
    );
    assert!(
        server
            .kubectl(&["get", "all"])
            .await
            .contains("widget.example.com/w")
    );
    server.kubectl(&["scale", "widget/w", "--replicas=5"]).await;
    assert_eq!(
        server
            .kubectl(&[
                "get",
                "wd",
                "w",
                "-o",
                "jsonpath={.spec.size} {.metadata.generation}"
            ])
            .await,
        "5 2"
    );
    server
        .kubectl(&[
            "patch",
            "wd",
            "w",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"size":4},"spec":{"size":1}}"#,
        ])
        .await;
    assert_eq!(
        server
            .kubectl(&[
                "get",
                "wd",
                "w",
                "-o",
                "jsonpath={.spec.size} {.status.size} {.metadata.generation}"
            ])
            .await,
        "5 4 2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_schema_is_enforced() {
    let server = Server::start().await;
    server.kubectl_with(&["apply", "-f", "-"], CRD).await;
    let bad = WIDGET.replace("size: 3", "size: 30, color: green");
    let error = server.kubectl_fails(&["apply", "-f", "-"], &bad).await;
    assert!(
        error.contains("spec.size")
            && error.contains("less than or equal to 9")
            && error.contains("spec.color"),
        "{error}"
    );
    let unknown = WIDGET.replace("size: 3", "size: 3, colour: red");
    assert!(
        server
            .kubectl_fails(&["apply", "-f", "-"], &unknown)
            .await
            .contains("unknown field \"spec.colour\"")
    );
    let broken = CRD.replace(
        "type: object\n        properties:\n          spec",
        "properties:\n          spec",
    );
    assert!(
        server
            .kubectl_fails(&["apply", "-f", "-"], &broken)
            .await
            .contains("spec.validation.openAPIV3Schema")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_end_takes_its_objects_along() {
    let server = Server::start().await;
    server.kubectl_with(&["apply", "-f", "-"], CRD).await;
    server.kubectl_with(&["apply", "-f", "-"], WIDGET).await;
    server
        .kubectl(&["delete", "crd", "widgets.example.com", "--timeout=20s"])
        .await;
    eventually("the end of the kind", async || {
        !server
            .kubectl(&["api-resources", "--api-group=example.com"])
            .await
            .contains("widgets")
    })
    .await;
    server.kubectl_with(&["apply", "-f", "-"], CRD).await;
    assert!(
        server
            .kubectl(&["get", "wd", "-o", "name"])
            .await
            .is_empty()
    );
}

/// The condition `Terminating` of the CRD, as `status reason: message`.
async fn terminating(server: &Server) -> String {
    let path =
        "{range .status.conditions[?(@.type=='Terminating')]}{.status} {.reason}: {.message}{end}";
    let form = format!("jsonpath={path}");
    let args = ["get", "crd", "widgets.example.com", "-o", &form];
    server.kubectl(&args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn its_end_says_how_it_goes() {
    let server = Server::start().await;
    server.kubectl_with(&["apply", "-f", "-"], CRD).await;
    server.kubectl_with(&["apply", "-f", "-"], WIDGET).await;
    let hold = |what: &'static str, with: &'static str| {
        let server = &server;
        async move {
            let patch = format!("{{\"metadata\":{{\"finalizers\":{with}}}}}");
            let args = ["patch", what, "--type=merge", "-p", &patch];
            server.kubectl(&args).await;
        }
    };
    hold("widget/w", "[\"example.com/held\"]").await;
    // Somebody else's finalizer keeps the CRD when the server is done with it.
    hold("crd/widgets.example.com", "[\"example.com/held\"]").await;
    let crd = "crd/widgets.example.com";
    server.kubectl(&["delete", crd, "--wait=false"]).await;
    let in_progress = "True InstanceDeletionInProgress: CustomResource deletion is in progress";
    eventually("the deletion of its objects is told", || async {
        terminating(&server).await == in_progress
    })
    .await;
    hold("widget/w", "null").await;
    eventually("its objects are gone", || async {
        terminating(&server).await == "False InstanceDeletionCompleted: removed all instances"
    })
    .await;
    hold(crd, "null").await;
    let gone = server.kubectl_fails(&["get", crd], "").await;
    assert!(gone.contains("NotFound"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_survive_a_restart() {
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    let keys = || Arc::new(pki::ServiceAccountKeys::load_or_create(dir.path()).unwrap());
    let open = || {
        Arc::new(
            store::log::LogStore::open(dir.path().join("s"), store::log::Options::default())
                .unwrap(),
        )
    };
    let user = || authz::User::new("t", &["system:masters"]);
    let crds = |client| kube::Api::<kube::api::DynamicObject>::all_with(client, &crd_resource());
    {
        let server =
            ferrovirt_apiserver::ApiServer::new(ferrovirt_apiserver::Config::new(open(), keys()))
                .await
                .unwrap();
        let client = kube::Client::new(server.as_user(user()), "default");
        let object: kube::api::DynamicObject = serde_saphyr::from_str(CRD).unwrap();
        crds(client)
            .create(&kube::api::PostParams::default(), &object)
            .await
            .unwrap();
        server.stop();
    }
    // The tasks of the first server let go of the store when they see the stop.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let store = loop {
        match store::log::LogStore::open(dir.path().join("s"), store::log::Options::default()) {
            Ok(store) => break Arc::new(store),
            Err(e) => assert!(std::time::Instant::now() < deadline, "{e}"),
        }
        tokio::task::yield_now().await;
    };
    let server =
        ferrovirt_apiserver::ApiServer::new(ferrovirt_apiserver::Config::new(store, keys()))
            .await
            .unwrap();
    let client = kube::Client::new(server.as_user(user()), "default");
    let gvk = kube::core::GroupVersionKind::gvk("example.com", "v1", "Widget");
    let resource = kube::api::ApiResource::from_gvk_with_plural(&gvk, "widgets");
    let widgets = kube::Api::<kube::api::DynamicObject>::default_namespaced_with(client, &resource);
    assert!(
        widgets
            .list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

fn crd_resource() -> kube::api::ApiResource {
    let gvk =
        kube::core::GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    kube::api::ApiResource::from_gvk_with_plural(&gvk, "customresourcedefinitions")
}
