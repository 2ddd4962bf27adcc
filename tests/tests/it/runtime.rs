//! The VMRuntime: the switch of the VM stack.

use anyhow::ensure;
use testkit::{ImageServer, Options, run};

use crate::guest::{self, Guest};
use crate::objects::{self, Kind};

#[test]
fn vms_wait_while_the_runtime_is_disabled_and_start_when_it_is_enabled() {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    run(options, async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).apply(p).await?;
        let message = objects::waits_because(p, "vm1", "VMRuntimeDisabled").await?;
        ensure!(
            message.contains("ferrovirt enable vmruntime"),
            "what to do is not said: {message}"
        );
        ensure!(
            objects::find(p, Kind::Instance, "vm1").await?.is_none(),
            "an instance exists"
        );
        ensure!(server.requests() == 0, "the import has begun");

        p.ferrovirt(&["enable", "vmruntime"], "").await?.ok()?;
        guest::running(p, "vm1").await?;
        Ok(())
    });
}

#[test]
fn the_probe_of_hardware_virtualization_is_told_on_node_and_runtime() {
    run(Options::default(), async |p| {
        let runtime = testkit::eventually("the runtime to be ready", async || {
            let text = p
                .kubectl()
                .run(&["get", "vmruntime", "vmruntime", "-o", "json"])
                .await?;
            let runtime: serde_json::Value = serde_json::from_str(&text)?;
            ensure!(
                runtime.pointer("/status/ready") == Some(&true.into()),
                "{}",
                runtime["status"]
            );
            Ok(runtime)
        })
        .await?;
        let (holds, reason, message) =
            objects::condition(&runtime, "SoftwareEmulation").unwrap_or_default();
        let label = p
            .kubectl()
            .run(&[
                "get",
                "node",
                "node1",
                "-o",
                r"jsonpath={.metadata.labels.ferrovirt\.io/kvm} {.metadata.annotations.ferrovirt\.io/kvm-probe}",
            ])
            .await?;
        let (usable, finding) = label.split_once(' ').unwrap_or_default();
        ensure!(!finding.is_empty(), "the finding is not told: {label:?}");
        match usable {
            "true" => assert_eq!(holds, "False", "{reason} {message}"),
            _ => {
                assert_eq!((holds.as_str(), reason.as_str()), ("True", "KvmUnusable"));
                ensure!(message.contains(finding), "{message:?} lacks {finding:?}");
            }
        }
        Ok(())
    });
}
