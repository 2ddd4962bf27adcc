//! The components: they run when the runtime is enabled, and show as Pods.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::{Platform, eventually, run};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::{ALL, MANAGER, bmctl, fresh, off, pod, pods, ready, runtime};
use crate::guest::ANSWER;
use crate::objects::text;

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

async fn version(p: &Platform) -> Result<String> {
    Ok(text(&runtime(p).await?, "/metadata/resourceVersion"))
}

#[test]
fn enabling_starts_the_components_and_disabling_stops_them() {
    run(fresh(), async |p| {
        off(p).await?;
        let fresh = runtime(p).await?;
        ensure!(fresh["spec"].get("enabled").is_none(), "{}", fresh["spec"]);
        let said = bmctl(p, "enable vmruntime", "").await?.ok()?;
        ensure!(said.contains("enabled"), "{said}");
        ready(p).await?;
        assert_eq!(pods(p).await?, ALL);
        for name in ALL {
            let pod = pod(p, name).await?;
            assert_eq!(text(&pod, "/status/phase"), "Running");
            assert_eq!(text(&pod, "/spec/nodeName"), "node1");
            assert_eq!(text(&pod, "/metadata/ownerReferences/0/kind"), "Node");
            assert_eq!(container(&pod)["ready"], true, "{name}");
            assert_eq!(container(&pod)["restartCount"], 0, "{name}");
            let log = p.kubectl().run(&["logs", "-n", "vm-system", name]).await?;
            ensure!(log.contains(" INFO started"), "{name}: {log:?}");
        }
        for (selector, name) in [
            ("kubevirt.io=virt-handler", "virt-handler-node1"),
            ("kubevirt.io=virt-controller", "virt-controller-node1"),
            ("app=vmruntime-controller-manager", MANAGER),
        ] {
            let args = [
                "get",
                "pods",
                "-n",
                "vm-system",
                "-l",
                selector,
                "-o",
                "name",
            ];
            let said = p.kubectl().run(&args).await?;
            assert_eq!(said.trim(), format!("pod/{name}"));
        }

        // Not idempotent, as documented (G-10); the object is as it was.
        let before = version(p).await?;
        let said = bmctl(p, "enable vmruntime", "").await?.refused()?;
        ensure!(said.contains("already enabled"), "{said}");
        assert_eq!(version(p).await?, before);

        bmctl(p, "disable vmruntime", "").await?.ok()?;
        // At once: the command waits for it.
        assert_eq!(pods(p).await?, [MANAGER]);
        assert_eq!(runtime(p).await?["status"]["ready"], false);
        let label = r"jsonpath={.metadata.labels.kubevirt\.io/schedulable}";
        let args = ["get", "node", "node1", "-o", label];
        assert_eq!(p.kubectl().run(&args).await?, "false");
        Ok(())
    });
}

#[test]
fn a_mirror_pod_that_is_deleted_comes_back_and_its_component_does_not_notice() {
    run(testkit::Options::default(), async |p| {
        ready(p).await?;
        let before = pod(p, "virt-controller-node1").await?;
        let args = ["delete", "pod", "-n", "vm-system", "virt-controller-node1"];
        p.kubectl().run(&args).await?;
        let after = eventually("the Pod to come back", async || {
            let now = pod(p, "virt-controller-node1").await?;
            ensure!(
                now["metadata"]["uid"] != before["metadata"]["uid"],
                "the same"
            );
            ensure!(container(&now)["ready"] == true, "{}", now["status"]);
            Ok(now)
        })
        .await?;
        assert_eq!(container(&after)["state"], container(&before)["state"]);
        let log = p
            .kubectl()
            .run(&["logs", "-n", "vm-system", "virt-controller-node1"])
            .await?;
        assert_eq!(log.matches(" INFO started").count(), 1, "{log}");
        Ok(())
    });
}

#[test]
fn killed_and_started_again_the_process_finds_its_mirror_pods() {
    run(testkit::Options::default(), async |p| {
        ready(p).await?;
        let before = pod(p, "virt-handler-node1").await?;
        for round in 1..=2 {
            p.kill9()?;
            p.restart().await?;
            eventually("the restart to be counted", async || {
                let now = pod(p, "virt-handler-node1").await?;
                assert_eq!(now["metadata"]["uid"], before["metadata"]["uid"]);
                let count = &container(&now)["restartCount"];
                ensure!(*count == round, "{count}");
                ensure!(container(&now)["ready"] == true, "{}", now["status"]);
                Ok(())
            })
            .await?;
            assert_eq!(pods(p).await?, ALL);
        }
        let last = pod(p, "virt-handler-node1").await?;
        let reason = text(container(&last), "/lastState/terminated/reason");
        assert_eq!(reason, "ContainerStatusUnknown");
        // Its log goes on where it was.
        let log = p
            .kubectl()
            .run(&["logs", "-n", "vm-system", "virt-handler-node1"])
            .await?;
        assert_eq!(log.matches(" INFO started").count(), 3, "{log}");
        Ok(())
    });
}

#[test]
fn a_followed_log_of_a_component_ends_when_it_is_stopped() {
    run(testkit::Options::default(), async |p| {
        ready(p).await?;
        let mut command = p.kubectl().command("kubectl");
        command.args(["logs", "-f", "-n", "vm-system", "virt-controller-node1"]);
        let mut following = command.stdout(Stdio::piped()).spawn()?;
        let said = following.stdout.take().context("its standard output")?;
        let mut lines = BufReader::new(said).lines();
        let first = timeout(ANSWER, lines.next_line()).await??;
        ensure!(
            first
                .as_deref()
                .is_some_and(|l| l.contains(" INFO started")),
            "{first:?}"
        );
        bmctl(p, "disable vmruntime", "").await?.ok()?;
        let ended = timeout(ANSWER, following.wait()).await;
        ensure!(ended.context("it goes on")??.success());
        Ok(())
    });
}
