//! Removes what Pods have left that the API does not know any more: those deleted by force, or
//! while this node was down.
//!
//! ```text
//! in the API? ─ yes ─► left to the reconciler
//!   │ no
//! recorded for the store that the API has? ─ yes ─► ended and removed
//!   │ no: emptied, restored or foreign store
//!   └─► goes on; a warning and an Event of the Node say so
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use host::cgroup::Cgroups;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use reconcile::{EventKind, Recorder};
use tracing::{info, warn};

use super::record::Record;
use super::sandbox::{self, SandboxError};
use super::{Config, PodDir};

/// Looked through at least this often.
const EVERY: Duration = Duration::from_secs(60);

/// Runs for ever: at every deletion of a Pod of this node, and periodically.
pub(super) async fn run(client: Client, config: Arc<Config>) {
    let api: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", config.node));
    let mut events = watcher(api, mine).default_backoff().boxed();
    let recorder = Recorder::new(client.clone(), "node-runtime");
    let mut told = HashSet::new();
    loop {
        if let Err(error) = sweep(&client, &config, &recorder, &mut told).await {
            warn!(%error, "looking for leftovers of Pods");
        }
        // Wait for a deletion; a relist may have swallowed one.
        let deleted = async {
            loop {
                if let Ok(Some(watcher::Event::Delete(_) | watcher::Event::InitDone) | None) =
                    events.try_next().await
                {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(EVERY, deleted).await;
    }
}

async fn sweep(
    client: &Client,
    config: &Config,
    recorder: &Recorder,
    told: &mut HashSet<String>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // The directories first: a Pod that comes meanwhile is then in the list.
    let mut there = HashSet::new();
    for entry in std::fs::read_dir(config.pods_dir())? {
        there.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    if there.is_empty() {
        return Ok(());
    }
    let api: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
    let known: HashSet<String> = api
        .list(&ListParams::default())
        .await?
        .items
        .iter()
        .filter_map(ResourceExt::uid)
        .collect();
    let cgroups = Cgroups::detect()?;
    for uid in there.difference(&known) {
        let dir = config.pod_dir(uid);
        match Record::read(&dir) {
            // Nothing was started before there was a record.
            Ok(None) => {}
            Ok(Some(record)) if record.store.as_deref() == Some(&config.store) => {}
            Ok(Some(record)) => {
                if told.insert(uid.clone()) {
                    tell(client, config, recorder, &record).await;
                }
                continue;
            }
            Err(error) => {
                warn!(uid, %error, "an unknown Pod whose record cannot be read goes on");
                continue;
            }
        }
        info!(uid, "removing what an unknown Pod has left");
        // One that cannot be removed does not keep the others.
        if let Err(error) = remove(&cgroups, &dir, uid).await {
            warn!(uid, %error, "removing what an unknown Pod has left");
        }
    }
    Ok(())
}

/// Says that a Pod of another store runs here.
async fn tell(client: &Client, config: &Config, recorder: &Recorder, record: &Record) {
    let Record {
        namespace,
        name,
        uid,
        ..
    } = record;
    let message = format!(
        "Pod {namespace}/{name} ({uid}) runs here for another store: this one was emptied, restored or replaced. It goes on, unknown to the API; see docs/backup.md for how to end it"
    );
    warn!(uid, "{message}");
    let node = Node {
        metadata: match Api::<Node>::all(client.clone()).get(&config.node).await {
            Ok(node) => node.metadata,
            Err(_) => return,
        },
        ..Node::default()
    };
    recorder
        .publish(&node, EventKind::Warning, "PodOfAnotherStore", &message)
        .await;
}

async fn remove(cgroups: &Cgroups, dir: &PodDir, uid: &str) -> Result<(), SandboxError> {
    sandbox::tear_down(cgroups, dir, uid).await?;
    sandbox::remove(dir)
}
