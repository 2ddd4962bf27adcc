//! What this node can do for guests: hardware virtualization, machine types, CPU models. Found out
//! by running guest code (as the user that QEMU runs as) and asking QEMU, not by looking at files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::kvm::{KvmReason, KvmReport, Measured};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use machine::{HostCpu, MachineType};
use reconcile::{ReconcileError, ResultExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::preflight::ChildProcesses;
use crate::question::{self, DiscoverError, QEMU, answer, converse};
use crate::{Config, NodeLabels};

/// How long QEMU may take to answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Where the findings are kept: they hold until the host boots again.
const CACHE: &str = "capabilities.json";

/// What the node can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// What the probe of KVM found.
    pub kvm: KvmReport,
    /// Machine types of QEMU.
    pub machine_types: Vec<Machine>,
    /// CPU models of QEMU.
    pub cpu_models: Vec<String>,
    /// The model that works for `host-model` with hardware virtualization.
    pub host_cpu: Option<Model>,
}

/// A machine type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    name: String,
    alias: Option<String>,
    max_cpus: u32,
}

/// A CPU model, with features switched on or off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    model: String,
    features: Vec<(String, bool)>,
}

impl Capabilities {
    pub(crate) fn machine_types(&self) -> Vec<MachineType> {
        let all = self.machine_types.iter().map(|m| MachineType {
            name: m.name.clone(),
            alias: m.alias.clone(),
            max_cpus: m.max_cpus,
        });
        all.collect()
    }

    pub(crate) fn host_cpu(&self) -> Option<HostCpu> {
        let cpu = self.host_cpu.clone()?;
        Some(HostCpu {
            model: cpu.model,
            features: cpu.features,
        })
    }
}

/// What the findings hold for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    boot_id: String,
    /// Of QEMU.
    version: String,
    /// Of the platform: another one may look otherwise.
    platform: String,
}

