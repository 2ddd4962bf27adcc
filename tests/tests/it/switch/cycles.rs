//! On and off again and again: nothing is left and nothing is lost (G-25).

use std::fs;

use anyhow::{Context, Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;
use testkit::{Leftovers, Platform, eventually, run};

use super::disable::{data_disk, data_disk_is_there};
use super::{fresh, off, ready};

/// How often.
const CYCLES: usize = 50;
/// What the memory of the process may grow by, in KiB: allocators keep some of what they had.
const GROWTH: u64 = 24 * 1024;

/// Switches, and waits for the phase.
async fn switch(p: &Platform, on: bool) -> Result<()> {
    let kind = GroupVersionKind::gvk("vm.cluster.gke.io", "v1", "VMRuntime");
    let api: Api<DynamicObject> = Api::all_with(p.client().clone(), &ApiResource::from_gvk(&kind));
    let patch = Patch::Merge(json!({"spec": {"enabled": on}}));
    api.patch("vmruntime", &PatchParams::default(), &patch)
        .await?;
    let wanted = if on { "Enabled" } else { "Disabled" };
    eventually(&format!("the runtime to be {wanted}"), async || {
        let phase = api.get("vmruntime").await?.data["status"]["phase"].clone();
        ensure!(phase == wanted, "{phase}");
        Ok(())
    })
    .await
}

fn memory(p: &Platform) -> Result<u64> {
    let pid = p.pid().context("ferrovirt up does not run")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .context("no VmRSS")?;
    Ok(kib.parse()?)
}

#[test]
fn enabled_and_disabled_again_and_again_it_leaves_nothing_and_loses_nothing() {
    run(fresh(), async |p| {
        switch(p, true).await?;
        ready(p).await?;
        data_disk(p).await?;
        switch(p, false).await?;
        off(p).await?;
        let before = Leftovers::snapshot(p).await?;
        let mut first = 0;
        for cycle in 0..CYCLES {
            switch(p, true)
                .await
                .with_context(|| format!("cycle {cycle}"))?;
            // Most are switched off in the middle of starting.
            if cycle % 10 == 9 {
                ready(p).await?;
            }
            switch(p, false)
                .await
                .with_context(|| format!("cycle {cycle}"))?;
            if cycle == 9 {
                off(p).await?;
                first = memory(p)?;
            }
        }
        off(p).await?;
        before.assert_none_since(p).await?;
        data_disk_is_there(p).await?;
        let now = memory(p)?;
        ensure!(
            now <= first + GROWTH,
            "{first} KiB after ten, {now} KiB now"
        );
        // And it works.
        switch(p, true).await?;
        ready(p).await
    });
}
