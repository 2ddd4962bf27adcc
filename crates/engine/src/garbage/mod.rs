//! Garbage collection by owner references.
//!
//! ```text
//! metadata watches of all kinds ─► Graph (uid → owners, dependents) ─► decide (pure) ─► API calls
//! ```
//!
//! - An object is deleted when it has owners and none of them exists any more. An owner that the
//!   graph does not know is looked up in the API before it counts as gone.
//! - References to owners that are gone are removed from an object that still has another owner.
//! - `foregroundDeletion`: an owner that is being deleted in the foreground waits for its
//!   dependents with `blockOwnerDeletion`. `orphan`: its dependents lose the reference first.
//!
//! Invariant: the graph is a cache; nothing is deleted on its word alone, every deletion carries
//! the UID as a precondition.

mod graph;
mod watches;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::resources::{Deletable, Resources};
use graph::{Action, Graph, Identity, Uid};

/// Changes in flight from the watches to the graph.
const QUEUE: usize = 1024;
/// What failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// Every object with owners is looked at again this often, changed or not.
const FULL_PASS: Duration = Duration::from_secs(300);

/// Runs until cancelled.
pub async fn run(client: Client, resources: Resources, cancel: CancellationToken) {
    let (tx, rx) = mpsc::channel(QUEUE);
    let watches = watches::run(client.clone(), resources.clone(), tx);
    let collector = Collector {
        client,
        resources,
        graph: Graph::default(),
        dirty: HashSet::new(),
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = watches => {}
        () = collector.run(rx) => {}
    }
}

struct Collector {
    client: Client,
    resources: Resources,
    graph: Graph,
    /// What is to be looked at.
    dirty: HashSet<Uid>,
}

impl Collector {
    async fn run(mut self, mut changes: mpsc::Receiver<graph::Change>) {
        let mut full_pass = tokio::time::interval(FULL_PASS);
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.recv() => {
                    let Some(change) = change else { return };
                    let touched = self.graph.apply(change);
                    self.dirty.extend(touched);
                    // Take all that is there before acting: later changes make earlier ones moot.
                    while let Ok(change) = changes.try_recv() {
                        let touched = self.graph.apply(change);
                        self.dirty.extend(touched);
                    }
                }
                _ = full_pass.tick() => self.dirty.extend(self.graph.owned()),
                _ = retry.tick(), if !self.dirty.is_empty() => {}
            }
            for uid in std::mem::take(&mut self.dirty) {
                if !self.look_at(&uid).await {
                    self.dirty.insert(uid);
                }
            }
        }
    }

    /// Decides about one object and acts; false = try again later.
    async fn look_at(&self, uid: &Uid) -> bool {
        let mut absent = HashMap::new();
        for owner in self.graph.unknown_owners(uid) {
            match self.is_absent(&owner).await {
                Ok(gone) => {
                    absent.insert(owner.uid.clone(), gone);
                }
                Err(error) => {
                    debug!(owner = ?owner, %error, "looking for an owner");
                    return false;
                }
            }
        }
        let mut done = true;
        for action in self.graph.decide(uid, &absent) {
            debug!(?action, "garbage");
            if let Err(error) = self.act(&action).await {
                warn!(?action, %error, "collecting garbage");
                done = false;
            }
        }
        done
    }

    fn kind_of(&self, identity: &Identity) -> Option<Deletable> {
        let (group, _) = identity
            .api_version
            .split_once('/')
            .unwrap_or(("", identity.api_version.as_str()));
        self.resources
            .borrow()
            .iter()
            .find(|r| r.resource.kind == identity.kind && r.resource.group == group)
            .cloned()
    }

    fn api(&self, kind: &Deletable, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(ns) if kind.namespaced => {
                Api::namespaced_with(self.client.clone(), ns, &kind.resource)
            }
            _ => Api::all_with(self.client.clone(), &kind.resource),
        }
    }

    /// Whether an owner that no watch has shown does not exist.
    async fn is_absent(&self, owner: &Identity) -> Result<bool, kube::Error> {
        // An owner of a kind that is not served may be served again: keep its dependents.
        let Some(kind) = self.kind_of(owner) else {
            return Ok(false);
        };
        let found = self
            .api(&kind, owner.namespace.as_deref())
            .get_metadata_opt(&owner.name)
            .await?;
        Ok(found.and_then(|o| o.metadata.uid).as_deref() != Some(owner.uid.as_str()))
    }

    async fn act(&self, action: &Action) -> Result<(), kube::Error> {
        let target = action.target();
        let Some(kind) = self.kind_of(target) else {
            return Ok(());
        };
        let api = self.api(&kind, target.namespace.as_deref());
        let gone = |e: &kube::Error| matches!(e, kube::Error::Api(s) if s.code == 404);
        let result = match action {
            Action::Delete { target, policy } => {
                let params = DeleteParams {
                    propagation_policy: Some(policy.clone()),
                    preconditions: Some(Preconditions {
                        uid: Some(target.uid.clone()),
                        resource_version: None,
                    }),
                    ..DeleteParams::default()
                };
                match api.delete(&target.name, &params).await {
                    // Another object of that name: ours is gone.
                    Err(kube::Error::Api(s)) if s.code == 409 => Ok(()),
                    other => other.map(|_| ()),
                }
            }
            Action::SetOwners { target, owners } => {
                self.patch(&api, target, serde_json::json!({"ownerReferences": owners}))
                    .await
            }
            Action::SetFinalizers { target, finalizers } => {
                self.patch(&api, target, serde_json::json!({"finalizers": finalizers}))
                    .await
            }
        };
        match result {
            Err(e) if gone(&e) => Ok(()),
            other => other,
        }
    }

    /// A merge patch of metadata that only succeeds on the version that was looked at.
    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        target: &Identity,
        mut metadata: serde_json::Value,
    ) -> Result<(), kube::Error> {
        if let Some(map) = metadata.as_object_mut() {
            map.insert("uid".into(), target.uid.clone().into());
            map.insert(
                "resourceVersion".into(),
                target.resource_version.clone().into(),
            );
        }
        let patch = serde_json::json!({ "metadata": metadata });
        match api
            .patch_metadata(&target.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            // A newer version is on its way through the watch, and is looked at when it comes.
            Err(kube::Error::Api(s)) if s.code == 409 => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
