//! Which resources the API serves now: one task asks, everybody else reads the latest answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Asked again at least this often, for groups that are not CRDs.
const REFRESH: Duration = Duration::from_secs(60);
/// Changes of CRDs that come together are answered together.
const SETTLE: Duration = Duration::from_millis(50);

/// One resource whose objects can be listed, watched and deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deletable {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// The latest answer; empty until discovery succeeded for the first time.
pub type Resources = watch::Receiver<Arc<Vec<Deletable>>>;

/// Starts the task that keeps the answer fresh.
#[must_use]
pub fn discover(client: Client, cancel: CancellationToken) -> Resources {
    let (tx, rx) = watch::channel(Arc::new(Vec::new()));
    tokio::spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = refresh(client, tx) => {}
        }
    });
    rx
}

async fn refresh(client: Client, tx: watch::Sender<Arc<Vec<Deletable>>>) {
    let crds: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
    let mut changes = watcher(crds, watcher::Config::default())
        .default_backoff()
        .boxed();
    loop {
        match ask(&client).await {
            Ok(found) => {
                tx.send_if_modified(|old| {
                    let changed = **old != found;
                    if changed {
                        *old = Arc::new(found);
                    }
                    changed
                });
            }
            Err(error) => warn!(%error, "discovering the served resources"),
        }
        let change = tokio::time::timeout(REFRESH, changes.next()).await;
        if let Ok(Some(Ok(_))) = change {
            // Drain what comes together: a start-up installs all CRDs at once.
            while let Ok(Some(_)) = tokio::time::timeout(SETTLE, changes.next()).await {}
        }
    }
}

async fn ask(client: &Client) -> Result<Vec<Deletable>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    let mut found = Vec::new();
    for group in discovery.groups() {
        for (resource, caps) in group.recommended_resources() {
            let able = [verbs::LIST, verbs::WATCH, verbs::DELETE]
                .iter()
                .all(|verb| caps.supports_operation(verb));
            // Events are records of others and are expired by age, as upstream does.
            if able && resource.kind != "Event" {
                found.push(Deletable {
                    namespaced: caps.scope == Scope::Namespaced,
                    resource,
                });
            }
        }
    }
    found.sort_by(|a, b| {
        (&a.resource.group, &a.resource.plural).cmp(&(&b.resource.group, &b.resource.plural))
    });
    Ok(found)
}
