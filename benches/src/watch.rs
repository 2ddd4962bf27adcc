//! How soon watchers see what is written.
//!
//! ```text
//!  writers ─ patch with the time of sending ─► server ─► W watchers, a TLS connection each
//!                └──────────────── latency of one delivery ───────────────┘
//! ```
//!
//! The latency of a delivery is counted from before the patch was sent: the write itself, durable, is part of it.
//! Every watcher has to see every write; a missing one fails the measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use serde_json::json;
use testkit::{Options, Platform};
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use crate::client::{Connection, Server};
use crate::objects;
use crate::plot::{Line, Plot};
use crate::proc::{cpu_time, memory};
use crate::report::{Budget, Report, Row};
use crate::stats::{Summary, summary};

/// Watchers and writes a second that are tried.
const LOADS: [(usize, u32); 7] = [
    (1, 1000),
    (10, 1000),
    (100, 100),
    (100, 1000),
    (1000, 10),
    (1000, 100),
    (1000, 1000),
];
const WRITERS: u32 = 10;
const DURATION: Duration = Duration::from_secs(3);
/// For how long watchers may lag behind the last write before the measurement has failed.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Latencies that are kept of one watcher, at most.
const KEPT: usize = 4000;
const MARK: &str = "\"sent\":\"";

struct Load {
    latency: Summary,
    writes_per_second: f64,
    deliveries_per_second: f64,
    server_cpus: f64,
    rss: f64,
}

