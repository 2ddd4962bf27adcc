//! Metadata watches of every kind, merged into one stream of changes.

use std::collections::{HashMap, HashSet};

use futures_util::StreamExt;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::debug;

use super::graph::{Change, Identity, Node, Owner, Uid};
use crate::resources::{Deletable, Resources};

/// A running watch; ends with its handle.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps one watch per served kind, following discovery.
pub(super) async fn run(client: Client, mut resources: Resources, tx: mpsc::Sender<Change>) {
    let mut running: HashMap<Deletable, Running> = HashMap::new();
    loop {
        let wanted = resources.borrow_and_update().clone();
        running.retain(|kind, _| wanted.contains(kind));
        for kind in wanted.iter() {
            running.entry(kind.clone()).or_insert_with(|| {
                Running(tokio::spawn(watch(
                    client.clone(),
                    kind.clone(),
                    tx.clone(),
                )))
            });
        }
        if resources.changed().await.is_err() {
            return;
        }
    }
}

async fn watch(client: Client, kind: Deletable, tx: mpsc::Sender<Change>) {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &kind.resource);
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    // What this watch has shown, so that a fresh list also tells what vanished unseen.
    let mut known: HashSet<Uid> = HashSet::new();
    let mut listed: HashSet<Uid> = HashSet::new();
    while let Some(event) = events.next().await {
        let changes = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(watcher::Event::InitApply(object)) => {
                let node = node(&kind, object);
                listed.insert(node.identity.uid.clone());
                vec![Change::Seen(node)]
            }
            Ok(watcher::Event::InitDone) => {
                let vanished = known.difference(&listed).cloned().map(Change::Gone);
                let vanished = vanished.collect();
                known = std::mem::take(&mut listed);
                vanished
            }
            Ok(watcher::Event::Apply(object)) => {
                let node = node(&kind, object);
                known.insert(node.identity.uid.clone());
                vec![Change::Seen(node)]
            }
            Ok(watcher::Event::Delete(object)) => {
                let uid = object.uid().unwrap_or_default();
                known.remove(&uid);
                vec![Change::Gone(uid)]
            }
            Err(error) => {
                debug!(kind = kind.resource.kind, %error, "metadata watch interrupted");
                Vec::new()
            }
        };
        for change in changes {
            if tx.send(change).await.is_err() {
                return;
            }
        }
    }
}

fn node(kind: &Deletable, object: PartialObjectMeta<DynamicObject>) -> Node {
    let meta = object.metadata;
    let owners = meta
        .owner_references
        .unwrap_or_default()
        .into_iter()
        .map(|reference| Owner {
            block: reference.block_owner_deletion == Some(true),
            reference,
        })
        .collect();
    Node {
        identity: Identity {
            api_version: kind.resource.api_version.clone(),
            kind: kind.resource.kind.clone(),
            namespace: meta.namespace,
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
        },
        owners,
        deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.unwrap_or_default(),
    }
}
