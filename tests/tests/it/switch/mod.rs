//! The switch of the VM runtime: its components, every form of disabling it, crashes in between.

mod components;
mod cycles;
mod disable;
mod docs;
mod forced;
mod mid_check;
mod settings;

use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::{Kubectl, Options, Output, Platform, eventually};

/// The component that runs while the runtime is disabled.
pub const MANAGER: &str = "vmruntime-controller-manager-node1";
/// All components of the only node.
pub const ALL: [&str; 4] = [
    "cdi-deployment-node1",
    "virt-controller-node1",
    "virt-handler-node1",
    MANAGER,
];
/// The annotation's real key (G-24).
pub const FORCE: &str = "baremetal.cluster.gke.io/vmrumtime-force-disable";

/// A platform that was just installed.
pub fn fresh() -> Options {
    Options {
        enable_runtime: false,
        ..Options::default()
    }
}

/// Runs `bmctl`, as it is called by that name.
pub async fn bmctl(p: &Platform, line: &str, input: &str) -> Result<Output> {
    let program = p.dir().join("bmctl");
    if !program.exists() {
        symlink(testkit::ferrovirt()?, &program).context("making bmctl")?;
    }
    let mut command = p.kubectl().command(&program);
    command.args(line.split(' '));
    Kubectl::finish(command, input)
        .await
        .with_context(|| format!("bmctl {line}"))
}

/// Names of the Pods in `vm-system`.
pub async fn pods(p: &Platform) -> Result<Vec<String>> {
    let said = p
        .kubectl()
        .run(&["get", "pods", "--namespace", "vm-system", "-o", "name"])
        .await?;
    let names = said.lines().filter_map(|l| l.strip_prefix("pod/"));
    Ok(names.map(str::to_owned).collect())
}

/// The VMRuntime.
pub async fn runtime(p: &Platform) -> Result<Value> {
    let said = p
        .kubectl()
        .run(&["get", "vmruntime", "vmruntime", "-o", "json"])
        .await?;
    serde_json::from_str(&said).context("reading the VMRuntime")
}

/// A component's Pod.
pub async fn pod(p: &Platform, name: &str) -> Result<Value> {
    let said = p
        .kubectl()
        .run(&["get", "pod", "-n", "vm-system", name, "-o", "json"])
        .await?;
    serde_json::from_str(&said).context("reading the Pod")
}

/// Sets `spec.enabled`, as a GitOps tool would.
pub async fn set_enabled(p: &Platform, enabled: bool) -> Result<()> {
    let patch = format!("{{\"spec\":{{\"enabled\":{enabled}}}}}");
    let args = [
        "patch",
        "vmruntime",
        "vmruntime",
        "--type",
        "merge",
        "-p",
        &patch,
    ];
    p.kubectl().run(&args).await.map(drop)
}

/// Waits, as scripts do, until it is ready.
pub async fn ready(p: &Platform) -> Result<()> {
    let args = [
        "wait",
        "--for=jsonpath={.status.ready}=true",
        "--timeout=100s",
        "vmruntime",
        "vmruntime",
    ];
    let said = p.kubectl().run(&args).await?;
    ensure!(
        said.trim() == "vmruntime.vm.cluster.gke.io/vmruntime condition met",
        "{said:?}"
    );
    Ok(())
}

/// Waits until it is off, and only the switch itself runs.
pub async fn off(p: &Platform) -> Result<()> {
    eventually("the runtime to be off", async || {
        let runtime = runtime(p).await?;
        let status = &runtime["status"];
        ensure!(status["phase"] == "Disabled", "{status}");
        assert_eq!(status["ready"], false, "{status}");
        let pods = pods(p).await?;
        ensure!(pods == [MANAGER], "{pods:?}");
        Ok(())
    })
    .await
}

/// Waits until a condition of the runtime has this reason; returns its message.
pub async fn says(p: &Platform, type_: &str, reason: &str) -> Result<String> {
    eventually(&format!("the runtime to say {reason}"), async || {
        let runtime = runtime(p).await?;
        let found = crate::objects::condition(&runtime, type_);
        let (_, now, message) = found.with_context(|| format!("no condition {type_}"))?;
        ensure!(now == reason, "{type_} is {now}: {message}");
        Ok(message)
    })
    .await
}
