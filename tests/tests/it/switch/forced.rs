//! Disabling through the object: with the annotation VMs are deleted, without it they are kept; and a
//! crash at any step is followed by the rest.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{ImageServer, Leftovers, Options, Platform, eventually, is_alive, run};
use tokio::time::timeout;

use super::disable::{data_disk, data_disk_is_there};
use super::{ALL, FORCE, bmctl, off, pods, ready, runtime, says, set_enabled};
use crate::guest::{self, Guest};
use crate::objects::{self, Kind};

const FORCE_CORRECT: &str = "baremetal.cluster.gke.io/vmruntime-force-disable";

async fn annotate(p: &Platform, pairs: &[String]) -> Result<()> {
    let mut args = vec!["annotate", "vmruntime", "vmruntime", "--overwrite"];
    args.extend(pairs.iter().map(String::as_str));
    p.kubectl().run(&args).await.map(drop)
}

async fn nothing_of_vms_is_left(p: &Platform) -> Result<()> {
    for kind in [Kind::Machine, Kind::Instance, Kind::Pod] {
        let all = objects::list(p, kind).await?;
        ensure!(all.is_empty(), "{kind:?}: {all:?}");
    }
    for kind in [Kind::DataVolume, Kind::Claim] {
        let all = objects::list(p, kind).await?;
        let names: Vec<String> = all
            .iter()
            .map(|o| objects::text(o, "/metadata/name"))
            .collect();
        assert_eq!(names, ["data"], "{kind:?}");
    }
    ensure!(p.qemus().is_empty(), "{:?}", p.qemus());
    Ok(())
}

#[test]
fn with_the_annotation_vms_are_deleted_with_what_they_own_and_nothing_else() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        ready(p).await?;
        data_disk(p).await?;
        Guest::new("stopped", &server)
            .strategy("Halted")
            .apply(p)
            .await?;
        // In the middle of its boot.
        Guest::new("runs", &server)
            .grace_seconds(0)
            .apply(p)
            .await?;
        guest::running(p, "runs").await?;
        // The misspelled key is the real one: it wins, and that is said.
        annotate(
            p,
            &[format!("{FORCE}=true"), format!("{FORCE_CORRECT}=false")],
        )
        .await?;
        set_enabled(p, false).await?;
        off(p).await?;
        nothing_of_vms_is_left(p).await?;
        data_disk_is_there(p).await?;
        objects::has_event(p, "vmruntime", "ConflictingAnnotations").await?;
        let message = objects::has_event(p, "vmruntime", "DeletingVMs").await?;
        ensure!(message.contains("default/runs"), "{message}");
        // The correctly spelled one alone is understood, and written by nobody.
        let annotations = runtime(p).await?["metadata"]["annotations"].clone();
        assert_eq!(annotations[FORCE], "true");
        assert_eq!(annotations[FORCE_CORRECT], "false");
        annotate(p, &[format!("{FORCE}-"), format!("{FORCE_CORRECT}=true")]).await?;
        set_enabled(p, true).await?;
        ready(p).await?;
        Guest::new("again", &server)
            .strategy("Halted")
            .apply(p)
            .await?;
        objects::printable(p, "again", "Stopped").await?;
        set_enabled(p, false).await?;
        off(p).await?;
        nothing_of_vms_is_left(p).await
    });
}

