//! VMs come and go and leave nothing.

use anyhow::{Context, Result, ensure};
use testkit::{ImageServer, Leftovers, Options, Platform, eventually, run};

use crate::guest::{self, Guest};
use crate::objects::{self, Kind};

/// Cycles if the environment does not say otherwise (`FERROVIRT_CYCLES=100` for the full run).
const CYCLES: usize = 8;

/// A snapshot of a platform that has come to rest.
async fn at_rest(p: &Platform) -> Result<Leftovers> {
    // What the node can do is found out behind the start, and kept.
    eventually("the node to take VMs", async || {
        let args = [
            "get",
            "vmruntime",
            "vmruntime",
            "-o",
            "jsonpath={.status.ready}",
        ];
        let ready = p.kubectl().run(&args).await?;
        ensure!(ready == "true", "ready is {ready:?}");
        Ok(())
    })
    .await?;
    let mut before = Leftovers::snapshot(p).await?;
    eventually("the platform to come to rest", async || {
        let now = Leftovers::snapshot(p).await?;
        let same = now == before;
        before = now.clone();
        ensure!(same, "it still changes");
        Ok(now)
    })
    .await
}

/// How far a VM gets before it is deleted. Each is a state that a deletion may meet.
#[derive(Debug, Clone, Copy)]
enum Until {
    Created,
    Importing,
    Launched,
    Running,
    Booted,
}

impl Until {
    fn of(cycle: usize) -> Self {
        // Half of them run.
        match cycle % 8 {
            0 => Self::Created,
            2 => Self::Importing,
            4 => Self::Launched,
            6 => Self::Booted,
            _ => Self::Running,
        }
    }

    async fn reached(self, p: &Platform, name: &str) -> Result<()> {
        match self {
            Self::Created => Ok(()),
            Self::Importing => {
                eventually("the import to have begun", async || {
                    let dv = objects::get(p, Kind::DataVolume, &format!("{name}-root")).await?;
                    let phase = objects::text(&dv, "/status/phase");
                    ensure!(
                        ["ImportScheduled", "ImportInProgress", "Succeeded"].contains(&&*phase),
                        "{phase}"
                    );
                    Ok(())
                })
                .await
            }
            Self::Launched => {
                eventually("the launcher Pod", async || {
                    objects::launcher_pod(p, name).await.map(drop)
                })
                .await
            }
            Self::Running => guest::running(p, name).await.map(drop),
            Self::Booted => {
                guest::running(p, name).await?;
                guest::prompt(p, name).await
            }
        }
    }
}

#[test]
fn created_and_deleted_again_and_again_vms_leave_nothing_behind() {
    let cycles = std::env::var("FERROVIRT_CYCLES").map_or(CYCLES, |n| n.parse().unwrap());
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let before = at_rest(p).await?;
        for cycle in 0..cycles {
            let name = format!("vm{}", cycle % 3);
            let until = Until::of(cycle);
            let grace = if matches!(until, Until::Booted) {
                30
            } else {
                0
            };
            let guest = Guest::new(&name, &server).grace_seconds(grace);
            let went = async {
                guest.apply(p).await?;
                until.reached(p, &name).await?;
                p.kubectl()
                    .run(&["delete", "vm", &name, "--timeout=60s"])
                    .await?;
                objects::gone(p, Kind::Machine, &name).await
            };
            went.await
                .with_context(|| format!("cycle {cycle}, {until:?}"))?;
            // Every so often, so that what is left is known to be of the latest few.
            if cycle % 8 == 7 {
                before
                    .assert_none_since(p)
                    .await
                    .with_context(|| format!("after {} cycles", cycle + 1))?;
            }
        }
        before.assert_none_since(p).await
    });
}
