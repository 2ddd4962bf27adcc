//! The agent's reconciler: observes a VMI and its launcher, starts, reports.

use std::sync::Arc;
use std::time::Duration;

use api::kubevirt::VirtualMachineInstance as Vmi;
use api::vmruntime::EmulationPolicy;
use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use launcher_api::Start;
use machine::{Accelerator, HostFacts, MachineSpec};
use reconcile::{EventKind, Next, ReconcileError, Reconciler, Recorder, write_status};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::plan::{self, Action, Launcher};
use crate::question::chain;
use crate::wake::{self, Launchers};
use crate::{Capabilities, Config, PodPaths, prepare};

/// How soon a start that failed for want of something is tried again.
const RETRY: Duration = Duration::from_secs(5);

struct Agent<P> {
    client: Client,
    config: Config,
    found: watch::Receiver<Capabilities>,
    policy: P,
    launchers: Launchers,
    recorder: Recorder,
}

struct Observed {
    vmi: Arc<Vmi>,
    /// Directories of the Pod, when the VMI is ours.
    paths: Option<PodPaths>,
    launcher: Launcher,
}

/// Runs until cancelled. `found` is what the node can do at present; `policy` says whether guests are to be emulated, at each start.
pub async fn run<P>(
    client: Client,
    config: Config,
    found: watch::Receiver<Capabilities>,
    policy: P,
    cancel: CancellationToken,
) where
    P: Fn() -> EmulationPolicy + Send + Sync + 'static,
{
    let (launchers, news) = wake::channel();
    let controller = Controller::new(Api::<Vmi>::all(client.clone()), watcher::Config::default())
        .reconcile_on(news)
        .graceful_shutdown_on(async move { cancel.cancelled().await });
    let recorder = Recorder::new(client.clone(), "virt-handler");
    let agent = Agent {
        client,
        config,
        found,
        policy,
        launchers,
        recorder,
    };
    reconcile::run(agent, controller).await;
}

impl<P: Fn() -> EmulationPolicy + Send + Sync + 'static> Agent<P> {
    fn accelerator(&self, found: &Capabilities) -> Result<Accelerator, String> {
        match (self.policy)() {
            EmulationPolicy::Always => Ok(Accelerator::Tcg),
            _ if found.kvm.usable => Ok(Accelerator::Kvm),
            EmulationPolicy::Automatic => Ok(Accelerator::Tcg),
            EmulationPolicy::Never => Err(format!(
                "spec.useEmulation of VMRuntime vmruntime is false, and this node has no usable hardware virtualization: {}",
                found.kvm.message
            )),
        }
    }

    async fn resolve(&self, vmi: &Vmi, paths: &PodPaths) -> Result<MachineSpec, String> {
        let volumes = prepare::prepare(&self.client, vmi, paths, self.config.user)
            .await
            .map_err(|e| chain(&e))?;
        let found = self.found.borrow().clone();
        let host = HostFacts {
            accelerator: self.accelerator(&found)?,
            machine_types: found.machine_types(),
            cpu_models: found.cpu_models.clone(),
            host_cpu: found.host_cpu(),
            volumes,
        };
        machine::from_vmi(vmi, &host).map_err(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            all.join("; ")
        })
    }

    async fn start(&self, vmi: &Vmi, paths: &PodPaths) -> Result<MachineSpec, String> {
        let machine = self.resolve(vmi, paths).await?;
        let grace = u32::try_from(vmi.spec.grace_period_seconds()).unwrap_or(u32::MAX);
        let start = Start {
            machine: machine.clone(),
            grace_seconds: grace,
            paused: false,
        };
        let asked = async {
            let mut launcher = launcher_api::Client::connect(&paths.work()).await?;
            launcher.start(start).await
        };
        asked.await.map_err(|e| chain(&e))?;
        Ok(machine)
    }

    async fn say(
        &self,
        vmi: &Vmi,
        status: api::kubevirt::VirtualMachineInstanceStatus,
    ) -> Result<(), ReconcileError> {
        let api: Api<Vmi> =
            Api::namespaced(self.client.clone(), &vmi.namespace().unwrap_or_default());
        let mut new = vmi.clone();
        new.status = Some(status);
        write_status(&api, &new, vmi.status.as_ref(), new.status.as_ref()).await
    }
}

impl<P: Fn() -> EmulationPolicy + Send + Sync + 'static> Reconciler for Agent<P> {
    type Object = Vmi;
    type Observed = Observed;
    type Plan = Action;
    const NAME: &'static str = "virt-handler";

    async fn observe(&self, vmi: Arc<Vmi>) -> Result<Observed, ReconcileError> {
        let pod = vmi
            .status
            .as_ref()
            .and_then(|s| s.active_pods.keys().next());
        let paths = pod
            .filter(|_| plan::is_ours(&vmi, &self.config.node))
            .and_then(|uid| PodPaths::new(&self.config.pods_dir, uid));
        let mut launcher = Launcher::Silent;
        if let Some(paths) = &paths {
            self.launchers
                .follow(ObjectRef::from_obj(vmi.as_ref()), paths.work());
            if let Ok(mut connection) = launcher_api::Client::connect(&paths.work()).await
                && let Ok(state) = connection.state().await
            {
                launcher = Launcher::Says(Box::new(state));
            }
        }
        Ok(Observed {
            vmi,
            paths,
            launcher,
        })
    }

    fn plan(observed: &Observed, _now: Timestamp) -> Action {
        if observed.paths.is_none() {
            return Action::Nothing;
        }
        plan::decide(&observed.vmi, &observed.launcher)
    }

    async fn apply(&self, observed: Observed, action: Action) -> Result<Next, ReconcileError> {
        let vmi = observed.vmi.as_ref();
        let now = Timestamp::now();
        match (action, &observed.paths, &observed.launcher) {
            (Action::Start, Some(paths), _) => match self.start(vmi, paths).await {
                Ok(machine) => {
                    let mut status = vmi.status.clone().unwrap_or_default();
                    let finding = self.found.borrow().kvm.message.clone();
                    plan::describe(&mut status, &machine, now, &finding);
                    self.say(vmi, status).await?;
                    Ok(Next::Change)
                }
                Err(message) => {
                    self.say(vmi, plan::refuse(vmi, &message, now)).await?;
                    self.recorder
                        .publish(vmi, EventKind::Warning, "SyncFailed", &message)
                        .await;
                    Ok(Next::After(RETRY))
                }
            },
            (Action::Shutdown { grace_seconds }, Some(paths), _) => {
                let asked = async {
                    let mut launcher = launcher_api::Client::connect(&paths.work()).await?;
                    launcher.shutdown(grace_seconds).await
                };
                match asked.await {
                    Ok(state) => self.say(vmi, plan::report(vmi, &state, now)).await?,
                    // It has ended meanwhile, or its Pod's end will tell it.
                    Err(error) => debug!(vmi = vmi.name_any(), %error, "asking for a shutdown"),
                }
                Ok(Next::Change)
            }
            (Action::Report, _, Launcher::Says(state)) => {
                let status = plan::report(vmi, state, now);
                let started = vmi.status.as_ref().and_then(|s| s.phase) != status.phase;
                self.say(vmi, status).await?;
                if started {
                    self.recorder
                        .publish(
                            vmi,
                            EventKind::Normal,
                            "Started",
                            "VirtualMachineInstance started.",
                        )
                        .await;
                }
                Ok(Next::Change)
            }
            _ => Ok(Next::Change),
        }
    }
}
