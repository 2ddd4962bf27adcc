//! From the request for a VM to its running virtual CPUs, and what a VM costs beside its QEMU.
//!
//! Moments that others see are taken from a watch; those of the launcher are its own (`state.json`).
//! VMs have an empty disk and no image: nothing is imported, the firmware is what runs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{TryStreamExt, future::try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use launcher_api::LauncherState;
use serde_json::{Value, json};
use testkit::{Options, Platform, eventually_within};
use tokio::task::AbortHandle;

use crate::bare::{Copied, Times};
use crate::proc::{cpu_time, memory, started_at};
use crate::report::{Budget, Report, Row};
use crate::stages::{Moments, STAGES, Start, split};
use crate::stats::{Summary, summary};

/// VMs of each round.
const VMS: usize = 20;
/// Bare QEMUs, one after another.
const BARE: usize = 10;
/// For how long a round may take.
const BOUND: Duration = Duration::from_secs(120);
const BARE_QEMU: &str = "bare QEMU, same command line";

/// When the watches saw what, by the name of the VM.
#[derive(Debug, Default, Clone)]
struct Seen {
    pod: Option<(String, Timestamp)>,
    running: Option<Timestamp>,
}

type Sightings = Arc<Mutex<BTreeMap<String, Seen>>>;

struct Watches {
    seen: Sightings,
    tasks: [AbortHandle; 2],
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("kubevirt.io", "v1", kind))
}

impl Watches {
    fn start(client: &Client) -> Self {
        let seen = Sightings::default();
        let note = |seen: &Sightings, vm: String, change: &dyn Fn(&mut Seen)| {
            let mut all = seen.lock().unwrap_or_else(PoisonError::into_inner);
            change(all.entry(vm).or_default());
        };
        let (pods, vmis) = (seen.clone(), seen.clone());
        let api: Api<Pod> = Api::default_namespaced(client.clone());
        let on_pods = watcher(api, watcher::Config::default()).applied_objects();
        let on_pods = on_pods.try_for_each(move |pod| {
            let now = Timestamp::now();
            // The controller's name: virt-launcher-<vm>-<random>
            let vm = pod.metadata.owner_references.iter().flatten().next();
            if let (Some(vm), Some(uid)) = (vm, pod.uid()) {
                note(&pods, vm.name.clone(), &|seen| {
                    seen.pod.get_or_insert((uid.clone(), now));
                });
            }
            std::future::ready(Ok(()))
        });
        let api: Api<DynamicObject> =
            Api::default_namespaced_with(client.clone(), &resource("VirtualMachineInstance"));
        let on_vmis = watcher(api, watcher::Config::default()).applied_objects();
        let on_vmis = on_vmis.try_for_each(move |vmi| {
            let now = Timestamp::now();
            if vmi.data["status"]["phase"] == "Running" {
                note(&vmis, vmi.name_any(), &|seen| {
                    seen.running.get_or_insert(now);
                });
            }
            std::future::ready(Ok(()))
        });
        let spawn = |task: futures_util::future::BoxFuture<'static, Result<(), watcher::Error>>| {
            tokio::spawn(async move {
                if let Err(error) = task.await {
                    eprintln!("bench: watching: {error}");
                }
            })
            .abort_handle()
        };
        Self {
            seen,
            tasks: [spawn(Box::pin(on_pods)), spawn(Box::pin(on_vmis))],
        }
    }

    /// Waits until a VM was seen running.
    async fn running(&self, vm: &str) -> Result<(String, Timestamp, Timestamp)> {
        eventually_within(BOUND, &format!("{vm} to run"), async || {
            let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = all.get(vm).cloned().unwrap_or_default();
            match (seen.pod, seen.running) {
                (Some((uid, pod)), Some(running)) => Ok((uid, pod, running)),
                (pod, running) => bail!("its Pod {pod:?}, running {running:?}"),
            }
        })
        .await
    }
}

fn manifest(name: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {
            "runStrategy": "Always",
            "template": {"spec": {
                "terminationGracePeriodSeconds": 0,
                "domain": {
                    "cpu": {"cores": 1},
                    "memory": {"guest": "64Mi"},
                    "devices": {
                        "autoattachGraphicsDevice": false,
                        "disks": [{"name": "empty", "disk": {"bus": "virtio"}}],
                    },
                },
                "volumes": [{"name": "empty", "emptyDisk": {"capacity": "16Mi"}}],
            }},
        },
    })
}

/// Dropped in this order: watches end before what they watch.
struct Bench {
    watches: Watches,
    vms: Api<DynamicObject>,
    pods: Api<Pod>,
    platform: Platform,
}

