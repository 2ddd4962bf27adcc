//! The scheduler: binds Pods that have no node. What it decides is in [`placement`]; here is the
//! loop around it.
//!
//! ```text
//!  watches (Pods, Nodes, PersistentVolumes, Namespaces) ─► wake ─► for each pending Pod, oldest
//!  first: facts ─► placement::decide ─► binding, or PodScheduled=False and an Event
//! ```
//!
//! Invariants: level-triggered, every pass looks at every pending Pod; a Pod that was bound is
//! counted on its node at once (*assumed*), before the watch shows it; a Pod that fits nowhere says
//! so in its condition in kube-scheduler's words, and is looked at again at the next change of a Pod
//! or a Node. It says so when it has fitted nowhere for [`SETTLE`]: before, its claims may still be filled, its
//! node may still register, what it replaces may still be ending, and a verdict would be a write and an Event
//! about nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Binding, Namespace, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod,
    PodCondition,
};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use placement::{Namespaces, NodeFacts, Placement, PodFacts};
use reconcile::{
    EventKind, ReconcileError, Recorder, ResultExt, get_opt, set_condition, write_status,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Pods of this scheduler, and those that name none.
const NAME: &str = "default-scheduler";
/// Everything is looked at again this often, changed or not.
const FULL_PASS: Duration = Duration::from_secs(30);
/// Age of a Pod, in whole seconds of its creationTimestamp, from which on it is said that it fits nowhere.
const SETTLE: SignedDuration = SignedDuration::from_secs(3);

struct Scheduler {
    client: Client,
    recorder: Recorder,
    pods: Store<Pod>,
    nodes: Store<Node>,
    namespaces: Store<Namespace>,
    /// Where Pods were bound whose binding the watch has not shown yet, by UID.
    assumed: HashMap<String, String>,
    /// When the first Pod that fits nowhere is old enough to say so.
    verdict_due: Option<Duration>,
}

/// Runs until cancelled.
pub async fn run(client: Client, cancel: CancellationToken) {
    let wake = Arc::new(Notify::new());
    let pods = mirror(client.clone(), wake.clone());
    let nodes = mirror(client.clone(), wake.clone());
    let namespaces = mirror(client.clone(), wake.clone());
    let scheduler = Scheduler {
        recorder: Recorder::new(client.clone(), NAME),
        client,
        pods: pods.0,
        nodes: nodes.0,
        namespaces: namespaces.0,
        assumed: HashMap::new(),
        verdict_due: None,
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = pods.1 => {}
        () = nodes.1 => {}
        () = namespaces.1 => {}
        () = scheduler.run(wake) => {}
    }
}

/// A mirror of all objects of a kind, and the future that keeps it.
fn mirror<K>(client: Client, wake: Arc<Notify>) -> (Store<K>, impl Future<Output = ()> + Send)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let stream = watcher(Api::<K>::all(client), watcher::Config::default());
    let keep = async move {
        let mut events = stream.default_backoff().reflect(writer).boxed();
        loop {
            match events.try_next().await {
                Ok(Some(_)) => wake.notify_one(),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    };
    (store, keep)
}

/// Whether the scheduler has to find a node for it.
fn is_pending(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let scheduler = spec.and_then(|s| s.scheduler_name.as_deref());
    spec.is_some_and(|s| s.node_name.as_deref().unwrap_or_default().is_empty())
        && matches!(scheduler, None | Some("" | NAME))
        && pod.metadata.deletion_timestamp.is_none()
}

/// How long until a Pod that fits nowhere says so; `None` when it is time.
fn settles_in(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let made = pod.metadata.creation_timestamp.as_ref()?.0;
    let left = SETTLE - now.duration_since(made);
    // A clock that was set back must not silence it: nothing settles for longer than it would when new.
    let left = left.min(SETTLE);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

impl Scheduler {
    async fn run(mut self, wake: Arc<Notify>) {
        // Deciding on half a view would call a Pod unschedulable for no reason.
        let ready = async {
            self.pods.wait_until_ready().await?;
            self.nodes.wait_until_ready().await?;
            self.namespaces.wait_until_ready().await
        };
        if ready.await.is_err() {
            return;
        }
        loop {
            self.verdict_due = None;
            self.pass().await;
            let pause = self.verdict_due.unwrap_or(FULL_PASS).min(FULL_PASS);
            let _ = tokio::time::timeout(pause, wake.notified()).await;
        }
    }

    async fn pass(&mut self) {
        let mut pending: Vec<Arc<Pod>> = self
            .pods
            .state()
            .into_iter()
            .filter(|p| is_pending(p))
            .filter(|p| !self.assumed.contains_key(&p.uid().unwrap_or_default()))
            .collect();
        self.forget_seen();
        if pending.is_empty() {
            return;
        }
        pending.sort_by_key(|p| {
            (
                p.metadata.creation_timestamp.as_ref().map(|t| t.0),
                p.name_any(),
            )
        });
        let namespaces = self.namespace_labels();
        let mut nodes = self.node_facts(&namespaces);
        for pod in pending {
            if let Err(error) = self.place(&pod, &namespaces, &mut nodes).await
                && !error.is_conflict()
                && !error.is_gone()
            {
                warn!("{}", error.chain());
            }
        }
    }

    /// What the watch has shown need not be assumed any more.
    fn forget_seen(&mut self) {
        let by_uid: HashMap<String, Arc<Pod>> = self
            .pods
            .state()
            .into_iter()
            .filter_map(|p| Some((p.uid()?, p)))
            .collect();
        self.assumed
            .retain(|uid, _| by_uid.get(uid).is_some_and(|p| is_pending(p)));
    }

    fn namespace_labels(&self) -> Namespaces {
        let all = self.namespaces.state();
        all.iter()
            .map(|ns| (ns.name_any(), ns.labels().clone()))
            .collect()
    }

    fn node_facts(&self, namespaces: &Namespaces) -> Vec<NodeFacts> {
        let mut on_node: BTreeMap<String, Vec<Arc<PodFacts>>> = BTreeMap::new();
        for pod in self.pods.state() {
            let uid = pod.uid().unwrap_or_default();
            let bound = pod.spec.as_ref().and_then(|s| s.node_name.clone());
            let node = bound
                .filter(|n| !n.is_empty())
                .or_else(|| self.assumed.get(&uid).cloned());
            if let Some(node) = node {
                let facts = Arc::new(PodFacts::new(&pod, namespaces));
                on_node.entry(node).or_default().push(facts);
            }
        }
        self.nodes
            .state()
            .iter()
            .map(|node| NodeFacts::new(node, on_node.remove(&node.name_any()).unwrap_or_default()))
            .collect()
    }

    async fn place(
        &mut self,
        pod: &Pod,
        namespaces: &Namespaces,
        nodes: &mut [NodeFacts],
    ) -> Result<(), ReconcileError> {
        let facts = match self
            .with_volumes(pod, PodFacts::new(pod, namespaces))
            .await?
        {
            Ok(facts) => facts,
            Err(message) => return self.unschedulable(pod, &message).await,
        };
        match placement::decide(&facts, nodes) {
            Placement::Bind(node) => {
                self.bind(pod, &node).await?;
                self.assumed
                    .insert(pod.uid().unwrap_or_default(), node.clone());
                if let Some(taken) = nodes.iter_mut().find(|n| n.name() == node) {
                    taken.add_pod(Arc::new(facts));
                }
                let message = format!(
                    "Successfully assigned {}/{} to {node}",
                    pod.namespace().unwrap_or_default(),
                    pod.name_any()
                );
                self.recorder
                    .publish(pod, EventKind::Normal, "Scheduled", &message)
                    .await;
                Ok(())
            }
            Placement::Unschedulable { message } => self.unschedulable(pod, &message).await,
            Placement::Gated { message } => self.explain(pod, "SchedulingGated", &message).await,
        }
    }

    /// Adds where the Pod's volumes are; the inner error says which of them is not bound.
    async fn with_volumes(
        &self,
        pod: &Pod,
        mut facts: PodFacts,
    ) -> Result<Result<PodFacts, String>, ReconcileError> {
        let namespace = pod.namespace().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        for name in crate::provisioner::claim_names(pod) {
            let Some(claim) = get_opt(&claims, name).await? else {
                return Ok(Err(format!("persistentvolumeclaim {name:?} not found")));
            };
            let volume = claim.spec.and_then(|s| s.volume_name);
            let Some(volume) = volume.filter(|v| !v.is_empty()) else {
                return Ok(Err(
                    "pod has unbound immediate PersistentVolumeClaims".to_owned()
                ));
            };
            let affinity = get_opt(&volumes, &volume)
                .await?
                .and_then(|v| v.spec)
                .and_then(|s| s.node_affinity)
                .and_then(|a| a.required);
            if let Some(selector) = affinity {
                facts = facts.with_volume(&selector);
            }
        }
        Ok(Ok(facts))
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), ReconcileError> {
        let namespace = pod.namespace().unwrap_or_default();
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name_any()),
                namespace: Some(namespace.clone()),
                uid: pod.uid(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let doing = || format!("binding Pod {namespace}/{} to {node}", pod.name_any());
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let _: serde_json::Value = api
            .create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding)
            .await
            .doing(doing)?;
        Ok(())
    }

    /// Says that a Pod fits nowhere, once that has lasted.
    async fn unschedulable(&mut self, pod: &Pod, message: &str) -> Result<(), ReconcileError> {
        match settles_in(pod, Timestamp::now()) {
            Some(left) => {
                self.verdict_due = Some(self.verdict_due.map_or(left, |due| due.min(left)));
                Ok(())
            }
            None => self.explain(pod, "Unschedulable", message).await,
        }
    }

    async fn explain(&self, pod: &Pod, reason: &str, message: &str) -> Result<(), ReconcileError> {
        let mut new = pod.clone();
        let conditions = new
            .status
            .get_or_insert_default()
            .conditions
            .get_or_insert_default();
        let condition = PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            ..PodCondition::default()
        };
        set_condition(conditions, condition, Timestamp::now());
        if new.status == pod.status {
            return Ok(());
        }
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        write_status(&api, &new, pod.status.as_ref(), new.status.as_ref()).await?;
        self.recorder
            .publish(pod, EventKind::Warning, "FailedScheduling", message)
            .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_waits_until_the_pod_is_old_enough() {
        let made: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let pod = Pod {
            metadata: ObjectMeta {
                creation_timestamp: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                    made,
                )),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        };
        let at = |seconds: i64| settles_in(&pod, made + SignedDuration::from_secs(seconds));
        assert_eq!(at(0), Some(Duration::from_secs(3)));
        assert_eq!(at(2), Some(Duration::from_secs(1)));
        assert_eq!(at(3), None);
        assert_eq!(at(60), None);
        assert_eq!(at(-60), Some(Duration::from_secs(3)));
        assert_eq!(settles_in(&Pod::default(), made), None);
    }
}
