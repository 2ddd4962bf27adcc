//! Values sealed at rest, as they lie in the store and in its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authz::User;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrovirt_apiserver::{ApiServer, Config, Encryption, Replica, StartError};
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use pki::ServiceAccountKeys;
use serde_json::json;
use store::log::{LogStore, Options};
use store::{ListRequest, Store as _, Write};

use crate::harness::eventually;

/// A data directory, and servers on it one after another.
struct Place(tempfile::TempDir);

struct Opened {
    store: Arc<LogStore>,
    api: ApiServer,
    client: kube::Client,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.api.stop();
    }
}

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("encryption.yaml")
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// Writes the configuration: providers of one rule for `resources`, the first first.
    fn rules(&self, resources: &str, providers: &[&str]) {
        let providers: Vec<String> = providers
            .iter()
            .map(|name| match *name {
                "identity" => "{identity: {}}".to_owned(),
                name => {
                    let mut secret = [0; 32];
                    secret[..name.len()].copy_from_slice(name.as_bytes());
                    let secret = STANDARD.encode(secret);
                    format!("{{aesgcm: {{keys: [{{name: {name}, secret: {secret}}}]}}}}")
                }
            })
            .collect();
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [{resources}]\n  providers: [{}]\n",
            providers.join(", ")
        );
        std::fs::write(self.file(), text).unwrap();
    }

    async fn open(&self) -> Opened {
        self.try_open(&self.store()).await.unwrap()
    }

    async fn try_open(&self, dir: &Path) -> Result<Opened, StartError> {
        let mut store = None;
        // The server before may still be letting go of the directory.
        eventually("the store is free", || {
            store = LogStore::open(dir, Options::default()).ok();
            std::future::ready(store.is_some())
        })
        .await;
        self.serve(&Arc::new(store.unwrap()), None).await
    }

    async fn serve(
        &self,
        store: &Arc<LogStore>,
        replica: Option<Replica>,
    ) -> Result<Opened, StartError> {
        let store = Arc::clone(store);
        let keys = ServiceAccountKeys::load_or_create(self.0.path()).unwrap();
        let mut config = Config::new(Arc::clone(&store) as Arc<_>, Arc::new(keys));
        config.shared_store = replica.is_some();
        config.replica = replica;
        config.encryption = Some(Encryption {
            file: self.file(),
            every: Duration::from_millis(50),
        });
        let api = ApiServer::new(config).await?;
        let client = kube::Client::new(
            api.as_user(User::new("tester", &["system:masters"])),
            "default",
        );
        Ok(Opened { store, api, client })
    }
}

impl Opened {
    fn secrets(&self) -> Api<Secret> {
        Api::default_namespaced(self.client.clone())
    }