impl Bench {
    async fn create(&self, name: &str) -> Result<Timestamp> {
        let vm: DynamicObject =
            serde_json::from_value(manifest(name)).context("describing a VM")?;
        let now = Timestamp::now();
        self.vms
            .create(&PostParams::default(), &vm)
            .await
            .with_context(|| format!("creating {name}"))?;
        Ok(now)
    }

    /// Waits for a VM that was asked for, and takes its start apart.
    async fn started(&self, name: &str, requested: Timestamp) -> Result<Start> {
        let (uid, pod_seen, running_seen) = self.watches.running(name).await?;
        let path = self.platform.data_dir().join("pods").join(uid);
        let path = path.join("work/state.json");
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let state: LauncherState = serde_json::from_slice(&text)
            .with_context(|| format!("understanding {}", path.display()))?;
        split(&Moments {
            requested,
            pod_seen,
            process: started_at(state.launcher.start_time),
            launcher: state.times,
            running_seen,
        })
        .with_context(|| format!("{} lacks a moment", path.display()))
    }

    /// Deletes VMs; returns when nothing of them is left.
    async fn delete(&self, names: &[String]) -> Result<()> {
        for name in names {
            self.vms
                .delete(name, &DeleteParams::default())
                .await
                .with_context(|| format!("deleting {name}"))?;
        }
        eventually_within(BOUND, "the VMs to go", async || {
            let left = self.platform.processes().len();
            ensure!(left == 0, "{left} processes are left");
            let pods = self.pods.list(&Default::default()).await?.items.len();
            ensure!(pods == 0, "{pods} Pods are left");
            let vms = self.vms.list(&Default::default()).await?.items.len();
            ensure!(vms == 0, "{vms} VMs are left");
            Ok(())
        })
        .await
    }

    /// Memory of everything beside QEMU that VMs have, in MiB: PSS, and what is its own of that.
    fn beside(&self) -> Result<Vec<(f64, f64)>> {
        let mut all = self.platform.processes();
        all.retain(|p| !p.is_qemu());
        all.iter()
            .map(|p| memory(p.pid).map(|m| (m.pss, m.pss_anon)))
            .collect()
    }

    fn cpu(&self) -> Result<f64> {
        let pid = self.platform.pid().context("ferrovirt up has ended")?;
        Ok(cpu_time(pid)?.as_secs_f64() * 1e3)
    }

    /// The command line that the platform gives QEMU, and a copy of the Pod's files.
    async fn copied(&self, to: &Path) -> Result<Copied> {
        let name = "warm".to_owned();
        let requested = self.create(&name).await?;
        self.started(&name, requested).await?;
        let qemu = self.platform.qemus().into_iter().next();
        let qemu = qemu.context("no QEMU runs")?;
        let copied = Copied::from_running(qemu.pid, &qemu.args, to);
        self.delete(&[name]).await?;
        copied
    }
}

fn median(values: &[(f64, f64)], of: impl Fn(&(f64, f64)) -> f64) -> Result<f64> {
    let values: Vec<f64> = values.iter().map(of).collect();
    Ok(summary(&values).context("nothing to summarize")?.p50)
}

/// Bare QEMUs: one after another, then all at once.
fn references(copied: &Copied, dir: &Path) -> Result<(Vec<Times>, Vec<Times>)> {
    let alone: Result<Vec<Times>> = (0..BARE).map(|_| copied.start(|| ())).collect();
    let crowd: Result<Vec<Copied>> = (0..VMS)
        .map(|n| copied.again(&dir.join(format!("bare-{n}"))))
        .collect();
    let crowd = crowd?;
    // Each runs until all run, as VMs do; one that fails keeps none waiting.
    let all = Barrier::new(VMS);
    let one = |copy: &Copied| {
        let waited = Cell::new(false);
        let wait = || {
            all.wait();
            waited.set(true);
        };
        let times = copy.start(wait);
        if !waited.get() {
            wait();
        }
        times
    };
    let together: Result<Vec<Times>> = std::thread::scope(|scope| {
        let threads: Vec<_> = crowd.iter().map(|copy| scope.spawn(|| one(copy))).collect();
        threads
            .into_iter()
            .map(|t| {
                t.join()
                    .map_err(|_| anyhow::anyhow!("a reference panicked"))?
            })
            .collect()
    });
    Ok((alone?, together?))
}

fn of(times: &[Times], which: impl Fn(&Times) -> Duration) -> Result<Summary> {
    let millis: Vec<f64> = times.iter().map(|t| which(t).as_secs_f64() * 1e3).collect();
    summary(&millis).context("no reference was measured")
}