/// Reads a watch until as many events were seen as were written, once that is known.
async fn follow(
    mut body: Incoming,
    begun: Instant,
    done: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    let mut seen = 0_u64;
    let mut rest: Vec<u8> = Vec::new();
    loop {
        if done.load(Ordering::Acquire) && seen >= written.load(Ordering::Acquire) {
            return Ok(latencies);
        }
        let frame = match timeout(Duration::from_millis(100), body.frame()).await {
            Ok(frame) => frame.context("a watch ended")?.context("reading a watch")?,
            Err(_) => continue,
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let now = begun.elapsed();
        rest.extend_from_slice(data);
        let mut from = 0;
        while let Some(length) = rest[from..].iter().position(|b| *b == b'\n') {
            let line = std::str::from_utf8(&rest[from..from + length]).context("not UTF-8")?;
            if let Some((_, sent)) = line.split_once(MARK) {
                seen += 1;
                if latencies.len() < KEPT {
                    let sent = sent.split('"').next().unwrap_or_default();
                    let sent: u64 = sent.parse().context("the time of sending")?;
                    latencies.push(now.as_secs_f64() * 1e3 - sent as f64 / 1e6);
                }
            }
            from += length + 1;
        }
        rest.drain(..from);
    }
}

/// Patches an object of its own at a steady pace; returns how often.
async fn write(mut to: Connection, number: u32, per_second: f64, begun: Instant) -> Result<u64> {
    let path = objects::path(&format!("watched-{number}"));
    let period = Duration::from_secs_f64(1.0 / per_second);
    // Spread over the period: writers in step would make bursts of the steady load that is wanted.
    let first = tokio::time::Instant::now() + period * number / WRITERS;
    let mut ticks = interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let until = Instant::now() + DURATION;
    let mut count = 0;
    while Instant::now() < until {
        ticks.tick().await;
        let sent = begun.elapsed().as_nanos();
        let patch = format!("{{\"data\":{{\"sent\":\"{sent}\"}}}}");
        to.merge(&path, Bytes::from(patch)).await?;
        count += 1;
    }
    Ok(count)
}

async fn load(server: &Server, watchers: usize, rate: u32, pid: u32) -> Result<Load> {
    let begun = Instant::now();
    let (done, written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    // From the present on: what was written in the load before is not of this one.
    let revision = {
        let mut connection = server.connect().await?;
        let path = format!("{}?limit=1", objects::PATH);
        let body = connection
            .send(Method::GET, &path, "application/json", Bytes::new())
            .await?
            .into_body();
        let list: serde_json::Value =
            serde_json::from_slice(&body.collect().await?.to_bytes()).context("reading a list")?;
        list["metadata"]["resourceVersion"]
            .as_str()
            .context("a list has no resourceVersion")?
            .to_owned()
    };
    let path = format!("{}?watch=1&resourceVersion={revision}", objects::PATH);
    let mut following = Vec::new();
    for mut connection in server.connections(watchers).await? {
        let body = connection
            .send(Method::GET, &path, "application/json", Bytes::new())
            .await?
            .into_body();
        let (done, written) = (done.clone(), written.clone());
        following.push(tokio::spawn(async move {
            let latencies = follow(body, begun, done, written).await;
            drop(connection);
            latencies
        }));
    }
    let writers = server.connections(WRITERS as usize).await?;
    let before = cpu_time(pid)?;
    let started = Instant::now();
    let pace = f64::from(rate) / f64::from(WRITERS);
    let writers = writers.into_iter().zip(0..);
    let writers = writers.map(|(connection, n)| write(connection, n, pace, begun));
    let total: u64 = try_join_all(writers).await?.into_iter().sum();
    let wrote_for = started.elapsed().as_secs_f64();
    written.store(total, Ordering::Release);
    done.store(true, Ordering::Release);
    let all = timeout(CATCH_UP, try_join_all(following));
    let all = all.await.context("watchers did not see every write")??;
    let took = started.elapsed().as_secs_f64();
    let server_cpus = (cpu_time(pid)? - before).as_secs_f64() / took;
    let rss = memory(pid)?.rss;
    let mut latencies = Vec::new();
    for one in all {
        latencies.extend(one?);
    }
    ensure!(total > 0, "nothing was written");
    Ok(Load {
        latency: summary(&latencies).context("no event was seen")?,
        writes_per_second: total as f64 / wrote_for,
        deliveries_per_second: (total * watchers as u64) as f64 / took,
        server_cpus,
        rss,
    })
}

pub(crate) async fn measure() -> Result<Report> {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    let platform = Platform::start(options).await?;
    let pid = platform.pid().context("ferrovirt up has ended")?;
    let server = Server::of(&platform.dir().join("kc")).await?;
    let mut connection = server.connect().await?;
    for number in 0..WRITERS {
        let object = objects::config_map("watch", &format!("watched-{number}"), 200);
        connection.create(objects::PATH, object).await?;
    }
    let mut rows = Vec::new();
    let mut details = Vec::new();
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for (watchers, rate) in LOADS {
        let load = load(&server, watchers, rate, pid).await?;
        let what = format!("{watchers} watchers, {rate} writes/s wanted");
        let mut row =
            Row::new(format!("{what}: delivery P99"), load.latency.p99, "ms").of(load.latency);
        if (watchers, rate) == (1000, 1000) {
            row = row.budget(Budget::AtMost(5.0));
        }
        rows.push(row);
        rows.push(Row::new("- P50", load.latency.p50, "ms"));
        rows.push(Row::new("- writes reached", load.writes_per_second, "/s"));
        rows.push(Row::new("- deliveries", load.deliveries_per_second, "/s"));
        rows.push(Row::new(
            "- processors of the control plane",
            load.server_cpus,
            "",
        ));
        rows.push(Row::new("- control plane, RSS", load.rss, "MiB"));
        if rate == 1000 {
            p50.push((watchers as f64, load.latency.p50));
            p99.push((watchers as f64, load.latency.p99));
        }
        details.push(json!({
            "watchers": watchers, "wanted": rate, "latency": load.latency,
            "writesPerSecond": load.writes_per_second, "deliveriesPerSecond": load.deliveries_per_second,
        }));
    }
    Ok(Report {
        section: "watch",
        rows,
        details: json!(details),
        plots: vec![Plot {
            name: "delivery-by-watchers",
            title: "From sending a write to its delivery, 1,000 writes a second wanted",
            x: "watchers",
            y: "milliseconds",
            lines: vec![Line::new("P50", p50), Line::new("P99", p99)],
        }],
    })
}
