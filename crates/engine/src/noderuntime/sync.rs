//! Brings one Pod to where it should be: observes, lets [`super::plan`] decide, acts.

use std::sync::Arc;
use std::time::Duration;

use host::cgroup::Cgroups;
use host::process::{Exit, Process};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use reconcile::{EventKind, Next, ReconcileError, Reconciler, Recorder, ResultExt, write_status};

use super::exits::Exits;
use super::plan::{self, Facts, Step, Waiting};
use super::record::{Ended, Main, Record};
use super::volumes::{self, Resolved};
use super::{Config, PodDir, is_mirror, sandbox, status};

pub(super) struct Pods {
    client: Client,
    config: Arc<Config>,
    exits: Exits,
    recorder: Recorder,
    host_ip: String,
}

pub(super) struct Observed {
    pod: Arc<Pod>,
    dir: PodDir,
    cgroups: Cgroups,
    image: String,
    verbs: &'static [&'static str],
    record: Option<Record>,
    main_lives: bool,
    group_lives: bool,
    resolved: Option<Result<Resolved, Waiting>>,
}

fn failed(pod: &Pod, what: &str) -> impl FnOnce(&dyn std::error::Error) -> ReconcileError {
    let doing = format!(
        "{what} Pod {}/{}",
        pod.namespace().unwrap_or_default(),
        pod.name_any()
    );
    move |error| {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            why = format!("{why}: {cause}");
            source = cause.source();
        }
        ReconcileError::other(doing, why)
    }
}

impl Pods {
    pub(super) fn new(
        client: Client,
        config: Arc<Config>,
        exits: Exits,
        recorder: Recorder,
    ) -> Self {
        Self {
            client,
            config,
            exits,
            recorder,
            host_ip: "127.0.0.1".to_owned(),
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }

    /// Makes sure that the end of a recorded process is noticed, also of one that was started
    /// before our own start.
    fn keep_watching(&self, observed: &Observed) -> Result<(), ReconcileError> {
        let Some(Main::Running { process, .. }) = observed.record.as_ref().map(|r| &r.main) else {
            return Ok(());
        };
        if self.exits.is_watched(process) || !observed.main_lives {
            return Ok(());
        }
        let opened = Process::open(*process)
            .map_err(|e| failed(&observed.pod, "watching the process of")(&e))?;
        if let Some(opened) = opened {
            self.exits
                .watch(ObjectRef::from_obj(observed.pod.as_ref()), opened);
        }
        Ok(())
    }

    fn start(&self, observed: &Observed, adoptions: u32) -> Result<Main, ReconcileError> {
        let env = match &observed.resolved {
            Some(Ok(resolved)) => resolved.env.as_slice(),
            _ => &[],
        };
        let process = sandbox::start(
            &self.config,
            &observed.cgroups,
            &observed.dir,
            &observed.pod,
            env,
        )
        .map_err(|e| failed(&observed.pod, "starting the process of")(&e))?;
        let identity = process.identity();
        self.exits
            .watch(ObjectRef::from_obj(observed.pod.as_ref()), process);
        Ok(Main::Running {
            process: identity,
            started_at: Timestamp::now(),
            adoptions,
        })
    }

    fn note_end(&self, observed: &Observed, record: &mut Record) {
        let Main::Running {
            process,
            started_at,
            ..
        } = &record.main
        else {
            return;
        };
        let seen = self.exits.take(process).filter(|e| *e != Exit::Unknown);
        let exit = seen
            .or_else(|| sandbox::exit_code(&observed.dir).map(Exit::Code))
            .unwrap_or(Exit::Unknown);
        let ended = Ended {
            exit,
            started_at: *started_at,
            finished_at: Timestamp::now(),
            message: sandbox::termination_message(&observed.dir),
        };
        let again = observed.pod.metadata.deletion_timestamp.is_none()
            && plan::restarts(&observed.pod, ended.code());
        if again {
            let wait = plan::restart_wait(record.restarts);
            record.restarts = record.restarts.saturating_add(1);
            record.main = Main::Waiting {
                not_before: ended.finished_at.checked_add(wait).ok(),
            };
            record.last = Some(ended);
        } else {
            record.main = Main::Ended(ended);
        }
    }

    fn signal(&self, observed: &Observed, record: &mut Record) -> Result<(), ReconcileError> {
        let Main::Running { process, .. } = &record.main else {
            return Ok(());
        };
        let ended = |e: std::io::Error| failed(&observed.pod, "ending the process of")(&e);
        if let Some(process) = Process::open(*process).map_err(ended)? {
            process
                .signal(rustix::process::Signal::TERM)
                .map_err(|e| failed(&observed.pod, "ending the process of")(&e))?;
        }
        record.terminated_at = Some(Timestamp::now());
        Ok(())
    }

    async fn say(
        &self,
        pod: &Pod,
        new: k8s_openapi::api::core::v1::PodStatus,
    ) -> Result<(), ReconcileError> {
        let mut changed = pod.clone();
        changed.status = Some(new);
        write_status(
            &self.api(pod),
            &changed,
            pod.status.as_ref(),
            changed.status.as_ref(),
        )
        .await
    }

    /// The last word about a Pod: its directory goes, then its object.
    async fn forget(&self, observed: &Observed) -> Result<(), ReconcileError> {
        sandbox::remove(&observed.dir)
            .map_err(|e| failed(&observed.pod, "removing the directory of")(&e))?;
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: observed.pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = observed.pod.name_any();
        match self.api(&observed.pod).delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
            Err(e) => Err(e).doing(|| format!("deleting Pod {name}")),
        }
    }
}