    async fn create(&self, name: &str, text: &str) -> Secret {
        let object = json!({"metadata": {"name": name}, "stringData": {"text": text}});
        let object: Secret = serde_json::from_value(object).unwrap();
        self.secrets()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    async fn text(&self, name: &str) -> String {
        let secret = self.secrets().get(name).await.unwrap();
        String::from_utf8(secret.data.unwrap()["text"].0.clone()).unwrap()
    }

    async fn stored(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let listing = self.store.list(ListRequest::prefix(prefix)).await.unwrap();
        listing
            .entries
            .into_iter()
            .map(|e| (e.key.to_string(), e.value.to_vec()))
            .collect()
    }

    async fn all_sealed_with(&self, key: &str) -> bool {
        let begin = format!("k8s:enc:aesgcm:v1:{key}:");
        let stored = self.stored("/core/secrets/").await;
        !stored.is_empty() && stored.iter().all(|(_, v)| v.starts_with(begin.as_bytes()))
    }
}

/// All bytes of the files below a directory.
fn bytes_below(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_store_tell_no_secret() {
    let place = Place::new();
    place.rules("secrets", &["k1"]);
    {
        let server = place.open().await;
        server.create("s", "open sesame").await;
        let object = json!({"metadata": {"name": "c"}, "data": {"text": "known to all"}});
        let object: ConfigMap = serde_json::from_value(object).unwrap();
        let maps: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
        maps.create(&PostParams::default(), &object).await.unwrap();
    }
    let bytes = bytes_below(&place.store());
    // The search finds what is there.
    assert!(contains(&bytes, "known to all"));
    assert!(contains(&bytes, "k8s:enc:aesgcm:v1:k1:"));
    for text in ["open sesame", &STANDARD.encode("open sesame")] {
        assert!(!contains(&bytes, text), "{text}");
    }
    // Whoever has the key reads on, by get, list and watch.
    let server = place.open().await;
    assert_eq!(server.text("s").await, "open sesame");
    let list = server.secrets().list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let params = WatchParams::default().labels("kept=yes");
    let mut events = server.secrets().watch(&params, "0").await.unwrap().boxed();
    let mut secret = server.secrets().get("s").await.unwrap();
    for (label, wanted) in [("yes", "ADDED"), ("no", "DELETED")] {
        secret.metadata.labels = Some([("kept".to_owned(), label.to_owned())].into());
        secret = server
            .secrets()
            .replace("s", &PostParams::default(), &secret)
            .await
            .unwrap();
        // The second is decided by the value before, which lies sealed in the history.
        let event = loop {
            match events.try_next().await.unwrap().unwrap() {
                WatchEvent::Bookmark(_) => {}
                event => break event,
            }
        };
        let (kind, seen) = match event {
            WatchEvent::Added(s) => ("ADDED", s),
            WatchEvent::Deleted(s) => ("DELETED", s),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (kind, &*seen.data.unwrap()["text"].0),
            (wanted, &b"open sesame"[..])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_without_a_restart() {
    let place = Place::new();
    place.rules("secrets", &["k1"]);
    let server = place.open().await;
    for i in 0..20 {
        server.create(&format!("s{i}"), "same").await;
    }
    assert!(server.all_sealed_with("k1").await);
    place.rules("secrets", &["k2", "k1"]);
    eventually("all is sealed with the new key", || {
        server.all_sealed_with("k2")
    })
    .await;
    place.rules("secrets", &["k2"]);
    eventually("the old key is gone", async || {
        server.create("probe", "x").await;
        let moved = server.secrets().delete("probe", &Default::default()).await;
        moved.is_ok()
    })
    .await;
    assert_eq!(server.text("s7").await, "same");
    drop(server);
    assert_eq!(place.open().await.text("s19").await, "same");
}

/// A file that another server over the same store cannot follow is not taken up before it can.
#[tokio::test(flavor = "multi_thread")]
async fn servers_over_one_store_rotate_in_step() {
    let (here, there) = (Place::new(), Place::new());
    let store = Arc::new(LogStore::open(here.store(), Options::default()).unwrap());
    let replica = |name: &str| {
        Some(Replica {
            instance: name.to_owned(),
            node: name.to_owned(),
            runs_node: true,
            host: "localhost".to_owned(),
        })
    };
    here.rules("secrets", &["k1"]);
    there.rules("secrets", &["k1"]);
    let one = here.serve(&store, replica("one")).await.unwrap();
    let two = there.serve(&store, replica("two")).await.unwrap();
    one.create("s", "open sesame").await;

    // Too early: each try writes the record, and takes it back.
    let record = async || {
        let (entry, _) = store.get("/~control-plane/replicas/one").await.unwrap();
        entry.unwrap().modified
    };
    let before = record().await;
    here.rules("secrets", &["k2", "k1"]);
    eventually("the file was tried", || async {
        record().await.0 > before.0 + 3
    })
    .await;
    one.create("t", "still the old key").await;
    assert!(one.all_sealed_with("k1").await);
    assert_eq!(two.text("t").await, "still the old key");

    there.rules("secrets", &["k1", "k2"]);
    eventually("the new key is in use", || one.all_sealed_with("k2")).await;
    for server in [&one, &two] {
        assert_eq!(server.text("s").await, "open sesame");
    }
}

/// `kubectl get secrets -A -o json | kubectl replace -f -` writes anew what is not as the rules say.
#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_update_renews_a_stale_form() {
    let place = Place::new();
    place.rules("secrets", &["k1", "identity"]);
    let server = place.open().await;
    server.create("s", "text").await;
    let plain = {
        let secret = server.secrets().get("s").await.unwrap();
        let mut value = serde_json::to_value(secret).unwrap();
        value["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        serde_json::to_vec(&value).unwrap()
    };
    let key = "/core/secrets/default/s";
    server.store.commit(Write::put(key, plain)).await.unwrap();
    let secret = server.secrets().get("s").await.unwrap();
    let renewed = server
        .secrets()
        .replace("s", &PostParams::default(), &secret)
        .await
        .unwrap();
    assert_ne!(
        renewed.metadata.resource_version,
        secret.metadata.resource_version
    );
    assert!(server.all_sealed_with("k1").await);
    let same = server
        .secrets()
        .replace("s", &PostParams::default(), &renewed)
        .await
        .unwrap();
    assert_eq!(
        same.metadata.resource_version,
        renewed.metadata.resource_version
    );
    assert_eq!(server.text("s").await, "text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_is_named_and_hurts_nobody_else() {
    let place = Place::new();
    place.rules("secrets", &["lost"]);
    place.open().await.create("old", "text").await;
    place.rules("secrets", &["k2"]);
    let server = place.open().await;
    let said = |error: kube::Error| {
        let text = error.to_string();
        assert!(
            text.contains("the key \"lost\" of the provider \"aesgcm\""),
            "{text}"
        );
        assert!(text.contains("/core/secrets/default/old"), "{text}");
    };
    said(server.secrets().get("old").await.unwrap_err());
    said(
        server
            .secrets()
            .list(&ListParams::default())
            .await
            .unwrap_err(),
    );
    let error = server.secrets().watch(&WatchParams::default(), "0").await;
    said(error.err().unwrap());
    server.create("new", "fine").await;
    assert_eq!(server.text("new").await, "fine");
    let maps: Api<ConfigMap> = Api::all(server.client.clone());
    maps.list(&ListParams::default()).await.unwrap();
    // With the key all is well again, without a restart.
    place.rules("secrets", &["k2", "lost"]);
    eventually("the lost key is found", || async {
        server.secrets().get("old").await.is_ok()
    })
    .await;
    assert_eq!(server.text("old").await, "text");
}

/// Who can write to the store but has no key cannot pass one object's value off as another's.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_were_moved_or_changed_are_refused() {
    let place = Place::new();
    place.rules("secrets", &["k1"]);
    let server = place.open().await;
    server.create("a", "for a").await;
    server.create("b", "for b").await;
    let stored = server.stored("/core/secrets/default/a").await.remove(0).1;
    let put = async |name: &str, value: Vec<u8>| {
        let key = format!("/core/secrets/default/{name}");
        server.store.commit(Write::put(key, value)).await.unwrap();
        server.secrets().get(name).await.unwrap_err().to_string()
    };
    assert!(put("b", stored.clone()).await.contains("moved"));
    let mut changed = stored;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(put("a", changed).await.contains("changed"));
    let plain = br#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}"#;
    assert!(put("a", plain.to_vec()).await.contains("identity"));
}

/// What the server itself acts on may be sealed too, and a copy of the files is as good as they are.
#[tokio::test(flavor = "multi_thread")]
async fn everything_may_be_sealed_and_a_copy_opens_with_the_keys() {
    let place = Place::new();
    place.rules("'*.*'", &["k1"]);
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ships.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "ships", "singular": "ship", "kind": "Ship", "listKind": "ShipList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    let post = |path: &str, body: &serde_json::Value| {
        http::Request::post(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body).unwrap())
            .unwrap()
    };
    let ships = "/apis/example.com/v1/namespaces/default/ships";
    {
        let server = place.open().await;
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let _: serde_json::Value = server.client.request(post(path, &crd)).await.unwrap();
        let ship = json!({"apiVersion": "example.com/v1", "kind": "Ship", "metadata": {"name": "s"}, "cargo": "gold bars"});
        let _: serde_json::Value = server.client.request(post(ships, &ship)).await.unwrap();
        assert!(
            server
                .stored("/")
                .await
                .iter()
                .all(|(_, v)| v.starts_with(b"k8s:enc:"))
        );
    }
    assert!(!contains(&bytes_below(&place.store()), "gold bars"));
    let copy = place.0.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(place.store()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    {
        let server = place.try_open(&copy).await.unwrap();
        let get = http::Request::get(format!("{ships}/s"))
            .body(Vec::new())
            .unwrap();
        let ship: serde_json::Value = server.client.request(get).await.unwrap();
        assert_eq!(ship["cargo"], "gold bars");
    }
    // Policies and roles that cannot be read are not left out: nothing starts.
    place.rules("'*.*'", &["k2"]);
    let error = place.try_open(&copy).await.err().unwrap();
    let why =
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert!(why.contains("the key \"k1\""), "{error}: {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_no_start() {
    let place = Place::new();
    let error = place
        .try_open(&place.store())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("encryption.yaml"), "{error}");
    std::fs::write(place.file(), "kind: Pod").unwrap();
    let error = place
        .try_open(&place.store())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("EncryptionConfiguration"), "{error}");
}
