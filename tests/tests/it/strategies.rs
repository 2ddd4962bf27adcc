//! What becomes of a guest that ends, by run strategy.

use anyhow::{Result, ensure};
use testkit::{ImageServer, Options, Platform, eventually, run};

use crate::guest::{self, Guest};
use crate::objects::{self, Kind};

async fn succeeded(p: &Platform, name: &str) -> Result<String> {
    eventually("the guest to have powered off", async || {
        let vmi = objects::get(p, Kind::Instance, name).await?;
        let phase = objects::text(&vmi, "/status/phase");
        ensure!(phase == "Succeeded", "phase {phase}");
        Ok(objects::text(&vmi, "/metadata/uid"))
    })
    .await
}

#[test]
fn a_guest_that_powers_itself_off_comes_back_under_always() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let guest = Guest::new("vm1", &server).powers_off_once();
        guest.apply(p).await?;
        let first = eventually("the first instance", async || {
            let vmi = objects::get(p, Kind::Instance, "vm1").await?;
            Ok(objects::text(&vmi, "/metadata/uid"))
        })
        .await?;
        eventually("a second instance to run", async || {
            let vmi = objects::get(p, Kind::Instance, "vm1").await?;
            let phase = objects::text(&vmi, "/status/phase");
            let uid = objects::text(&vmi, "/metadata/uid");
            ensure!(uid != first && phase == "Running", "{uid} is {phase}");
            Ok(())
        })
        .await?;
        guest::prompt(p, "vm1").await
    });
}

#[test]
fn a_guest_that_powers_itself_off_stays_off_under_rerun_on_failure_until_it_is_started() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let guest = Guest::new("vm1", &server)
            .strategy("RerunOnFailure")
            .powers_off_once();
        guest.apply(p).await?;
        let first = succeeded(p, "vm1").await?;
        objects::printable(p, "vm1", "Stopped").await?;
        let still = objects::get(p, Kind::Instance, "vm1").await?;
        assert_eq!(objects::text(&still, "/metadata/uid"), first);
        assert_eq!(objects::text(&still, "/status/phase"), "Succeeded");

        objects::ask_machine(p, "vm1", "start").await?;
        let second = guest::running(p, "vm1").await?;
        ensure!(second != first, "the old instance runs again");
        Ok(())
    });
}

#[test]
fn a_failed_guest_is_run_again_under_rerun_on_failure() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let guest = Guest::new("vm1", &server).strategy("RerunOnFailure");
        guest.boot(p).await?;
        let first = guest::running(p, "vm1").await?;
        let qemu = p.qemus();
        ensure!(testkit::kill(&qemu[0]), "QEMU does not die");
        eventually("another instance to run", async || {
            let vmi = objects::get(p, Kind::Instance, "vm1").await?;
            let phase = objects::text(&vmi, "/status/phase");
            let uid = objects::text(&vmi, "/metadata/uid");
            ensure!(uid != first && phase == "Running", "{uid} is {phase}");
            Ok(())
        })
        .await?;
        guest::prompt(p, "vm1").await
    });
}

#[test]
fn a_manual_guest_starts_and_stops_when_asked() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let guest = Guest::new("vm1", &server)
            .strategy("Manual")
            .grace_seconds(5);
        guest.apply(p).await?;
        objects::printable(p, "vm1", "Stopped").await?;
        ensure!(objects::find(p, Kind::Instance, "vm1").await?.is_none());
        let idle = objects::ask_machine(p, "vm1", "stop").await;
        ensure!(
            format!("{:#}", idle.unwrap_err()).contains("VM is not running"),
            "stopping what does not run is refused"
        );
        objects::ask_machine(p, "vm1", "start").await?;
        guest::running(p, "vm1").await?;
        let twice = objects::ask_machine(p, "vm1", "start").await;
        ensure!(
            format!("{:#}", twice.unwrap_err()).contains("already running"),
            "starting what runs is refused"
        );
        objects::ask_machine(p, "vm1", "stop").await?;
        objects::printable(p, "vm1", "Stopped").await?;
        let vm = objects::get(p, Kind::Machine, "vm1").await?;
        assert_eq!(objects::text(&vm, "/spec/runStrategy"), "Manual");
        ensure!(p.qemus().is_empty(), "{:?}", p.qemus());
        Ok(())
    });
}

#[test]
fn a_halted_guest_runs_when_started_and_is_halted_again_when_stopped() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let guest = Guest::new("vm1", &server)
            .strategy("Halted")
            .grace_seconds(5);
        guest.apply(p).await?;
        objects::printable(p, "vm1", "Stopped").await?;
        let idle = objects::ask_machine(p, "vm1", "restart").await;
        ensure!(
            format!("{:#}", idle.unwrap_err()).contains("Halted does not support"),
            "restarting a halted VM is refused"
        );
        objects::ask_machine(p, "vm1", "start").await?;
        guest::running(p, "vm1").await?;
        objects::ask_machine(p, "vm1", "stop").await?;
        objects::printable(p, "vm1", "Stopped").await?;
        let vm = objects::get(p, Kind::Machine, "vm1").await?;
        assert_eq!(objects::text(&vm, "/spec/runStrategy"), "Halted");
        Ok(())
    });
}
