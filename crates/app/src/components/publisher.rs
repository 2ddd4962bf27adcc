//! Brings the mirror Pods of this node to what the components do.
//!
//! ```text
//!  board ─┬─► wake ─► Node, Pods of this node with our label ─► pod::decide ─► create, status, remove
//!  watch ─┘
//! ```
//!
//! Invariant: level-triggered. A pass looks at everything; one that fails is repeated soon, one that
//! nobody asked for comes now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::vmruntime::{COMPONENT_LABEL, NAMESPACE};
use engine::noderuntime::is_mirror;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, PartialObjectMeta, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use reconcile::{ReconcileError, ResultExt, get_opt, write_status};
use tracing::warn;

use super::pod::{self, Before, Shown, Step};
use super::{Board, Place, State, this_second};

/// After a pass that has failed.
const RETRY: Duration = Duration::from_secs(1);
/// Without news.
const FULL_PASS: Duration = Duration::from_secs(300);

pub(super) struct Publisher {
    client: Client,
    place: Arc<Place>,
    shown: Vec<Shown>,
    board: Arc<Board>,
    /// What Pods have brought from before, by component. Taken once.
    before: Option<BTreeMap<String, Before>>,
}

impl Publisher {
    pub(super) fn new(
        client: Client,
        place: Arc<Place>,
        shown: Vec<Shown>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            client,
            place,
            shown,
            board,
            before: None,
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Runs for ever.
    pub(super) async fn run(mut self) {
        let mine = format!("spec.nodeName={}", self.place.node);
        let metadata: Api<PartialObjectMeta<Pod>> = Api::namespaced(self.client.clone(), NAMESPACE);
        let config = watcher::Config::default()
            .fields(&mine)
            .labels(COMPONENT_LABEL);
        let mut pods = watcher(metadata, config).default_backoff().boxed();
        loop {
            let next = match self.pass(&mine).await {
                Ok(()) => FULL_PASS,
                Err(error) => {
                    if !error.is_conflict() && !error.is_gone() {
                        warn!("{}", error.chain());
                    }
                    RETRY
                }
            };
            let board = self.board.clone();
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = board.changed.notified() => {}
                _ = pods.try_next() => {}
            }
        }
    }

    async fn pass(&mut self, mine: &str) -> Result<(), ReconcileError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        // It is made again by the heartbeat of the node, if somebody has deleted it.
        let Some(node) = get_opt(&nodes, &self.place.node).await? else {
            return Err(ReconcileError::other(
                "publishing the components",
                format!("Node {} does not exist", self.place.node),
            ));
        };
        let list = ListParams::default().fields(mine).labels(COMPONENT_LABEL);
        let pods = self
            .api()
            .list(&list)
            .await
            .doing(|| "listing the components".to_owned())?
            .items;
        let now = this_second();
        let before = self.before.get_or_insert_with(|| {
            let ours = pods.iter().filter(|p| is_mirror(p));
            ours.filter_map(|p| {
                Some((p.labels().get(COMPONENT_LABEL)?.clone(), Before::of(p, now)))
            })
            .collect()
        });
        let mut steps = Vec::new();
        for shown in &self.shown {
            let name = pod::name_of(shown.name, &self.place.node);
            let found = pods.iter().find(|p| p.name_any() == name);
            let report = self.board.read(shown.name);
            if report.state == State::Stopped {
                before.remove(shown.name);
            }
            let before = before.get(shown.name).cloned().unwrap_or_default();
            let ip = &self.place.host_ip;
            let step = pod::decide(shown, &node, ip, &report, &before, found, now);
            steps.push((found, step));
        }
        // Those of components that this version does not have.
        let ours: Vec<String> = self
            .shown
            .iter()
            .map(|s| pod::name_of(s.name, &self.place.node))
            .collect();
        for pod in pods.iter().filter(|p| is_mirror(p)) {
            if !ours.contains(&pod.name_any()) {
                steps.push((Some(pod), Step::Remove));
            }
        }
        let mut failed = None;
        for (found, step) in steps {
            if let Err(error) = self.act(found, step).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn act(&self, found: Option<&Pod>, step: Step) -> Result<(), ReconcileError> {
        match (step, found) {
            (Step::Create(pod), _) => {
                let made = self.api().create(&PostParams::default(), &pod).await;
                made.map(drop)
                    .doing(|| format!("creating the mirror Pod {}", pod.name_any()))
            }
            (Step::Say(status), Some(pod)) => {
                let mut new = pod.clone();
                new.status = Some(*status);
                let (old, now) = (pod.status.as_ref(), new.status.as_ref());
                write_status(&self.api(), &new, old, now).await
            }
            (Step::Remove, Some(pod)) => self.remove(pod).await,
            _ => Ok(()),
        }
    }

    /// At once: there is no process that could end in order.
    async fn remove(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api().delete(&pod.name_any(), &params).await {
            Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
            other => other
                .map(drop)
                .doing(|| format!("removing the mirror Pod {}", pod.name_any())),
        }
    }
}