impl Key {
    async fn now() -> Result<Self, DiscoverError> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let version = qemu::version::of_program(Path::new(QEMU))
            .await
            .map_err(|e| answer("its version", e))?;
        Ok(Self {
            boot_id: boot_id.unwrap_or_default(),
            version: version.to_string(),
            platform: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Cached {
    key: Key,
    capabilities: Capabilities,
}

/// Finds out, or reads what was found since the host has booted. `probe` tries KVM.
///
/// # Errors
/// When QEMU cannot be asked.
pub async fn discover(
    data_dir: &Path,
    probe: &ChildProcesses,
) -> Result<Capabilities, DiscoverError> {
    let key = Key::now().await?;
    let known = std::fs::read(data_dir.join(CACHE))
        .ok()
        .and_then(|text| serde_json::from_slice::<Cached>(&text).ok())
        .filter(|c| c.key == key && !key.boot_id.is_empty());
    if let Some(known) = known {
        return Ok(known.capabilities);
    }
    let kvm = match probe.kvm().await {
        Ok(facts) => facts.report(),
        Err(why) => KvmReport {
            usable: false,
            reason: KvmReason::Broken,
            message: why,
            measured: Measured::default(),
            took_ms: 0,
        },
    };
    find(data_dir, key, kvm).await
}

/// What is found with another verdict on KVM; kept like the first.
async fn find(data_dir: &Path, key: Key, kvm: KvmReport) -> Result<Capabilities, DiscoverError> {
    info!(usable = kvm.usable, "{}", kvm.message);
    let (machine_types, cpu_models) = ask().await?;
    let host_cpu = if kvm.usable {
        working_host_cpu().await
    } else {
        None
    };
    let capabilities = Capabilities {
        kvm,
        machine_types,
        cpu_models,
        host_cpu,
    };
    let cached = Cached {
        key,
        capabilities: capabilities.clone(),
    };
    if let Err(error) = serde_json::to_vec(&cached)
        .map_err(std::io::Error::other)
        .and_then(|text| std::fs::write(data_dir.join(CACHE), text))
    {
        warn!(%error, "keeping the findings about this node");
    }
    Ok(capabilities)
}

/// Keeps the findings and the Node's labels in step with what preflight checks find of KVM: a host that was mended
/// takes guests with hardware without a restart (G-40).
pub async fn keep_current(
    client: Client,
    config: Config,
    data_dir: PathBuf,
    mut fresh: watch::Receiver<Option<KvmReport>>,
    found: watch::Sender<Capabilities>,
) {
    while fresh.changed().await.is_ok() {
        let Some(kvm) = fresh.borrow_and_update().clone() else {
            continue;
        };
        let known = |found: &Capabilities| (found.kvm.usable, found.kvm.reason);
        if known(&found.borrow()) == (kvm.usable, kvm.reason) {
            continue;
        }
        let renewed = async {
            let now = find(&data_dir, Key::now().await?, kvm).await?;
            Ok::<_, DiscoverError>(now)
        };
        match renewed.await {
            Ok(now) => {
                let told = publish(&client, &config.node, config.labels, &now).await;
                found.send_replace(now);
                if let Err(error) = told {
                    warn!("{}", error.chain());
                }
            }
            Err(error) => warn!("{}", question::chain(&error)),
        }
    }
}

async fn ask() -> Result<(Vec<Machine>, Vec<String>), DiscoverError> {
    let answers = converse(
        &["-machine", "none"],
        &["query-machines", "query-cpu-definitions"],
        |_| (),
    );
    let answers = tokio::time::timeout(ANSWER, answers)
        .await
        .map_err(|e| answer("machine types", e))??
        .0;
    let [machines, cpus] = answers.as_slice() else {
        return Err(answer("machine types", "it gave no answer"));
    };
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(str::to_owned);
    let machine_types = list(machines)
        .iter()
        .filter_map(|m| {
            let max = m.get("cpu-max").and_then(Value::as_u64).unwrap_or(1);
            Some(Machine {
                name: text(m, "name")?,
                alias: text(m, "alias"),
                max_cpus: u32::try_from(max).unwrap_or(u32::MAX),
            })
        })
        .collect();
    let cpu_models = list(cpus).iter().filter_map(|c| text(c, "name")).collect();
    Ok((machine_types, cpu_models))
}

/// The first model for `host-model` with which QEMU starts: some hosts make `-cpu host` abort on
/// an unknown MSR, which `arch-capabilities=off` avoids.
async fn working_host_cpu() -> Option<Model> {
    let candidates = [
        ("host", vec![]),
        ("host", vec![("arch-capabilities".to_owned(), false)]),
        ("qemu64", vec![]),
    ];
    for (model, features) in candidates {
        let mut cpu = model.to_owned();
        for (feature, on) in &features {
            cpu.push_str(&format!(",{feature}={}", if *on { "on" } else { "off" }));
        }
        let args = ["-machine", "q35,accel=kvm", "-S", "-m", "64", "-cpu", &cpu];
        let works = tokio::time::timeout(ANSWER, converse(&args, &["query-status"], |_| ())).await;
        if matches!(works, Ok(Ok(_))) {
            return Some(Model {
                model: model.to_owned(),
                features,
            });
        }
    }
    None
}

/// Writes the findings onto the Node: from then on VMs may be scheduled here.
///
/// # Errors
/// When the API refuses.
pub async fn publish(
    client: &Client,
    node: &str,
    labels: NodeLabels,
    found: &Capabilities,
) -> Result<(), ReconcileError> {
    let api: Api<Node> = Api::all(client.clone());
    let patch = serde_json::json!({"metadata": {
        "labels": {
            labels.schedulable: "true",
            labels.kvm: found.kvm.usable.to_string(),
        },
        "annotations": { labels.finding: found.kvm.message },
    }});
    api.patch(node, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(|_| ())
        .doing(|| format!("labelling node {node}"))
}

/// Says that no VMs are to be scheduled here any more. What the node can do stays as it was found.
///
/// # Errors
/// When the API refuses.
pub async fn retire(client: &Client, node: &str, labels: NodeLabels) -> Result<(), ReconcileError> {
    let api: Api<Node> = Api::all(client.clone());
    let patch = serde_json::json!({"metadata": {"labels": {labels.schedulable: "false"}}});
    match api
        .patch(node, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
        other => other.map(drop).doing(|| format!("labelling node {node}")),
    }
}
