//! Any process of the platform may be killed at any moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use testkit::{ImageServer, Options, Platform, eventually, is_alive, kill, run};

use crate::guest::{self, ANSWER, Guest};
use crate::objects::{self, Kind};

/// How often the control plane is killed.
const ROUNDS: u64 = 5;
/// Acknowledged writes before each kill.
const WRITES: u64 = 30;

/// What was acknowledged: name of each ConfigMap and its value.
type Acknowledged = BTreeMap<String, u64>;

/// Creates and updates ConfigMaps until the server is gone; returns what it has acknowledged.
async fn write_until_killed(client: Client, round: u64, count: Arc<AtomicU64>) -> Acknowledged {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, objects::NAMESPACE, &kind);
    let mut acknowledged = Acknowledged::new();
    for n in 0.. {
        let name = format!("write-{round}-{n}");
        let mut object = DynamicObject::new(&name, &kind);
        object.data = json!({"data": {"value": "0"}});
        let Ok(mut made) = api.create(&PostParams::default(), &object).await else {
            break;
        };
        acknowledged.insert(name.clone(), 0);
        count.fetch_add(1, Ordering::Relaxed);
        made.data = json!({"data": {"value": "1"}});
        let Ok(_) = api.replace(&name, &PostParams::default(), &made).await else {
            break;
        };
        acknowledged.insert(name, 1);
        count.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// A write that was not acknowledged may have happened; one that was has.
async fn nothing_is_lost(p: &Platform, acknowledged: &Acknowledged) -> Result<()> {
    let present: BTreeMap<String, u64> = objects::list(p, Kind::ConfigMap)
        .await?
        .iter()
        .map(|o| {
            let value = objects::text(o, "/data/value").parse().unwrap_or_default();
            (objects::text(o, "/metadata/name"), value)
        })
        .collect();
    for (name, value) in acknowledged {
        let now = present
            .get(name)
            .with_context(|| format!("{name} was acknowledged and is lost"))?;
        ensure!(
            now >= value,
            "{name}={value} was acknowledged, now it is {now}"
        );
    }
    Ok(())
}

#[test]
fn killing_the_control_plane_again_and_again_loses_no_guest_and_no_write() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).boot(p).await?;
        let uid = guest::running(p, "vm1").await?;
        let qemu = guest::qemu_pid(p)?;
        let mut acknowledged = Acknowledged::new();
        for round in 0..ROUNDS {
            let count = Arc::new(AtomicU64::new(0));
            let writer = tokio::spawn(write_until_killed(p.client().clone(), round, count.clone()));
            eventually("some writes to be acknowledged", async || {
                let n = count.load(Ordering::Relaxed);
                ensure!(n >= WRITES, "{n}");
                Ok(())
            })
            .await?;
            p.kill9()?;
            acknowledged.extend(writer.await.context("the writer")?);
            ensure!(is_alive(qemu), "QEMU died with the control plane");
            p.restart().await?;
            nothing_is_lost(p, &acknowledged).await?;
            // At once, not eventually: it has never been anything else.
            let vm = objects::get(p, Kind::Machine, "vm1").await?;
            assert_eq!(objects::text(&vm, "/status/printableStatus"), "Running");
            drop(guest::console_works(p, "vm1").await?);
            assert_eq!(guest::running(p, "vm1").await?, uid, "another instance");
            assert_eq!(guest::qemu_pid(p)?, qemu, "another QEMU");
        }
        // What is adopted is still ours to end.
        p.kubectl().run(&["delete", "vm", "vm1"]).await?;
        objects::gone(p, Kind::Instance, "vm1").await?;
        ensure!(p.qemus().is_empty(), "{:?}", p.qemus());
        Ok(())
    });
}

#[test]
fn a_killed_launcher_comes_back_and_adopts_its_guest() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).boot(p).await?;
        let uid = guest::running(p, "vm1").await?;
        let qemu = guest::qemu_pid(p)?;
        let before = p.launchers();
        ensure!(before.len() == 1, "{before:?}");
        ensure!(kill(&before[0]), "the launcher does not die");
        eventually("another launcher", async || {
            let now = p.launchers();
            ensure!(now.len() == 1 && now[0].pid != before[0].pid, "{now:?}");
            Ok(())
        })
        .await?;
        eventually("the console of the adopted guest", async || {
            guest::open_console(p, "vm1").await.map(drop)
        })
        .await?;
        drop(guest::console_works(p, "vm1").await?);
        assert_eq!(guest::running(p, "vm1").await?, uid, "another instance");
        assert_eq!(guest::qemu_pid(p)?, qemu, "another QEMU");
        Ok(())
    });
}

#[test]
fn sigterm_stops_the_control_plane_and_leaves_guests_running() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).boot(p).await?;
        let qemu = guest::qemu_pid(p)?;
        let launcher = p.launchers();
        let mut console = guest::open_console(p, "vm1").await?;
        p.stop().await?;
        ensure!(is_alive(qemu), "the guest ended with the control plane");
        assert_eq!(p.launchers(), launcher);
        console.closed(ANSWER).await?;
        p.restart().await?;
        drop(guest::console_works(p, "vm1").await?);
        assert_eq!(guest::qemu_pid(p)?, qemu);
        Ok(())
    });
}

#[test]
fn a_guest_that_ends_while_the_control_plane_is_down_is_noticed_afterwards() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let guest = Guest::new("vm1", &server).strategy("RerunOnFailure");
        guest.boot(p).await?;
        let mut console = guest::console_works(p, "vm1").await?;
        let qemu = guest::qemu_pid(p)?;
        console.type_in("(sleep 2; poweroff) &\r").await?;
        console.expect("poweroff", ANSWER).await?;
        p.kill9()?;
        eventually("the guest to power off", async || {
            ensure!(!is_alive(qemu), "QEMU still runs");
            Ok(())
        })
        .await?;
        p.restart().await?;
        objects::printable(p, "vm1", "Stopped").await?;
        let vmi = objects::get(p, Kind::Instance, "vm1").await?;
        assert_eq!(objects::text(&vmi, "/status/phase"), "Succeeded");
        Ok(())
    });
}
