//! Preflight checks (G-30 to G-40), as their documentation walks through them.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use api::preflight::{CheckResult, VMRuntimePreflightCheck as Check, newest};
use api::vmruntime::EmulationPolicy;
use host::kvm::{KvmReason, KvmReport, Measured};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use node::preflight::{ChildProcesses, Facts, KvmFacts, Probe};
use serde_json::{Value, json};
use testkit::{Options, Output, Platform, eventually, run};
use tokio_util::sync::CancellationToken;

use crate::objects::{self, Kind};

const PREFIX: &str = "vmruntime-preflight-check-";

/// The manifest of the documentation (G-35).
const MANUAL: &str = "apiVersion: vm.cluster.gke.io/v1
kind: VMRuntimePreflightCheck
metadata:
  name: vmruntime-preflight-check-manual
  namespace: vm-system
";

/// A VM without disks.
pub fn machine(name: &str, strategy: &str) -> String {
    format!(
        "apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: {name}
spec:
  runStrategy: {strategy}
  template:
    spec:
      domain:
        memory:
          guest: 64Mi
        devices: {{}}
"
    )
}

fn disabled() -> Options {
    Options {
        enable_runtime: false,
        ..Options::default()
    }
}

fn kubeconfig(p: &Platform) -> PathBuf {
    p.dir().join("kc")
}

/// The binary under the name `bmctl`, called as the documentation calls it.
async fn bmctl(p: &Platform, verb: &str, what: &str) -> Result<Output> {
    let link = p.dir().join("bmctl");
    if !link.exists() {
        symlink(testkit::ferrovirt()?, &link)?;
    }
    let output = p
        .kubectl()
        .command(link)
        .env_remove("KUBECONFIG")
        .args([verb, what, "--kubeconfig"])
        .arg(kubeconfig(p))
        .output()
        .await?;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

pub async fn checks(client: &Client) -> Result<Vec<Check>> {
    let api: Api<Check> = Api::namespaced(client.clone(), "vm-system");
    Ok(api.list(&ListParams::default()).await?.items)
}

/// Waits until the newest check has a verdict; returns it.
pub async fn verdict(p: &Platform) -> Result<Check> {
    eventually("the newest check to have a verdict", async || {
        let all = checks(p.client()).await?;
        let newest = newest(&all).context("there is no check")?;
        newest.pass().with_context(|| format!("{newest:?}"))?;
        Ok(newest.clone())
    })
    .await
}

/// Waits until a newer check than `before` has a verdict.
pub async fn next_verdict(p: &Platform, before: &Check) -> Result<Check> {
    eventually("another check", async || {
        let check = verdict(p).await?;
        ensure!(
            check.name_any() != before.name_any(),
            "it is still the newest"
        );
        Ok(check)
    })
    .await
}

async fn runtime(p: &Platform) -> Result<Value> {
    let text = p
        .kubectl()
        .run(&["get", "vmruntime", "vmruntime", "-o", "json"])
        .await?;
    Ok(serde_json::from_str(&text)?)
}

async fn set_runtime(p: &Platform, spec: Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    let args = ["patch", "vmruntime", "vmruntime", "--type", "merge", "-p"];
    p.kubectl().run(&[&args[..], &[&patch]].concat()).await?;
    Ok(())
}

async fn ready(p: &Platform) -> Result<()> {
    let args = [
        "wait",
        "--for=jsonpath={.status.ready}=true",
        "--timeout=110s",
        "vmruntime",
        "vmruntime",
    ];
    let said = p.kubectl().run(&args).await?;
    assert_eq!(
        said.trim(),
        "vmruntime.vm.cluster.gke.io/vmruntime condition met"
    );
    Ok(())
}

pub fn result<'a>(check: &'a Check, node: &str, name: &str) -> Result<&'a CheckResult> {
    let status = check.status.as_ref().context("no status")?;
    let results = &status.checks.get(node).context("no such node")?.results;
    results
        .iter()
        .find(|r| r.check_name == name)
        .with_context(|| format!("{node} has no result {name}: {results:?}"))
}

