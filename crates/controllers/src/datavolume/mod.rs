//! DataVolumes: a claim, and an importer Pod that fills it.
//!
//! ```text
//!            claim made        claim bound         Pod there            Pod runs
//!  Pending ────────────► Pending ────► PVCBound ────► ImportScheduled ────► ImportInProgress
//!                                                                           │  ▲      │
//!                                                            failed, back-off└──┘      ▼
//!                                                                                  Succeeded ─► Pod deleted
//! ```
//!
//! Invariants: the claim and the Pod have fixed names, so a pass that is repeated after a crash
//! finds what it made. `Succeeded` is final, and is written before the Pod is deleted. Progress is
//! read from the Pod's log, which works alike on the engine and on a cluster.

mod objects;
mod plan;
mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, LogParams};
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{
    Next, ReconcileError, Reconciler, Recorder, create_if_absent, delete_if_present, get_opt,
    report,
};
use tokio_util::sync::CancellationToken;

use crate::runtime::{Runtime, changes};
use api::cdi::DataVolume;
use plan::{Facts, Step};

pub(crate) use plan::waits;

/// How often the progress of a running import is read.
const PROGRESS: Duration = Duration::from_secs(1);
/// Enough for one progress line.
const LOG_BYTES: i64 = 4096;

struct DataVolumes {
    client: Client,
    runtime: Runtime,
    recorder: Recorder,
}

impl DataVolumes {
    /// The last line that a running importer wrote.
    async fn last_line(&self, pod: &Pod) -> Option<String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace()?);
        let params = LogParams {
            tail_lines: Some(1),
            limit_bytes: Some(LOG_BYTES),
            ..LogParams::default()
        };
        // No log yet is no failure: the next pass reads it.
        api.logs(&pod.name_any(), &params).await.ok()
    }
}

impl Reconciler for DataVolumes {
    type Object = DataVolume;
    type Observed = Facts;
    type Plan = plan::Plan;
    const NAME: &'static str = "datavolume-controller";

    async fn observe(&self, volume: Arc<DataVolume>) -> Result<Facts, ReconcileError> {
        let namespace = volume.namespace().unwrap_or_default();
        let name = volume.name_any();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let claim = get_opt(&claims, &name).await?;
        let pod = get_opt(&pods, &objects::importer_name(&name)).await?;
        let line = match pod.as_ref().filter(|p| plan::is_running(p)) {
            Some(pod) => self.last_line(pod).await,
            None => None,
        };
        Ok(Facts {
            volume,
            runtime: self.runtime.borrow().clone(),
            claim,
            pod,
            progress: line.as_deref().and_then(status::progress),
        })
    }

    fn plan(facts: &Facts, now: Timestamp) -> plan::Plan {
        plan::decide(facts, now)
    }

    async fn apply(&self, facts: Facts, plan: plan::Plan) -> Result<Next, ReconcileError> {
        let namespace = facts.volume.namespace().unwrap_or_default();
        let volumes: Api<DataVolume> = Api::namespaced(self.client.clone(), &namespace);
        let (volume, event) = (facts.volume.as_ref(), plan.event.as_ref());
        report(&volumes, &self.recorder, volume, plan.status, event).await?;
        match plan.step {
            Step::Nothing => return Ok(Next::Change),
            Step::WatchProgress => return Ok(Next::After(PROGRESS)),
            Step::MakeClaim(claim) => {
                create_if_absent(&Api::namespaced(self.client.clone(), &namespace), &*claim)
                    .await?;
            }
            Step::MakeImporter(pod) => {
                create_if_absent(&Api::namespaced(self.client.clone(), &namespace), &*pod).await?;
            }
            Step::RemoveImporter => {
                if let Some(pod) = &facts.pod {
                    let pods = Api::namespaced(self.client.clone(), &namespace);
                    delete_if_present(&pods, pod).await?;
                }
            }
        }
        Ok(Next::Change)
    }
}

/// Runs until cancelled.
pub async fn run(client: Client, runtime: Runtime, cancel: CancellationToken) {
    let any = watcher::Config::default;
    let controller = Controller::new(Api::<DataVolume>::all(client.clone()), any())
        .owns(Api::<PersistentVolumeClaim>::all(client.clone()), any())
        .owns(
            Api::<Pod>::all(client.clone()),
            any().labels(objects::IMPORTER_SELECTOR),
        )
        .reconcile_all_on(changes(runtime.clone()))
        .graceful_shutdown_on(async move { cancel.cancelled().await });
    let recorder = Recorder::new(client.clone(), "datavolume-import-controller");
    let volumes = DataVolumes {
        client,
        runtime,
        recorder,
    };
    reconcile::run(volumes, controller).await;
}
