//! Preflight checks that are not over yet: when the runtime is disabled meanwhile, and when a node never answers.

use anyhow::{Context, Result, ensure};
use api::preflight::newest;
use api::vmruntime::EmulationPolicy;
use host::kvm::KvmReason;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use node::preflight::{Facts, Probe};
use testkit::{Leftovers, Options, Platform, eventually, run};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{fresh, off, ready, runtime, set_enabled};
use crate::preflight::{self, Described};

const WORKER: &str = "worker-0";

/// A host whose look at itself is not over before it is let go.
struct Held {
    host: Described,
    looks: watch::Sender<bool>,
    open: watch::Receiver<bool>,
}

impl Probe for Held {
    async fn facts(&self, emulation: EmulationPolicy) -> Facts {
        self.looks.send_replace(true);
        let mut open = self.open.clone();
        if open.wait_for(|open| *open).await.is_err() {
            // The test is over.
            std::future::pending::<()>().await;
        }
        self.host.facts(emulation).await
    }
}

/// The handle of a node that is held.
struct Worker {
    looks: watch::Receiver<bool>,
    open: watch::Sender<bool>,
    _stop: DropGuard,
}

/// Another node, whose agent looks at its host until it is let go.
async fn held_node(p: &Platform) -> Result<Worker> {
    preflight::add_bare_node(p.client(), WORKER).await?;
    let (looks, looked) = watch::channel(false);
    let (open, opened) = watch::channel(false);
    let probe = Held {
        host: preflight::described(p, KvmReason::Usable).await?,
        looks,
        open: opened,
    };
    let stop = CancellationToken::new();
    let (fresh, _) = watch::channel(None);
    tokio::spawn(node::preflight::run(
        p.client().clone(),
        WORKER.to_owned(),
        probe,
        fresh,
        stop.clone(),
    ));
    Ok(Worker {
        looks: looked,
        open,
        _stop: stop.drop_guard(),
    })
}

#[test]
fn a_check_that_a_disable_overtakes_ends_by_itself_and_leaves_nothing() {
    run(fresh(), async |p| {
        // The first time leaves what is kept for the next: what QEMU can do.
        set_enabled(p, true).await?;
        ready(p).await?;
        set_enabled(p, false).await?;
        off(p).await?;
        let mut worker = held_node(p).await?;
        let before = Leftovers::snapshot(p).await?;
        set_enabled(p, true).await?;
        worker.looks.wait_for(|looks| *looks).await?;
        let held = eventually(
            "this node to have answered, and the other not",
            async || {
                let all = preflight::checks(p.client()).await?;
                let check = newest(&all).context("there is no check")?;
                let status = check.status.clone().unwrap_or_default();
                let said = status.message.as_deref().unwrap_or_default();
                ensure!(
                    said == "1 of 2 nodes have answered; waiting for: worker-0",
                    "{said}"
                );
                Ok(check.clone())
            },
        )
        .await?;

        set_enabled(p, false).await?;
        off(p).await?;
        before.assert_none_since(p).await?;
        let all = preflight::checks(p.client()).await?;
        let now = newest(&all).context("the check is gone")?;
        assert_eq!((now.name_any(), now.pass()), (held.name_any(), None));

        // It asks what the hosts are like, and is answered; nothing comes back by that.
        worker.open.send_replace(true);
        let over = preflight::verdict(p).await?;
        assert_eq!(
            (over.name_any(), over.pass()),
            (held.name_any(), Some(true))
        );
        let status = over.status.clone().unwrap_or_default();
        assert_eq!(status.checks.keys().collect::<Vec<_>>(), ["node1", WORKER]);
        let said = status.message.unwrap_or_default();
        ensure!(said.starts_with("passed on: node1, worker-0"), "{said}");
        let now = runtime(p).await?;
        assert_eq!(now["status"]["phase"], "Disabled");
        assert_eq!(now["status"]["ready"], false);
        off(p).await?;
        before.assert_none_since(p).await?;

        set_enabled(p, true).await?;
        let again = preflight::next_verdict(p, &over).await?;
        assert_eq!(again.pass(), Some(true), "{again:?}");
        let trigger = &again.labels()["ferrovirt.io/preflight-trigger"];
        assert_eq!(trigger, "enabled");
        // Nobody runs VMs on the other one: the runtime would wait for its agent.
        let nodes: Api<Node> = Api::all(p.client().clone());
        nodes.delete(WORKER, &DeleteParams::default()).await?;
        ready(p).await
    });
}

#[test]
fn a_node_that_stays_silent_has_failed_when_its_time_is_over() {
    let options = Options {
        arguments: ["--preflight-timeout", "5"].map(str::to_owned).into(),
        ..fresh()
    };
    run(options, async |p| {
        preflight::add_bare_node(p.client(), WORKER).await?;
        // On a busy host even a healthy node may take longer than that.
        let label = ["label", "nodes", "node1", "kubevm.io/VM-SkipSchedule="];
        p.kubectl().run(&label).await?;
        set_enabled(p, true).await?;
        let failed = preflight::verdict(p).await?;
        assert_eq!(failed.pass(), Some(false));
        let status = failed.status.clone().unwrap_or_default();
        assert_eq!(status.nodes, [WORKER]);
        let silent = preflight::result(&failed, WORKER, api::preflight::NO_ANSWER)?;
        let said = silent.message.clone().unwrap_or_default();
        ensure!(
            said.starts_with("the node agent of worker-0 has not answered within 5 s"),
            "{said}"
        );
        let (began, ended) = (status.start_time, status.completion_time);
        let took = ended.context("no end")?.0 - began.context("no begin")?.0;
        ensure!(took.get_seconds() >= 5, "{took}");
        let vm = preflight::machine("vm1", "Halted");
        let refused = p.kubectl().refused(&["apply", "-f", "-"], &vm).await?;
        ensure!(
            refused.contains(&failed.name_any()) && refused.contains("worker-0"),
            "{refused}"
        );
        Ok(())
    });
}
