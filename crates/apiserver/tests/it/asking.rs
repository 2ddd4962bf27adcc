//! How often a request asks the store for what is newest: over a shared store each time costs a call of the database.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use store::{Committed, Entry, ListRequest, Listing, Revision, Store, StoreError, Watch, Write};

use crate::harness::Server;

/// The namespace of these requests: nobody else asks for what is in it.
const NAMESPACE: &str = "asked-for";

/// A store that writes down what it was asked.
struct Noting {
    store: Arc<dyn Store>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Noting {
    fn note(&self, how: &str, key: &str) {
        if key.contains(NAMESPACE) {
            self.asked.lock().unwrap().push(format!("{how} {key}"));
        }
    }
}

#[async_trait]
impl Store for Noting {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        self.note("ask", key);
        self.store.get(key).await
    }
    async fn get_since(
        &self,
        key: &str,
        known: Revision,
    ) -> Result<(Option<Entry>, Revision), StoreError> {
        assert!(known <= self.store.revision().await?);
        self.note("know", key);
        self.store.get(key).await
    }
    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.note("ask", &request.prefix);
        self.store.list(request).await
    }
    async fn list_since(&self, prefix: &str, known: Revision) -> Result<Listing, StoreError> {
        assert!(known <= self.store.revision().await?);
        self.note("know", prefix);
        self.store.list(ListRequest::prefix(prefix)).await
    }
    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        self.note("write", &write.key);
        self.store.commit(write).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, after).await
    }
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.store.compact(through).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_asks_once_and_writes_once() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&asked);
    let server = Server::with(|config| {
        config.store = Arc::new(Noting {
            store: Arc::clone(&config.store),
            asked: noting,
        });
    })
    .await;
    let named = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let params = PostParams::default();
    let namespace = Namespace {
        metadata: named(NAMESPACE),
        ..Namespace::default()
    };
    let namespaces: Api<Namespace> = Api::all(server.client());
    namespaces.create(&params, &namespace).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), NAMESPACE);
    let map = ConfigMap {
        metadata: named("cm"),
        ..ConfigMap::default()
    };

    let told = |what: &str| {
        let told = std::mem::take(&mut *asked.lock().unwrap());
        let count = |how: &str| told.iter().filter(|note| note.starts_with(how)).count();
        assert_eq!((count("ask"), count("write")), (1, 1), "{what}: {told:?}");
    };
    let _ = std::mem::take(&mut *asked.lock().unwrap());
    maps.create(&params, &map).await.unwrap();
    told("create");
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    let patched = maps.patch("cm", &PatchParams::default(), &patch).await;
    told("merge patch");
    maps.replace(
        "cm",
        &params,
        &ConfigMap {
            data: None,
            ..patched.unwrap()
        },
    )
    .await
    .unwrap();
    told("update");
    let applied = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"c": "d"},
    }));
    let manager = PatchParams::apply("test");
    maps.patch("cm", &manager, &applied).await.unwrap();
    told("apply");
}