impl Reconciler for Pods {
    type Object = Pod;
    type Observed = Observed;
    type Plan = plan::Plan;
    const NAME: &'static str = "node-runtime";

    async fn observe(&self, pod: Arc<Pod>) -> Result<Observed, ReconcileError> {
        let uid = pod.uid().unwrap_or_default();
        let dir = self.config.pod_dir(&uid);
        let record = Record::read(&dir).map_err(|e| failed(&pod, "reading the record of")(&e))?;
        let cgroups =
            Cgroups::detect().map_err(|e| failed(&pod, "finding the control group of")(&e))?;
        let group = sandbox::group(&cgroups, &uid)
            .map_err(|e| failed(&pod, "finding the control group of")(&e))?;
        let main_lives = match record.as_ref().map(|r| &r.main) {
            Some(Main::Running { process, .. }) => process.is_alive(),
            _ => false,
        };
        let about_to_start = match record.as_ref().map(|r| &r.main) {
            None | Some(Main::Waiting { .. }) => pod.metadata.deletion_timestamp.is_none(),
            Some(Main::Running { .. }) => !main_lives,
            Some(Main::Ended(_)) => false,
        };
        let resolved = if about_to_start {
            Some(volumes::resolve(&self.client, &self.config.data_dir, &pod).await?)
        } else {
            None
        };
        Ok(Observed {
            group_lives: !group.processes().is_empty(),
            image: self.config.image.clone(),
            verbs: self.config.verbs,
            pod,
            dir,
            cgroups,
            record,
            main_lives,
            resolved,
        })
    }

    fn plan(observed: &Observed, now: Timestamp) -> plan::Plan {
        if is_mirror(&observed.pod) {
            return plan::Plan::now([]);
        }
        plan::decide(
            &Facts {
                pod: &observed.pod,
                image: &observed.image,
                verbs: observed.verbs,
                record: observed.record.as_ref(),
                main_lives: observed.main_lives,
                group_lives: observed.group_lives,
                missing: observed.resolved.as_ref().and_then(|r| r.as_ref().err()),
            },
            now,
        )
    }