#[test]
fn the_documented_commands_on_one_node() {
    run(disabled(), async |p| {
        let kubectl = p.kubectl();
        let table = ["get", "vmruntimepfc", "-n", "vm-system"];
        let none = kubectl.output(&table, "").await?;
        ensure!(none.stderr.contains("No resources found"), "{none:?}");

        bmctl(p, "enable", "vmruntime").await?.ok()?;
        let twice = bmctl(p, "enable", "vmruntime").await?.refused()?;
        ensure!(twice.contains("already enabled"), "{twice}");
        ready(p).await?;

        let check = verdict(p).await?;
        let id = check.name_any();
        let id = id.strip_prefix(PREFIX).context("the name of the check")?;
        ensure!(
            id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]),
            "{id} is no UUID"
        );
        let shown = kubectl.run(&table).await?;
        let mut lines = shown.lines();
        let head: Vec<&str> = lines
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(head, ["NAME", "PASS", "AGE"]);
        let row: Vec<&str> = lines
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(row[..2], [check.name_any().as_str(), "true"], "{shown}");
        for name in [
            "CPU", "KVM", "QEMU", "Kernel", "Disk", "Memory", "Time", "Sandbox",
        ] {
            let result = result(&check, "node1", name)?;
            ensure!(result.passed, "{result:?}");
        }
        let summary = runtime(p).await?["status"]["preflightCheckSummary"].clone();
        assert_eq!(summary["preflightCheckName"], check.name_any());
        assert_eq!(summary["preflightCheckPassed"], true);
        assert_eq!(summary["featureStatuses"]["CPU"], json!({"passed": true}));
        let shown = kubectl.run(&["get", "vmruntime"]).await?;
        let row: Vec<&str> = shown
            .lines()
            .nth(1)
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(row[2..], ["true", "true", "true"], "{shown}");

        let said = bmctl(p, "check", "vmruntimepfc").await?.ok()?;
        let name = said
            .trim()
            .strip_prefix("vmruntimepreflightcheck.vm.cluster.gke.io/")
            .and_then(|s| s.strip_suffix(" created"))
            .with_context(|| format!("it does not tell the name: {said:?}"))?;
        let again = next_verdict(p, &check).await?;
        assert_eq!(
            (again.name_any().as_str(), again.pass()),
            (name, Some(true))
        );
        let said = p
            .ferrovirt(&["check", "vmruntime", "--wait"], "")
            .await?
            .ok()?;
        ensure!(said.contains("passed"), "{said}");
        Ok(())
    });
}

#[test]
fn a_manifest_runs_once() {
    run(Options::default(), async |p| {
        let kubectl = p.kubectl();
        let apply = ["apply", "-f", "-"];
        let said = kubectl.run_with(&apply, MANUAL).await?;
        ensure!(said.contains("check-manual created"), "{said}");
        let wait = [
            "wait",
            "-n",
            "vm-system",
            "vmruntimepfc/vmruntime-preflight-check-manual",
            "--for=jsonpath={.status.pass}=true",
            "--timeout=110s",
        ];
        kubectl.run(&wait).await?;
        let check = verdict(p).await?;
        let said = kubectl.run_with(&apply, MANUAL).await?;
        ensure!(said.contains("check-manual unchanged"), "{said}");
        let now = verdict(p).await?;
        assert_eq!(now.status, check.status);
        let hint = now.status.and_then(|s| s.message).unwrap_or_default();
        ensure!(hint.contains("bmctl check vmruntimepfc"), "{hint:?}");

        let elsewhere = MANUAL.replace("vm-system", "default");
        let said = kubectl.refused(&apply, &elsewhere).await?;
        ensure!(said.contains("'vm-system'"), "{said}");
        let odd = format!("{}spec:\n  nodes: [n1]\n", MANUAL.replace("manual", "odd"));
        let said = kubectl.refused(&apply, &odd).await?;
        ensure!(said.contains("spec.nodes"), "{said}");
        Ok(())
    });
}

#[test]
fn a_failed_check_blocks_vms_until_it_is_mended_and_leaves_running_ones_alone() {
    run(disabled(), async |p| {
        let kubectl = p.kubectl();
        let apply = ["apply", "-f", "-"];
        // While nothing is enabled nothing is refused.
        kubectl
            .run_with(&apply, &machine("halted", "Halted"))
            .await?;
        set_runtime(p, json!({"enabled": true, "useEmulation": true})).await?;
        ready(p).await?;
        let passed = verdict(p).await?;
        let note = result(&passed, "node1", "KVM")?.message.clone();
        ensure!(
            note.unwrap_or_default().contains("not needed"),
            "{passed:?}"
        );
        kubectl
            .run_with(&apply, &machine("running", "Manual"))
            .await?;
        p.ferrovirt(&["start", "running"], "").await?.ok()?;
        objects::printable(p, "running", "Running").await?;
        let qemus = p.qemus();

        set_runtime(p, json!({"useEmulation": false})).await?;
        let failed = next_verdict(p, &passed).await?;
        if failed.pass() == Some(true) {
            println!("the KVM of this host is usable: nothing fails here");
            return Ok(());
        }
        let why = result(&failed, "node1", "KVM")?.message.clone();
        let why = why.unwrap_or_default();
        ensure!(why.contains("/dev/kvm"), "{why}");
        refused_everywhere(p, &failed, &apply).await?;
        let failed = verdict(p).await?;
        assert_eq!(p.qemus(), qemus, "a running VM is left alone");
        objects::printable(p, "running", "Running").await?;

        set_runtime(p, json!({"useEmulation": true})).await?;
        let mended = next_verdict(p, &failed).await?;
        ensure!(mended.pass() == Some(true), "{mended:?}");
        ready(p).await?;
        kubectl.run_with(&apply, &machine("vm1", "Always")).await?;
        objects::printable(p, "vm1", "Running").await?;
        p.ferrovirt(&["start", "halted"], "").await?.ok()?;
        objects::printable(p, "halted", "Running").await?;
        Ok(())
    });
}

