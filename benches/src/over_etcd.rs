//! Requests a second of a control plane whose store is etcd, beside bare puts into the same etcd in the same run.
//!
//! etcd's own counters say how many calls a request costs it: a create is one transaction, and reads share their calls.

use anyhow::{Context, Result};
use serde_json::json;
use testkit::{Options, Platform};

use crate::api::{DURATION, REFERENCE_CLIENTS, STORED, Verb, crowd};
use crate::client::Server;
use crate::etcd::{Calls, Etcd};
use crate::proc::{cpu_time, memory};
use crate::report::{Report, Row};

const ETCD: &str = "the same etcd, bare puts, 32 clients";

/// The control plane is idle meanwhile.
async fn puts(etcd: &Etcd, round: &str) -> Result<f64> {
    etcd.puts_per_second(round, REFERENCE_CLIENTS, STORED, DURATION)
        .await
}

pub(crate) async fn measure() -> Result<Report> {
    let dir = tempfile::tempdir().context("making a directory for etcd")?;
    let etcd = Etcd::start(dir.path()).await?;
    let options = Options {
        enable_runtime: false,
        arguments: vec!["--etcd-servers".to_owned(), etcd.url()],
        ..Options::default()
    };
    let platform = Platform::start(options).await?;
    let pid = platform.pid().context("ferrovirt up has ended")?;
    let server = Server::of(&platform.dir().join("kc")).await?;

    let before = puts(&etcd, "before").await?;
    let mut measured = Vec::new();
    for (verb, name) in [
        (Verb::Create, "creates over etcd"),
        (Verb::Patch, "merge patches over etcd"),
        (Verb::Get, "gets over etcd"),
    ] {
        let prefix = name.replace(' ', "-");
        let (calls, cpu) = (etcd.calls().await?, cpu_time(etcd.pid())?);
        let reached = crowd(&server, REFERENCE_CLIENTS, verb, &prefix, DURATION, pid).await?;
        let busy = (cpu_time(etcd.pid())? - cpu).as_secs_f64() / DURATION.as_secs_f64();
        let calls = etcd.calls().await?.since(&calls);
        measured.push((name, reached, calls, busy));
    }
    let after = puts(&etcd, "after").await?;
    let reference = f64::midpoint(before, after);

    let mut rows = Vec::new();
    let mut details = serde_json::Map::new();
    for (name, reached, Calls { txn, range }, busy) in measured {
        let requests = reached.latency.n as f64;
        rows.extend([
            Row::new(
                format!("{name}, {REFERENCE_CLIENTS} clients"),
                reached.per_second,
                "/s",
            )
            .against(ETCD, reference)
            .of(reached.latency),
            Row::new(
                format!("- one of them, P50 ({name})"),
                reached.latency.p50,
                "ms",
            ),
            Row::new(
                format!("- etcd's calls for one ({name})"),
                (txn + range) / requests,
                "",
            ),
            Row::new(
                format!("- processors of the control plane ({name})"),
                reached.server_cpus,
                "",
            ),
            Row::new(format!("- processors of etcd ({name})"), busy, ""),
        ]);
        let counted = json!({"requests": requests, "txn": txn, "range": range});
        details.insert(name.to_owned(), counted);
    }
    rows.push(Row::new(
        "the reference itself: etcd's puts",
        reference,
        "/s",
    ));
    details.insert("etcdPutsPerSecond".to_owned(), json!([before, after]));
    details.insert("memory".to_owned(), json!(memory(pid)?));
    Ok(Report {
        section: "etcd",
        rows,
        details: details.into(),
        plots: Vec::new(),
    })
}
