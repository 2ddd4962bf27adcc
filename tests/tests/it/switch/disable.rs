//! `bmctl disable vmruntime`: the five rows of the documented table (G-22).

use anyhow::{Context, Result, ensure};
use testkit::{ImageServer, Kubectl, Options, Output, Platform, eventually, run};

use super::{ALL, FORCE, MANAGER, bmctl, pods, ready, runtime};
use crate::guest::{self, Guest};
use crate::objects::{self, Kind};

/// A disk that belongs to no VM.
const DATA: &str = "apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata:
  name: data
spec:
  source:
    blank: {}
  storage:
    resources:
      requests:
        storage: 1Mi
";

/// Makes a disk that belongs to no VM.
pub async fn data_disk(p: &Platform) -> Result<()> {
    p.kubectl().run_with(&["apply", "-f", "-"], DATA).await?;
    data_disk_is_there(p).await
}

/// It is there, full, and has its claim.
pub async fn data_disk_is_there(p: &Platform) -> Result<()> {
    eventually("the data disk", async || {
        let volume = objects::get(p, Kind::DataVolume, "data").await?;
        let phase = objects::text(&volume, "/status/phase");
        ensure!(phase == "Succeeded", "{phase}");
        let claim = objects::get(p, Kind::Claim, "data").await?;
        ensure!(objects::text(&claim, "/status/phase") == "Bound");
        Ok(())
    })
    .await
}

async fn machines(p: &Platform) -> Result<usize> {
    let args = ["get", "virtualmachines.kubevirt.io", "-A", "-o", "name"];
    Ok(p.kubectl().run(&args).await?.lines().count())
}

/// What a row of the table promises of the state afterwards.
async fn holds(p: &Platform, vms: usize, enabled: bool) -> Result<()> {
    assert_eq!(machines(p).await?, vms, "VMs");
    let runtime = runtime(p).await?;
    assert_eq!(runtime["spec"]["enabled"], enabled, "spec.enabled");
    let wanted = if enabled { ALL.to_vec() } else { vec![MANAGER] };
    assert_eq!(pods(p).await?, wanted, "Pods in vm-system");
    data_disk_is_there(p).await
}

async fn annotate(p: &Platform, value: &str) -> Result<()> {
    let pair = format!("{FORCE}={value}");
    let args = ["annotate", "vmruntime", "vmruntime", "--overwrite", &pair];
    p.kubectl().run(&args).await.map(drop)
}

/// Enables, with one VM that runs and one that does not.
async fn with_vms(p: &Platform, server: &ImageServer) -> Result<()> {
    if runtime(p).await?["spec"]["enabled"] != true {
        bmctl(p, "enable vmruntime", "").await?.ok()?;
    }
    ready(p).await?;
    Guest::new("runs", server).grace_seconds(0).apply(p).await?;
    Guest::new("stopped", server)
        .strategy("Halted")
        .apply(p)
        .await?;
    guest::running(p, "runs").await?;
    objects::printable(p, "stopped", "Stopped").await?;
    Ok(())
}

/// The same command with a terminal, on which something is typed.
async fn on_a_terminal(p: &Platform, line: &str, typed: &str) -> Result<Output> {
    let program = p.dir().join("bmctl");
    let mut command = p.kubectl().command("script");
    let line = format!("{} {line}", program.display());
    command.args(["-qec", &line, "/dev/null"]);
    Kubectl::finish(command, typed).await.context(line)
}

#[test]
fn the_five_rows_of_the_table() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        ready(p).await?;
        data_disk(p).await?;
        with_vms(p, &server).await?;

        // VMs, --force=false, annotation false (or not there): an error, nothing happens.
        for line in ["disable vmruntime", "disable vmruntime --force=false"] {
            let said = bmctl(p, line, "").await?.refused()?;
            ensure!(said.contains("VMs exist (2)"), "{said}");
            ensure!(said.contains("VirtualMachine default/runs"), "{said}");
            holds(p, 2, true).await?;
        }

        // VMs, --force=false, annotation true: a prompt. No terminal, or not "y": nothing happens.
        annotate(p, "true").await?;
        let said = bmctl(p, "disable vmruntime", "y\n").await?.refused()?;
        ensure!(said.contains("terminal"), "{said}");
        holds(p, 2, true).await?;
        for answer in ["n\n", "\n"] {
            let said = on_a_terminal(p, "disable vmruntime", answer).await?;
            ensure!(!said.success, "{said:?}");
            ensure!(said.stdout.contains("[y/N]"), "{said:?}");
            ensure!(said.stdout.contains("nothing was changed"), "{said:?}");
            holds(p, 2, true).await?;
        }
        let said = on_a_terminal(p, "disable vmruntime", "y\n").await?.ok()?;
        ensure!(said.contains("DataVolume default/runs-root"), "{said}");
        holds(p, 0, false).await?;

        // VMs, --force=true: they go, whatever the annotation says.
        for (annotation, force) in [("true", "--force=true"), ("false", "--force")] {
            with_vms(p, &server).await?;
            annotate(p, annotation).await?;
            let line = format!("disable vmruntime {force}");
            let said = bmctl(p, &line, "").await?;
            ensure!(
                said.stderr.contains("VirtualMachine default/runs"),
                "{said:?}"
            );
            said.ok()?;
            holds(p, 0, false).await?;
            ensure!(p.qemus().is_empty(), "{:?}", p.qemus());
        }

        // No VMs: disabled, at once.
        bmctl(p, "enable vmruntime", "").await?.ok()?;
        ready(p).await?;
        bmctl(p, "disable vmruntime", "").await?.ok()?;
        holds(p, 0, false).await
    });
}