#[test]
fn without_the_annotation_vms_are_kept_and_so_is_the_runtime_until_they_are_gone() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        ready(p).await?;
        Guest::new("vm1", &server).grace_seconds(0).apply(p).await?;
        guest::running(p, "vm1").await?;
        let qemu = guest::qemu_pid(p)?;
        set_enabled(p, false).await?;
        let message = says(p, "Ready", "VMsExist").await?;
        ensure!(message.contains("1 VM (default/vm1)"), "{message}");
        ensure!(message.contains(FORCE), "{message}");
        let now = runtime(p).await?;
        assert_eq!(now["spec"]["enabled"], false);
        assert_eq!(now["status"]["ready"], false);
        assert_eq!(pods(p).await?, ALL);
        // It is really looked after, also by the next process.
        p.kill9()?;
        p.restart().await?;
        says(p, "Ready", "VMsExist").await?;
        guest::prompt(p, "vm1").await?;
        assert_eq!(guest::qemu_pid(p)?, qemu);
        // The switch itself may be deleted: no guest is orphaned by that.
        p.kubectl()
            .run(&["delete", "vmruntime", "vmruntime"])
            .await?;
        says(p, "Ready", "VMsExist").await?;
        assert_eq!(pods(p).await?, ALL);
        ensure!(is_alive(qemu), "the guest is gone");
        // A change of mind.
        set_enabled(p, true).await?;
        ready(p).await?;
        set_enabled(p, false).await?;
        says(p, "Ready", "VMsExist").await?;
        assert_eq!(guest::qemu_pid(p)?, qemu);
        let said = bmctl(p, "disable vmruntime", "").await?.refused()?;
        ensure!(said.contains("VMs exist (1)"), "{said}");
        p.kubectl().run(&["delete", "vm", "vm1"]).await?;
        off(p).await
    });
}

/// Kills of the control plane before it is let be.
const KILLS: usize = 8;

#[test]
fn a_forced_disable_that_is_killed_at_any_step_is_carried_out() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        ready(p).await?;
        data_disk(p).await?;
        let before = Leftovers::snapshot(p).await?;
        for name in ["vm1", "vm2"] {
            Guest::new(name, &server).grace_seconds(0).apply(p).await?;
        }
        for name in ["vm1", "vm2"] {
            guest::running(p, name).await?;
        }
        annotate(p, &[format!("{FORCE}=true")]).await?;
        set_enabled(p, false).await?;
        let mut random = StdRng::seed_from_u64(22);
        for kill in 0..KILLS {
            // Every so often early, in the first moments of the new process.
            let most = if kill % 2 == 0 { 60 } else { 500 };
            let wait = Duration::from_millis(random.random_range(0..most));
            if timeout(wait, off(p)).await.is_ok() {
                break;
            }
            p.kill9()?;
            p.restart().await?;
        }
        off(p).await?;
        nothing_of_vms_is_left(p).await?;
        data_disk_is_there(p).await?;
        before.assert_none_since(p).await
    });
}

#[test]
fn a_disable_in_the_middle_of_an_import_ends_it_and_it_begins_again_by_itself() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        ready(p).await?;
        let before = Leftovers::snapshot(p).await?;
        server.serve(testkit::Serving::Slow(64 * 1024));
        let manifest = format!(
            "apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata:
  name: data
spec:
  source:
    http:
      url: {}
  storage:
    resources:
      requests:
        storage: 128Mi
",
            server.url()
        );
        p.kubectl()
            .run_with(&["apply", "-f", "-"], &manifest)
            .await?;
        let phase = async |wanted: &'static str| {
            eventually(&format!("the import to be {wanted}"), async || {
                let dv = objects::get(p, Kind::DataVolume, "data").await?;
                let now = objects::text(&dv, "/status/phase");
                ensure!(
                    now == wanted,
                    "{now} {:?}",
                    objects::condition(&dv, "Ready")
                );
                Ok(dv)
            })
            .await
        };
        phase("ImportInProgress").await?;
        set_enabled(p, false).await?;
        off(p).await?;
        ensure!(p.processes().is_empty(), "{:?}", p.processes());
        let dv = phase("Pending").await?;
        let ready_now = objects::condition(&dv, "Ready").unwrap_or_default();
        assert_eq!(ready_now.1, "VMRuntimeDisabled");
        server.serve(testkit::Serving::Well);
        set_enabled(p, true).await?;
        phase("Succeeded").await?;
        set_enabled(p, false).await?;
        off(p).await?;
        phase("Succeeded").await?;
        p.kubectl().run(&["delete", "dv", "data"]).await?;
        objects::gone(p, Kind::Claim, "data").await?;
        before.assert_none_since(p).await
    });
}