/// A round's rows: the total against its reference, then the stages.
fn rows(round: &str, starts: &[Start], bare: Summary, budget: Option<Budget>) -> Result<Vec<Row>> {
    let totals: Vec<f64> = starts.iter().map(|s| s.total).collect();
    let total = summary(&totals).context("no VM was started")?;
    let mut p50 = Row::new(
        format!("VM create to vCPUs running, {round}, P50"),
        total.p50,
        "ms",
    )
    .against(BARE_QEMU, bare.p50)
    .of(total);
    p50.budget = budget;
    let mut rows = vec![
        p50,
        Row::new(
            format!("VM create to vCPUs running, {round}, P95"),
            total.p95,
            "ms",
        )
        .against(BARE_QEMU, bare.p95)
        .of(total),
    ];
    for (n, stage) in STAGES.iter().enumerate() {
        let all: Vec<f64> = starts.iter().map(|s| s.stages[n]).collect();
        let all = summary(&all).context("no VM was started")?;
        rows.push(Row::new(format!("- {stage}, {round}, P50"), all.p50, "ms").of(all));
    }
    Ok(rows)
}

async fn node_takes_vms(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    eventually_within(BOUND, "the node to take VMs", async || {
        let all = nodes.list(&Default::default()).await?;
        let labels = all.items.first().context("no node")?.labels().clone();
        let label = labels.get("kubevirt.io/schedulable");
        ensure!(label.is_some_and(|l| l == "true"), "its labels {labels:?}");
        Ok(())
    })
    .await
}

pub(crate) async fn measure() -> Result<Report> {
    let platform = Platform::start(Options::default()).await?;
    let client = platform.client().clone();
    node_takes_vms(&client).await?;
    let bench = Bench {
        vms: Api::default_namespaced_with(client.clone(), &resource("VirtualMachine")),
        pods: Api::default_namespaced(client.clone()),
        watches: Watches::start(&client),
        platform,
    };
    let temp = tempfile::Builder::new()
        .prefix("fvbench-")
        .tempdir()
        .context("making a directory")?;
    let copied = bench.copied(&temp.path().join("pod")).await?;
    let dir = temp.path().to_owned();
    let (alone, together) = tokio::task::spawn_blocking(move || references(&copied, &dir))
        .await
        .context("a reference panicked")??;

    let names: Vec<String> = (0..VMS).map(|n| format!("one-{n}")).collect();
    let mut one_by_one = Vec::new();
    let mut beside_one = Vec::new();
    let cpu_before = bench.cpu()?;
    for name in &names {
        let requested = bench.create(name).await?;
        one_by_one.push(bench.started(name, requested).await?);
        if one_by_one.len() == 1 {
            beside_one = bench.beside()?;
        }
    }
    let cpu_per_vm = (bench.cpu()? - cpu_before) / VMS as f64;
    let beside_all = bench.beside()?;
    ensure!(
        beside_all.len() >= VMS,
        "of {VMS} VMs only {} have a launcher",
        beside_all.len()
    );
    bench.delete(&names).await?;

    let names: Vec<String> = (0..VMS).map(|n| format!("all-{n}")).collect();
    let at_once = try_join_all(names.iter().map(async |name| {
        let requested = bench.create(name).await?;
        bench.started(name, requested).await
    }))
    .await?;
    bench.delete(&names).await?;

    let mut table = vec![
        Row::new(
            "bare QEMU to QMP greeting, P50",
            of(&alone, |t| t.greeting)?.p50,
            "ms",
        )
        .of(of(&alone, |t| t.greeting)?),
    ];
    let budget = Budget::AtMost(150.0);
    table.extend(rows(
        "one by one",
        &one_by_one,
        of(&alone, |t| t.running)?,
        Some(budget),
    )?);
    table.extend(rows(
        "20 at once",
        &at_once,
        of(&together, |t| t.running)?,
        None,
    )?);
    table.push(Row::new(
        "control plane's CPU time of one start",
        cpu_per_vm,
        "ms",
    ));
    let vms = VMS as f64;
    for (count, values) in [(1.0, &beside_one), (vms, &beside_all)] {
        let what = format!("memory of a VM beside QEMU, {count} running, PSS");
        let pss = values.iter().map(|v| v.0).sum::<f64>() / count;
        table.push(Row::new(what, pss, "MiB").budget(Budget::AtMost(4.0)));
        let what = format!("- private to the launcher, {count} running, P50");
        table.push(Row::new(what, median(values, |v| v.1)?, "MiB"));
    }
    let starts = |all: &[Start]| -> Value {
        all.iter()
            .map(|s| json!({"total": s.total, "stages": s.stages}))
            .collect()
    };
    Ok(Report {
        section: "vms",
        rows: table,
        details: json!({
            "stages": STAGES,
            "oneByOne": starts(&one_by_one),
            "atOnce": starts(&at_once),
            "bareAlone": of(&alone, |t| t.running)?,
            "bareTogether": of(&together, |t| t.running)?,
        }),
        plots: Vec::new(),
    })
}
