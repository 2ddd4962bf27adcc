use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::harness::Server;

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": value}})).unwrap()
}

#[tokio::test]
async fn kube_needs_no_socket() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let made = maps
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let mut stale = made.clone();
    stale.data = config_map("a", "2").data;
    let newer = maps
        .replace("a", &PostParams::default(), &stale)
        .await
        .unwrap();
    assert_ne!(newer.resource_version(), made.resource_version());
    let error = maps
        .replace("a", &PostParams::default(), &stale)
        .await
        .unwrap_err();
    assert!(
        matches!(error, kube::Error::Api(ref status) if status.code == 409),
        "{error:?}"
    );
    // Nothing changes when nothing is changed.
    let same = maps
        .replace("a", &PostParams::default(), &newer)
        .await
        .unwrap();
    assert_eq!(same.resource_version(), newer.resource_version());
    let applied = config_map("a", "3");
    let params = PatchParams::apply("tester").force();
    let mut body = serde_json::to_value(&applied).unwrap();
    body["apiVersion"] = json!("v1");
    body["kind"] = json!("ConfigMap");
    let applied = maps
        .patch("a", &params, &Patch::Apply(&body))
        .await
        .unwrap();
    assert_eq!(applied.data.unwrap()["k"], "3");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn lists_are_paged_consistently() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    for index in 0..5 {
        maps.create(
            &PostParams::default(),
            &config_map(&format!("m{index}"), "v"),
        )
        .await
        .unwrap();
    }
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    maps.create(&PostParams::default(), &config_map("m1a", "late"))
        .await
        .unwrap();
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = maps
        .list(&ListParams::default().limit(10).continue_token(&token))
        .await
        .unwrap();
    assert_eq!(
        rest.items
            .iter()
            .map(ResourceExt::name_any)
            .collect::<Vec<_>>(),
        ["m2", "m3", "m4"]
    );
}

#[tokio::test]
async fn watches_follow_transitions_of_selectors() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let params = WatchParams::default().labels("on=yes").timeout(20);
    let mut events = maps.watch(&params, &start).await.unwrap().boxed();
    maps.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
    for value in ["yes", "no"] {
        maps.patch("a", &PatchParams::default(), &label(value))
            .await
            .unwrap();
    }
    assert!(matches!(
        events.try_next().await.unwrap().unwrap(),
        WatchEvent::Added(_)
    ));
    assert!(
        matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Deleted(o) if o.labels()["on"] == "yes")
    );
    // The stream of kube's runtime, with the initial list in the watch.
    let stream = watcher(maps.clone(), watcher::Config::default().streaming_lists());
    let mut objects = stream.default_backoff().applied_objects().boxed();
    let first = tokio::time::timeout(std::time::Duration::from_secs(20), objects.try_next());
    assert_eq!(first.await.unwrap().unwrap().unwrap().name_any(), "a");
}

#[tokio::test]
async fn services_get_addresses_of_their_own() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client());
    let service = |name: &str| -> Service {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}),
        )
        .unwrap()
    };
    let all = futures_util::future::join_all((0..20).map(|i| {
        let services = services.clone();
        let service = service(&format!("s{i}"));
        async move {
            services
                .create(&PostParams::default(), &service)
                .await
                .unwrap()
                .spec
                .unwrap()
                .cluster_ip
                .unwrap()
        }
    }))
    .await;
    let unique: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(unique.len(), 20);
}

#[tokio::test]
async fn a_namespace_ends_when_its_finalizer_is_gone() {
    let server = Server::start().await;
    let namespaces: Api<Namespace> = Api::all(server.client());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    let made = namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    assert_eq!(made.spec.unwrap().finalizers.unwrap(), ["kubernetes"]);
    namespaces
        .delete("n", &DeleteParams::default())
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "n");
    let error = maps
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, kube::Error::Api(ref status) if status.code == 403),
        "{error:?}"
    );
    let mut ending = namespaces.get("n").await.unwrap();
    assert_eq!(
        ending.status.as_ref().unwrap().phase.as_deref(),
        Some("Terminating")
    );
    ending.spec.as_mut().unwrap().finalizers = None;
    namespaces
        .replace_subresource("finalize", "n", &PostParams::default(), &ending)
        .await
        .unwrap();
    assert!(namespaces.get_opt("n").await.unwrap().is_none());
}