/// Creation and start, each way, with the name of the check, the node and what failed.
async fn refused_everywhere(p: &Platform, check: &Check, apply: &[&str]) -> Result<()> {
    let kubectl = p.kubectl();
    eventually("the runtime to say so", async || {
        let status = runtime(p).await?;
        let (_, reason, _) = objects::condition(&status, "Ready").context("not Ready")?;
        ensure!(reason == "PreflightCheckFailed", "{reason}");
        assert_eq!(status["status"]["ready"], false);
        Ok(())
    })
    .await?;
    let instance = "apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vmi1}
spec: {domain: {memory: {guest: 64Mi}, devices: {}}}
";
    let start = r#"{"spec":{"runStrategy":"Always"}}"#;
    let patch = ["patch", "vm", "halted", "--type", "merge", "-p", start];
    for said in [
        kubectl.refused(apply, &machine("vm1", "Always")).await?,
        kubectl.refused(apply, &machine("vm1", "Halted")).await?,
        kubectl.refused(apply, instance).await?,
        kubectl.refused(&patch, "").await?,
        p.ferrovirt(&["start", "halted"], "").await?.refused()?,
        p.ferrovirt(&["restart", "running"], "").await?.refused()?,
    ] {
        for word in [check.name_any().as_str(), "node node1", "KVM", "/dev/kvm"] {
            ensure!(said.contains(word), "{word} is not in {said}");
        }
    }
    let said = p
        .ferrovirt(&["check", "vmruntimepfc", "--wait"], "")
        .await?
        .refused()?;
    ensure!(said.contains("node1: KVM:"), "{said}");
    ensure!(objects::find(p, Kind::Machine, "vm1").await?.is_none());
    Ok(())
}

/// A host that a test describes. It answers through the real agent's code.
pub struct Described(Facts);

impl Probe for Described {
    async fn facts(&self, _emulation: EmulationPolicy) -> Facts {
        self.0.clone()
    }
}

fn kvm(reason: KvmReason) -> KvmFacts {
    KvmFacts {
        as_qemu: KvmReport {
            usable: reason == KvmReason::Usable,
            reason,
            message: String::new(),
            measured: Measured::default(),
            took_ms: 1,
        },
        as_root: None,
    }
}

/// This host, but for its processor's virtualization.
pub async fn described(p: &Platform, reason: KvmReason) -> Result<Described> {
    let here = ChildProcesses {
        executable: testkit::ferrovirt()?,
        data_dir: p.data_dir().to_owned(),
        qemu_user: (107, 107),
        client: p.client().clone(),
    };
    let mut facts = here.facts(EmulationPolicy::Always).await;
    let skew = facts.time.as_ref().ok().and_then(|t| t.skew_seconds);
    ensure!(
        skew.is_some_and(|s| s.abs() <= 2),
        "the server's clock is this host's: {skew:?}"
    );
    let cpu = facts.cpu.as_mut().map_err(|e| anyhow::anyhow!(e.clone()))?;
    cpu.flags.insert("svm".to_owned());
    facts.kvm = Some(Ok(kvm(reason)));
    Ok(Described(facts))
}

/// A node that is ready, as far as the control plane can see; whoever answers for it is the caller's business.
pub async fn add_bare_node(client: &Client, name: &str) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let room = json!({"cpu": "8", "memory": "8Gi", "pods": "100"});
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubevirt.io/schedulable": "true", "ferrovirt.io/kvm": "true",
        }},
    }))?;
    api.create(&PostParams::default(), &node).await?;
    let status = json!({"status": {
        "capacity": room, "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Simulated", "message": "",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }});
    let merge = PatchParams::default();
    api.patch_status(name, &merge, &Patch::Merge(status))
        .await?;
    Ok(())
}