    async fn apply(&self, observed: Observed, plan: plan::Plan) -> Result<Next, ReconcileError> {
        if is_mirror(&observed.pod) {
            return Ok(Next::Change);
        }
        self.keep_watching(&observed)?;
        let pod = observed.pod.as_ref();
        let uid = pod.uid().unwrap_or_default();
        let mut record = observed.record.clone();
        if let Some(record) = &mut record
            && record.belongs_to(&self.config.store)
        {
            record
                .write(&observed.dir)
                .map_err(|e| failed(pod, "recording")(&e))?;
        }
        let mut waiting = None;
        for step in plan.steps {
            match step {
                Step::Refuse(why) => {
                    self.recorder
                        .publish(pod, EventKind::Warning, why.reason, &why.message)
                        .await;
                    let new = status::refused(pod, &why, &self.host_ip, Timestamp::now());
                    self.say(pod, new).await?;
                    return Ok(Next::Change);
                }
                Step::Wait(why) => {
                    self.recorder
                        .publish(pod, EventKind::Warning, why.reason, &why.message)
                        .await;
                    waiting = Some(why);
                }
                Step::Prepare => {
                    if let Some(Ok(resolved)) = &observed.resolved {
                        sandbox::prepare(
                            &self.config,
                            &observed.cgroups,
                            &observed.dir,
                            pod,
                            resolved,
                        )
                        .map_err(|e| failed(pod, "preparing")(&e))?;
                    }
                    let namespace = pod.namespace().unwrap_or_default();
                    record = Some(Record::new(
                        &namespace,
                        &pod.name_any(),
                        &uid,
                        Timestamp::now(),
                    ));
                }
                Step::KillStray | Step::Kill => {
                    let group = sandbox::group(&observed.cgroups, &uid)
                        .map_err(|e| failed(pod, "ending")(&e))?;
                    group
                        .dissolve()
                        .await
                        .map_err(|e| failed(pod, "ending")(&e))?;
                }
                Step::Start => {
                    let main = self.start(&observed, 0)?;
                    if let Some(record) = &mut record {
                        record.main = main;
                    }
                }
                Step::Adopt => {
                    let so_far = match record.as_ref().map(|r| &r.main) {
                        Some(Main::Running { adoptions, .. }) => *adoptions,
                        _ => 0,
                    };
                    let main = self.start(&observed, so_far.saturating_add(1))?;
                    self.recorder
                        .publish(
                            pod,
                            EventKind::Warning,
                            "Adopted",
                            "the main process was lost and started again; what it ran went on",
                        )
                        .await;
                    if let Some(record) = &mut record {
                        record.main = main;
                        record.terminated_at = None;
                    }
                }
                Step::NoteEnd => {
                    if let Some(record) = &mut record {
                        self.note_end(&observed, record);
                    }
                }
                Step::Terminate => {
                    if let Some(record) = &mut record {
                        self.signal(&observed, record)?;
                    }
                }
                Step::TearDown => {
                    sandbox::tear_down(&observed.cgroups, &observed.dir, &uid)
                        .await
                        .map_err(|e| failed(pod, "tearing down")(&e))?;
                    if let Some(record) = &mut record {
                        record.torn_down = true;
                    }
                }
                Step::Forget => {
                    if record.is_some() {
                        let new = status::status(
                            pod,
                            record.as_ref(),
                            None,
                            &self.host_ip,
                            Timestamp::now(),
                        );
                        self.say(pod, new).await?;
                    }
                    self.forget(&observed).await?;
                    return Ok(Next::Change);
                }
            }
            if let Some(record) = &mut record {
                record.belongs_to(&self.config.store);
                record
                    .write(&observed.dir)
                    .map_err(|e| failed(pod, "recording")(&e))?;
            }
        }
        let again = plan
            .again
            .map(|d| Duration::try_from(d).unwrap_or_default());
        let said = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        let over = record.is_none() && matches!(said, Some("Succeeded" | "Failed"));
        if !over {
            let new = status::status(
                pod,
                record.as_ref(),
                waiting.as_ref(),
                &self.host_ip,
                Timestamp::now(),
            );
            self.say(pod, new).await?;
        }
        Ok(again.map_or(Next::Change, Next::After))
    }
}
