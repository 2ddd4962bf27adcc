//! Removes what Pods have left that the API does not know any more: those deleted by force, or
//! while this node was down.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use host::cgroup::Cgroups;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tracing::{info, warn};

use super::sandbox::{self, SandboxError};
use super::{Config, PodDir};

/// Looked through at least this often.
const EVERY: Duration = Duration::from_secs(60);

/// Runs for ever: at every deletion of a Pod of this node, and periodically.
pub(super) async fn run(client: Client, config: Arc<Config>) {
    let api: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", config.node));
    let mut events = watcher(api, mine).default_backoff().boxed();
    loop {
        if let Err(error) = sweep(&client, &config).await {
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
        info!(uid, "removing what an unknown Pod has left");
        // One that cannot be removed does not keep the others.
        if let Err(error) = remove(&cgroups, &dir, uid).await {
            warn!(uid, %error, "removing what an unknown Pod has left");
        }
    }
    Ok(())
}

async fn remove(cgroups: &Cgroups, dir: &PodDir, uid: &str) -> Result<(), SandboxError> {
    sandbox::tear_down(cgroups, dir, uid).await?;
    sandbox::remove(dir)
}