/// One that takes VMs, too.
async fn add_node(client: &Client, name: &str) -> Result<()> {
    add_bare_node(client, name).await?;
    let merge = PatchParams::default();
    // Its agent shows as a Pod, as everywhere.
    let pods: Api<Pod> = Api::namespaced(client.clone(), "vm-system");
    let agent = format!("virt-handler-{name}");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": agent, "labels": {"ferrovirt.io/component": "virt-handler"}},
        "spec": {"nodeName": name, "containers": [{"name": "virt-handler", "image": "simulated"}]},
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    let ready = json!({"status": {"phase": "Running", "conditions": conditions}});
    pods.patch_status(&agent, &merge, &Patch::Merge(ready))
        .await?;
    Ok(())
}

async fn nodes_of_launchers(p: &Platform) -> Result<Vec<String>> {
    let api: Api<Pod> = Api::namespaced(p.client().clone(), objects::NAMESPACE);
    let launchers = ListParams::default().labels("kubevirt.io=virt-launcher");
    let pods = api.list(&launchers).await?.items;
    let nodes = pods.into_iter().filter_map(|p| p.spec?.node_name);
    Ok(nodes.collect())
}

#[test]
fn of_three_nodes_the_one_without_kvm_is_left_out_until_its_label_goes() {
    run(disabled(), async |p| {
        let kubectl = p.kubectl();
        let stop = CancellationToken::new();
        let _stopped = stop.clone().drop_guard();
        for (name, reason) in [
            ("worker-0", KvmReason::Usable),
            ("worker-1", KvmReason::Usable),
            ("worker-2", KvmReason::NoDevice),
        ] {
            add_node(p.client(), name).await?;
            let probe = described(p, reason).await?;
            let (client, stop) = (p.client().clone(), stop.clone());
            let (fresh, _) = tokio::sync::watch::channel(None);
            let name = name.to_owned();
            tokio::spawn(node::preflight::run(client, name, probe, fresh, stop));
        }
        for node in ["node1", "worker-2"] {
            kubectl
                .run(&["label", "nodes", node, "kubevm.io/VM-SkipSchedule="])
                .await?;
        }
        set_runtime(p, json!({"enabled": true, "useEmulation": false})).await?;
        ready(p).await?;
        let passed = verdict(p).await?;
        let status = passed.status.clone().unwrap_or_default();
        assert_eq!(status.nodes, ["worker-0", "worker-1"]);
        assert_eq!(status.checks.len(), 2);

        for vm in 0..6 {
            let vm = machine(&format!("vm{vm}"), "Always");
            kubectl.run_with(&["apply", "-f", "-"], &vm).await?;
        }
        let nodes = eventually("six launchers to be placed", async || {
            let nodes = nodes_of_launchers(p).await?;
            ensure!(nodes.len() == 6, "on {nodes:?}");
            Ok(nodes)
        })
        .await?;
        ensure!(
            nodes.iter().all(|n| n == "worker-0" || n == "worker-1"),
            "{nodes:?}"
        );

        kubectl
            .run(&["label", "nodes", "worker-2", "kubevm.io/VM-SkipSchedule-"])
            .await?;
        let failed = next_verdict(p, &passed).await?;
        assert_eq!(failed.pass(), Some(false));
        assert_eq!(failed.labels()["ferrovirt.io/preflight-trigger"], "node");
        let kvm = result(&failed, "worker-2", "KVM")?;
        assert_eq!(
            kvm.message.as_deref(),
            Some(
                "command terminated with exit code 1\nls: /mnt/dev/kvm: No such file or directory\n"
            )
        );
        ensure!(result(&failed, "worker-0", "KVM")?.passed);
        let failures = failed.status.unwrap_or_default().failures;
        assert_eq!(failures.keys().collect::<Vec<_>>(), ["worker-2"]);
        let summary = eventually("the summary to say so", async || {
            let summary = runtime(p).await?["status"]["preflightCheckSummary"].clone();
            ensure!(summary["preflightCheckPassed"] == false, "{summary}");
            Ok(summary)
        })
        .await?;
        assert_eq!(
            summary["featureStatuses"]["KVM"],
            json!({"passed": false, "failedNodeNum": 1})
        );
        let said = kubectl
            .refused(&["apply", "-f", "-"], &machine("late", "Always"))
            .await?;
        ensure!(
            said.contains("worker-2") && said.contains("ls: /mnt/dev/kvm"),
            "{said}"
        );
        assert_eq!(nodes_of_launchers(p).await?.len(), 6);
        Ok(())
    });
}
