//! `/metrics`, `/healthz`, `/livez`, `/readyz`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use http::Method;
use serde_json::json;
use store::{Committed, Entry, ListRequest, Listing, Revision, Store, StoreError, Watch, Write};

use crate::harness::Server;
use crate::wire::{self, Client};

/// A store whose device can be made to be full, or to fail.
struct Device {
    store: Arc<dyn Store>,
    full: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
}

#[async_trait]
impl Store for Device {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        self.store.get(key).await
    }
    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.store.list(request).await
    }
    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        // A device notices when it is written to: what cannot happen is still refused as before.
        if self.full.load(Relaxed) && !matches!(write.op, store::Op::Delete) {
            return Err(StoreError::Full);
        }
        if self.broken.load(Relaxed) && !matches!(write.op, store::Op::Delete) {
            return Err(StoreError::Poisoned {
                cause: "input/output error".into(),
            });
        }
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
async fn health_says_what_is_well_and_hides_why_something_is_not() {
    let full = Arc::new(AtomicBool::new(false));
    let broken = Arc::new(AtomicBool::new(false));
    let switches = (Arc::clone(&full), Arc::clone(&broken));
    let server = Server::with(|config| {
        config.static_tokens = ferrovirt_apiserver::parse_token_file(wire::TOKENS).unwrap();
        config.store = Arc::new(Device {
            store: Arc::clone(&config.store),
            full: switches.0,
            broken: switches.1,
        });
    })
    .await;
    let mut anybody = Client::new(&server, "").await;
    let mut admin = Client::new(&server, "admin-token").await;
    for path in ["/healthz", "/livez", "/readyz"] {
        let (status, text) = anybody.get(path).await;
        assert_eq!((status.as_u16(), text.as_str()), (200, "ok"), "{path}");
    }
    for path in ["/livez/ping", "/readyz/etcd", "/readyz/shutdown"] {
        let (status, text) = admin.get(path).await;
        assert_eq!((status.as_u16(), text.as_str()), (200, "ok"), "{path}");
    }
    let (_, text) = anybody.get("/livez?verbose").await;
    assert!(
        text.starts_with("[+]ping ok\n[+]etcd ok\n") && text.ends_with("livez check passed\n"),
        "{text}"
    );
    assert!(!text.contains("shutdown"));
    assert_eq!(admin.get("/livez/none").await.0, 404);
    let (_, text) = anybody
        .get("/readyz?verbose&exclude=etcd&exclude=nothing")
        .await;
    assert!(text.contains("[+]etcd excluded: ok\n"), "{text}");
    assert!(text.contains("no matches for \"nothing\"\n"), "{text}");

    // A full device.
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    full.store(true, Relaxed);
    assert_eq!(admin.ask(Method::POST, maps, map.clone()).await.0, 507);
    let (status, text) = anybody.get("/readyz").await;
    assert_eq!(status, 500);
    let readiness = "[+]etcd ok\n[-]etcd-readiness failed: reason withheld\n";
    assert!(text.contains(readiness), "{text}");
    assert!(
        text.ends_with("readyz check failed\n") && !text.contains("full"),
        "{text}"
    );
    // A restart makes no space, and would end the reads.
    for path in ["/livez", "/healthz", "/livez/etcd", "/readyz/etcd"] {
        assert_eq!(admin.get(path).await.0, 200, "{path}");
    }
    full.store(false, Relaxed);
    assert_eq!(admin.ask(Method::POST, maps, map.clone()).await.0, 201);
    assert_eq!(anybody.get("/readyz").await.0, 200);

    // A device that has failed: the store says that it must be opened again.
    broken.store(true, Relaxed);
    assert_eq!(admin.ask(Method::POST, maps, map.clone()).await.0, 500);
    for path in ["/livez", "/readyz", "/livez/etcd"] {
        assert_eq!(admin.get(path).await.0, 500, "{path}");
    }
    assert_eq!(anybody.get("/livez?exclude=etcd").await.0, 200);
    broken.store(false, Relaxed);
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "o"}});
    assert_eq!(admin.ask(Method::POST, maps, other).await.0, 201);
    assert_eq!(anybody.get("/readyz").await.0, 200);

    // About to end: no new clients, but no reason to kill it.
    server.api.prepare_to_stop();
    let (status, text) = anybody.get("/readyz").await;
    assert_eq!(status, 500);
    assert!(
        text.contains("[-]shutdown failed: reason withheld\n"),
        "{text}"
    );
    assert_eq!(anybody.get("/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_the_names_that_dashboards_ask_for() {
    let server = wire::server_with(|_| {}).await;
    let mut client = Client::new(&server, "modest-token").await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    assert_eq!(client.ask(Method::POST, maps, map).await.0, 201);
    assert_eq!(client.get(&format!("{maps}/m")).await.0, 200);
    for n in 0..50 {
        assert_eq!(
            client
                .get(&format!("/apis/g{n}.example.com/v1/things{n}"))
                .await
                .0,
            404
        );
    }
    let (_, text) = client.get("/metrics").await;
    for line in [
        r#"apiserver_request_total{code="201",component="apiserver",group="",resource="configmaps",scope="namespace",subresource="",verb="POST",version="v1"} 1"#,
        r#"apiserver_request_total{code="200",component="apiserver",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"} 1"#,
        r#"apiserver_request_total{code="404",component="apiserver",group="",resource="unknown",scope="",subresource="",verb="LIST",version=""} 50"#,
        r#"apiserver_request_duration_seconds_count{verb="GET",group="",version="v1",resource="configmaps",subresource="",scope="resource"} 1"#,
        // This very request.
        r#"apiserver_current_inflight_requests{request_kind="readOnly"} 1"#,
        r#"apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"} 245"#,
    ] {
        assert!(
            text.contains(&format!("{line}\n")),
            "{line} is not in\n{text}"
        );
    }
    // Each family is said once, before its samples; each series once.
    let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let name = family.split(' ').next().unwrap();
            assert!(families.insert(name.to_owned()), "{line}");
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(sample.to_owned()), "{line}");
            let name = sample.split('{').next().unwrap();
            let known = ["", "_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .any(|name| families.contains(name));
            assert!(known, "{line}");
        }
    }
    for family in [
        "apiserver_longrunning_requests",
        "apiserver_watch_events_total",
        "apiserver_storage_objects",
        "apiserver_admission_webhook_admission_duration_seconds",
        "apiserver_flowcontrol_rejected_requests_total",
        "etcd_request_duration_seconds",
        "process_resident_memory_bytes",
        "kubernetes_build_info",
    ] {
        assert!(families.contains(family), "{family}");
    }
    let mut joe = Client::new(&server, "").await;
    assert_eq!(joe.get("/metrics").await.0, 403);
}
