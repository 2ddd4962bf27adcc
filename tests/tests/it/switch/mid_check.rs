//! Preflight checks that nobody answers.

use anyhow::{Context, ensure};
use kube::ResourceExt;
use testkit::{Options, run};

use super::{fresh, set_enabled};
use crate::preflight;

const WORKER: &str = "worker-0";

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
