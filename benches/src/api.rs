//! Requests a second of many clients, each with a TLS connection of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use testkit::{Options, Platform};
use tokio::sync::Barrier;

use crate::durable::appends_per_second;
use crate::proc::{cpu_time, memory};
use crate::report::{Budget, Report, Row};
use crate::stats::{Summary, summary};

const CLIENTS: usize = 32;
const DURATION: Duration = Duration::from_secs(3);
/// For how long the bare appends are measured, before and after.
const APPENDS: Duration = Duration::from_secs(1);
const DURABLE: &str = "bare appends with fdatasync";

#[derive(Debug, Clone, Copy)]
enum Verb {
    Create,
    Get,
}

/// What a crowd of clients has reached.
struct Reached {
    per_second: f64,
    /// Of single requests, in milliseconds.
    latency: Summary,
    /// Processors that the control plane kept busy, of those of the machine.
    server_cpus: f64,
}

async fn connect(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig).context("reading the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .context("understanding the kubeconfig")?;
    Client::try_from(config).context("making a client")
}

/// One client's requests until the time is over; their latencies in milliseconds.
async fn one(api: Api<ConfigMap>, verb: Verb, client: usize, go: Arc<Barrier>) -> Result<Vec<f64>> {
    let name = |n: usize| format!("c{client}-{n}");
    let mut object: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": name(0), "labels": {"app": "bench"}},
        "data": {"key": "v".repeat(200)},
    }))
    .context("describing an object")?;
    let mut latencies = Vec::new();
    // The handshake is none of what is measured.
    api.get_opt("none").await.context("connecting")?;
    go.wait().await;
    let begun = Instant::now();
    while begun.elapsed() < DURATION {
        let asked = Instant::now();
        match verb {
            Verb::Create => {
                object.metadata.name = Some(name(latencies.len()));
                api.create(&PostParams::default(), &object)
                    .await
                    .context("creating")?;
            }
            Verb::Get => {
                // The first that this client has made is there whatever the rate was.
                api.get(&name(0)).await.context("getting")?;
            }
        }
        latencies.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(latencies)
}

async fn crowd(clients: &[Client], verb: Verb, pid: u32) -> Result<Reached> {
    let go = Arc::new(Barrier::new(clients.len() + 1));
    let tasks = clients.iter().enumerate().map(|(n, client)| {
        let api = Api::namespaced(client.clone(), "default");
        let task = tokio::spawn(one(api, verb, n, go.clone()));
        async move { task.await.context("a client panicked")? }
    });
    let tasks: Vec<_> = tasks.collect();
    // A client that cannot connect never comes to the barrier: its error is what ends the wait.
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

pub(crate) async fn measure() -> Result<Report> {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    let platform = Platform::start(options).await?;
    let pid = platform.pid().context("ferrovirt up has ended")?;
    let kubeconfig = platform.dir().join("kc");
    let clients = try_join_all((0..CLIENTS).map(|_| connect(&kubeconfig))).await?;

    let dir = platform.dir().to_owned();
    let appends = async || {
        let dir = dir.clone();
        tokio::task::spawn_blocking(move || appends_per_second(&dir, APPENDS))
            .await
            .context("appending panicked")?
    };
    let before = appends().await?;
    let created = crowd(&clients, Verb::Create, pid).await?;
    let after = appends().await?;
    let got = crowd(&clients, Verb::Get, pid).await?;
    let loaded = memory(pid)?;
    let reference = f64::midpoint(before, after);

    let rows = vec![
        Row::new("durable creates, 32 clients", created.per_second, "/s")
            .against(DURABLE, reference)
            .budget(Budget::AtLeast(10_000.0)),
        Row::new("one create, P50", created.latency.p50, "ms").of(created.latency),
        Row::new("one create, P95", created.latency.p95, "ms").of(created.latency),
        Row::new("gets, 32 clients", got.per_second, "/s")
            .against(DURABLE, reference)
            .budget(Budget::AtLeast(30_000.0)),
        Row::new("one get, P50", got.latency.p50, "ms").of(got.latency),
        Row::new("one get, P95", got.latency.p95, "ms").of(got.latency),
        Row::new(
            "processors of the control plane, creating",
            created.server_cpus,
            "",
        ),
        Row::new(
            "processors of the control plane, getting",
            got.server_cpus,
            "",
        ),
        Row::new(
            format!("control plane after {} objects, RSS", created.latency.n),
            loaded.rss,
            "MiB",
        ),
    ];
    Ok(Report {
        section: "api",
        rows,
        details: json!({"appendsPerSecond": [before, after], "memory": loaded}),
    })
}
