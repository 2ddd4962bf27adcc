//! Requests a second of clients, each with a TLS connection of its own, and how that grows with their number.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::json;
use testkit::{Options, Platform};
use tokio::sync::Barrier;

use crate::client::{Connection, Server};
use crate::durable::appends_per_second;
use crate::etcd::puts_per_second;
use crate::objects;
use crate::plot::Line;
use crate::proc::{cpu_time, memory};
use crate::report::{Budget, Report, Row};
use crate::stats::{Summary, summary};

/// The number of clients that the budgets are for, and others for the curve.
const CLIENTS: [usize; 5] = [1, 4, 16, 32, 128];
pub(crate) const REFERENCE_CLIENTS: usize = 32;
pub(crate) const DURATION: Duration = Duration::from_secs(3);
/// Of the points of the curve that no budget is for.
const SHORT: Duration = Duration::from_secs(1);
const APPENDS: Duration = Duration::from_secs(1);
const DURABLE: &str = "bare appends with fdatasync";
const ETCD: &str = "etcd, bare puts, 32 clients";
const DATA: usize = 200;
/// What such an object takes in the store.
pub(crate) const STORED: usize = 700;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Create,
    Patch,
    Get,
}

/// What a crowd of clients has reached.
pub(crate) struct Reached {
    pub(crate) per_second: f64,
    /// Of single requests, in milliseconds.
    pub(crate) latency: Summary,
    /// Processors that the control plane kept busy, of those of the machine.
    pub(crate) server_cpus: f64,
}

/// One client's requests until the time is over; their latencies in milliseconds.
async fn one(
    mut connection: Connection,
    verb: Verb,
    prefix: String,
    duration: Duration,
    go: Arc<Barrier>,
) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    let mine = format!("{prefix}-own");
    if !matches!(verb, Verb::Create) {
        let object = objects::config_map(objects::CROWD, &mine, DATA);
        connection.create(objects::PATH, object).await?;
    }
    go.wait().await;
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let number = latencies.len();
        let asked = Instant::now();
        match verb {
            Verb::Create => {
                let object =
                    objects::config_map(objects::CROWD, &format!("{prefix}-{number}"), DATA);
                connection.create(objects::PATH, object).await?;
            }
            Verb::Patch => {
                let path = objects::path(&mine);
                connection.merge(&path, objects::patch(number)).await?;
            }
            Verb::Get => {
                connection.get(&objects::path(&mine)).await?;
            }
        }
        latencies.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(latencies)
}

/// So many clients at once, all doing the same to objects of their own below `prefix`.
pub(crate) async fn crowd(
    server: &Server,
    clients: usize,
    verb: Verb,
    prefix: &str,
    duration: Duration,
    pid: u32,
) -> Result<Reached> {
    let go = Arc::new(Barrier::new(clients + 1));
    let connections = server.connections(clients).await?;
    let tasks = connections.into_iter().enumerate().map(|(n, connection)| {
        let prefix = format!("{prefix}-{n}");
        let task = tokio::spawn(one(connection, verb, prefix, duration, go.clone()));
        async move { task.await.context("a client panicked")? }
    });
    let tasks: Vec<_> = tasks.collect();
    // A client that fails never comes to the barrier: its error is what ends the wait.
    let measured = async {
        go.wait().await;
        let before = cpu_time(pid)?;
        let begun = Instant::now();
        anyhow::Ok((before, begun))
    };
    let all = try_join_all(tasks);
    tokio::pin!(all);
    let (before, begun) = tokio::select! {
        started = measured => started?,
        ended = &mut all => return ended.and_then(|_| anyhow::bail!("no client waited")),
    };
    let latencies: Vec<f64> = all.await?.into_iter().flatten().collect();
    let elapsed = begun.elapsed().as_secs_f64();
    Ok(Reached {
        per_second: latencies.len() as f64 / elapsed,
        latency: summary(&latencies).context("no request was answered")?,
        server_cpus: (cpu_time(pid)? - before).as_secs_f64() / elapsed,
    })
}

async fn appends(dir: &Path) -> Result<f64> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || appends_per_second(&dir, APPENDS))
        .await
        .context("appending panicked")?
}

/// The control plane is idle meanwhile.
async fn etcd(dir: &Path) -> Result<f64> {
    puts_per_second(dir, REFERENCE_CLIENTS, STORED, DURATION).await
}

pub(crate) async fn measure() -> Result<Report> {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    let platform = Platform::start(options).await?;
    let pid = platform.pid().context("ferrovirt up has ended")?;
    let server = Server::of(&platform.dir().join("kc")).await?;

    let before = appends(platform.dir()).await?;
    let etcd_before = etcd(platform.dir()).await?;
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    let mut written = 0;
    for (verb, name, budget) in [
        (Verb::Create, "durable creates", 10_000.0),
        (Verb::Patch, "durable merge patches", 10_000.0),
        (Verb::Get, "gets", 30_000.0),
    ] {
        let mut curve = Vec::new();
        for clients in CLIENTS {
            let is_reference = clients == REFERENCE_CLIENTS;
            let duration = if is_reference { DURATION } else { SHORT };
            let prefix = format!("{}-{clients}", name.replace(' ', "-"));
            let reached = crowd(&server, clients, verb, &prefix, duration, pid).await?;
            curve.push((clients as f64, reached.per_second));
            if matches!(verb, Verb::Create) {
                written += reached.latency.n;
            }
            if is_reference {
                rows.extend(reference_rows(name, &reached, budget));
            } else {
                let what = format!("{name}, {clients} clients");
                rows.push(Row::new(what, reached.per_second, "/s").of(reached.latency));
            }
        }
        lines.push(Line::new(name, curve));
    }
    let after = appends(platform.dir()).await?;
    let etcd_after = etcd(platform.dir()).await?;
    let reference = f64::midpoint(etcd_before, etcd_after);
    for row in rows.iter_mut().filter(|row| row.unit == "/s") {
        *row = row.clone().against(ETCD, reference);
    }
    rows.push(
        Row::new("the reference itself: etcd's puts", reference, "/s")
            .against(DURABLE, f64::midpoint(before, after)),
    );
    let loaded = memory(pid)?;
    rows.push(Row::new(
        format!("control plane after {written} objects, RSS"),
        loaded.rss,
        "MiB",
    ));
    Ok(Report {
        section: "api",
        rows,
        details: json!({
            "appendsPerSecond": [before, after],
            "etcdPutsPerSecond": [etcd_before, etcd_after],
            "memory": loaded,
        }),
        plots: vec![crate::plot::Plot {
            name: "requests-by-clients",
            title: "Requests a second by number of clients (TLS, 200-byte objects)",
            x: "clients",
            y: "requests a second",
            lines,
        }],
    })
}

fn reference_rows(name: &str, reached: &Reached, budget: f64) -> Vec<Row> {
    vec![
        Row::new(
            format!("{name}, {REFERENCE_CLIENTS} clients"),
            reached.per_second,
            "/s",
        )
        .budget(Budget::AtLeast(budget))
        .of(reached.latency),
        Row::new(
            format!("- one of them, P50 ({name})"),
            reached.latency.p50,
            "ms",
        ),
        Row::new(
            format!("- one of them, P95 ({name})"),
            reached.latency.p95,
            "ms",
        ),
        Row::new(
            format!("- processors of the control plane ({name})"),
            reached.server_cpus,
            "",
        ),
    ]
}
