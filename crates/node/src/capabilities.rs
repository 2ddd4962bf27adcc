//! What this node can do for guests: hardware virtualization, machine types, CPU models. Found out
//! by running guest code and asking QEMU, not by looking at files.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use host::kvm::KvmReport;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use machine::{HostCpu, MachineType};
use reconcile::{ReconcileError, ResultExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tracing::{info, warn};

use crate::NodeLabels;

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";
/// How long guest code may run in the probe of KVM.
const PROBE: Duration = Duration::from_secs(1);
/// How long QEMU may take to answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest answer: the list of CPU models is some 100 KiB.
const ANSWER_BYTES: u64 = 8 << 20;
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

/// Why QEMU could not be asked.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// It is not there, or does not start.
    #[error("starting {QEMU}: is the package qemu-system-x86 installed?")]
    Start(#[source] std::io::Error),
    /// It ended or said what cannot be understood.
    #[error("asking {QEMU} for {what}: {why}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// Why there is no answer.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Cached {
    boot_id: String,
    version: String,
    capabilities: Capabilities,
}

/// Finds out, or reads what was found since the host has booted.
///
/// # Errors
/// When QEMU cannot be asked.
pub async fn discover(data_dir: &Path) -> Result<Capabilities, DiscoverError> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let version = qemu::version::of_program(Path::new(QEMU))
        .await
        .map_err(|e| answer("its version", e))?
        .to_string();
    let cache = data_dir.join(CACHE);
    let known = std::fs::read(&cache)
        .ok()
        .and_then(|text| serde_json::from_slice::<Cached>(&text).ok())
        .filter(|c| c.boot_id == boot_id && c.version == version && !boot_id.is_empty());
    if let Some(known) = known {
        return Ok(known.capabilities);
    }
    let kvm = tokio::task::spawn_blocking(|| host::kvm::probe(PROBE))
        .await
        .map_err(|e| answer("KVM", e))?;
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
        boot_id,
        version,
        capabilities: capabilities.clone(),
    };
    if let Err(error) = serde_json::to_vec(&cached)
        .map_err(std::io::Error::other)
        .and_then(|text| std::fs::write(&cache, text))
    {
        warn!(%error, "keeping the findings about this node");
    }
    Ok(capabilities)
}

fn answer(what: &'static str, why: impl std::fmt::Display) -> DiscoverError {
    DiscoverError::Answer {
        what,
        why: why.to_string(),
    }
}

async fn ask() -> Result<(Vec<Machine>, Vec<String>), DiscoverError> {
    let answers = converse(
        &["-machine", "none"],
        &["query-machines", "query-cpu-definitions"],
    );
    let answers = tokio::time::timeout(ANSWER, answers)
        .await
        .map_err(|e| answer("machine types", e))??;
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
        let works = tokio::time::timeout(ANSWER, converse(&args, &["query-status"])).await;
        if matches!(works, Ok(Ok(_))) {
            return Some(Model {
                model: model.to_owned(),
                features,
            });
        }
    }
    None
}

/// Starts QEMU without a guest, asks, and ends it.
async fn converse(args: &[&str], questions: &[&str]) -> Result<Vec<Value>, DiscoverError> {
    let mut command = Command::new(QEMU);
    // It does not end when its standard input does: a platform that is killed here would leave it.
    host::spawn::die_with_parent(&mut command);
    let mut child = command
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-qmp", "stdio"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(DiscoverError::Start)?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(answer("anything", "it has no standard streams"));
    };
    let mut lines = BufReader::new(stdout.take(ANSWER_BYTES)).lines();
    let mut answers = Vec::new();
    for question in std::iter::once(&"qmp_capabilities").chain(questions) {
        let line = format!("{{\"execute\":\"{question}\"}}\n");
        stdin
            .write_all(line.as_bytes())
            .await
            .map_err(|e| answer("capabilities", e))?;
        loop {
            let line = lines
                .next_line()
                .await
                .map_err(|e| answer("capabilities", e))?;
            let line = line.ok_or_else(|| answer("capabilities", "it ended"))?;
            let value: Value =
                serde_json::from_str(&line).map_err(|e| answer("capabilities", e))?;
            if let Some(result) = value.get("return") {
                answers.push(result.clone());
                break;
            }
            if let Some(error) = value.get("error") {
                return Err(answer("capabilities", error));
            }
        }
    }
    // Dropping it kills it; it has nothing to lose.
    drop(stdin);
    let _ = child.kill().await;
    Ok(answers.split_off(1))
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
