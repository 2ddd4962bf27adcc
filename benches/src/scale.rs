//! How costs grow with the number of objects: lists, requests, memory, the next start.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use testkit::{Options, Platform};

use crate::api::{Verb, crowd};
use crate::client::Server;
use crate::objects;
use crate::plot::{Line, Plot};
use crate::proc::settled_memory;
use crate::report::{Budget, Report, Row};
use crate::stats::summary;

/// Objects of [`DATA`] bytes that are there when it is measured.
const STEPS: [usize; 4] = [100, 1_000, 10_000, 100_000];
const DATA: usize = 2000;
const CLIENTS: usize = 32;
const LISTS: usize = 9;
const SHORT: Duration = Duration::from_secs(1);
const SETTLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// Makes the objects `from..to`.
async fn fill(server: &Server, from: usize, to: usize) -> Result<Duration> {
    let begun = Instant::now();
    let connections = server.connections(CLIENTS).await?;
    let tasks = connections
        .into_iter()
        .enumerate()
        .map(async |(n, mut connection)| {
            for number in (from + n..to).step_by(CLIENTS) {
                let object = objects::config_map("scale", &format!("o-{number:06}"), DATA);
                connection.create(objects::PATH, object).await?;
            }
            anyhow::Ok(())
        });
    try_join_all(tasks).await?;
    Ok(begun.elapsed())
}

pub(crate) async fn measure() -> Result<Report> {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    let mut platform = Platform::start(options).await?;
    let mut rows = Vec::new();
    let mut details = Vec::new();
    let [
        mut lists,
        mut pages,
        mut creates,
        mut gets,
        mut memories,
        mut readies,
    ] = [const { Vec::new() }; 6];
    let mut there = 0;
    for step in STEPS {
        let server = Server::of(&platform.dir().join("kc")).await?;
        fill(&server, there, step).await?;
        there = step;
        let x = step as f64;
        let mut connection = server.connect().await?;
        let mut times = Vec::new();
        for _ in 0..LISTS {
            let asked = Instant::now();
            let bytes = connection.get(objects::PATH).await?;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
            ensure!(
                bytes > step * DATA,
                "a list of {step} objects has {bytes} bytes only"
            );
        }
        let list = summary(&times).context("nothing was listed")?;
        let mut row = Row::new(
            format!("list of {step} objects of 2 KB, P50"),
            list.p50,
            "ms",
        )
        .of(list);
        if step == 10_000 {
            row = row.budget(Budget::AtMost(50.0));
        }
        rows.push(row);
        lists.push((x, list.p50));
        let mut times = Vec::new();
        for _ in 0..LISTS {
            let asked = Instant::now();
            connection
                .get(&format!("{}?limit=500", objects::PATH))
                .await?;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        let page = summary(&times).context("nothing was listed")?;
        rows.push(Row::new(
            format!("first page of 500, {step} objects there, P50"),
            page.p50,
            "ms",
        ));
        pages.push((x, page.p50));

        // The server is started again: what it needs is what the objects need, not what the load has left.
        platform.stop().await?;
        platform.restart().await?;
        let pid = platform.pid().context("ferrovirt up has ended")?;
        let ready = ready_millis(platform.ready_line())?;
        let memory = settled_memory(pid, SETTLE.0, SETTLE.1).await?;
        let mut row = Row::new(format!("ready with {step} objects"), ready, "ms");
        let mut rss = Row::new(
            format!("control plane with {step} objects, RSS"),
            memory.rss,
            "MiB",
        );
        if step == 100_000 {
            row = row.budget(Budget::AtMost(1000.0));
            rss = rss.budget(Budget::AtMost(400.0));
        }
        rows.extend([row, rss]);
        readies.push((x, ready));
        memories.push((x, memory.rss));

        let server = Server::of(&platform.dir().join("kc")).await?;
        let prefix = format!("at-{step}");
        let created = crowd(&server, CLIENTS, Verb::Create, &prefix, SHORT, pid).await?;
        let got = crowd(&server, CLIENTS, Verb::Get, &prefix, SHORT, pid).await?;
        // What the crowds have left would count as objects of the next step.
        let theirs = format!("{}?labelSelector=app={}", objects::PATH, objects::CROWD);
        server.connect().await?.remove(&theirs).await?;
        rows.push(Row::new(
            format!("creates, {step} objects there"),
            created.per_second,
            "/s",
        ));
        rows.push(Row::new(
            format!("gets, {step} objects there"),
            got.per_second,
            "/s",
        ));
        creates.push((x, created.per_second));
        gets.push((x, got.per_second));
        details.push(
            json!({"objects": step, "list": list, "page": page, "ready": ready, "memory": memory,
            "createsPerSecond": created.per_second, "getsPerSecond": got.per_second}),
        );
    }
    Ok(Report {
        section: "scale",
        rows,
        details: json!(details),
        plots: vec![
            Plot {
                name: "milliseconds-by-objects",
                title: "Lists and starts by number of objects of 2 KB",
                x: "objects",
                y: "milliseconds",
                lines: vec![
                    Line::new("list of all", lists),
                    Line::new("page of 500", pages),
                    Line::new("ready", readies),
                ],
            },
            Plot {
                name: "requests-by-objects",
                title: "Requests a second, 32 clients, by number of objects of 2 KB",
                x: "objects",
                y: "requests a second",
                lines: vec![
                    Line::new("gets", gets),
                    Line::new("durable creates", creates),
                ],
            },
            Plot {
                name: "memory-by-objects",
                title: "Control plane's RSS by number of objects of 2 KB",
                x: "objects",
                y: "MiB",
                lines: vec![Line::new("RSS", memories)],
            },
        ],
    })
}

/// From the `ready` line, which ends with `in N ms`.
fn ready_millis(line: &str) -> Result<f64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [.., "in", number, "ms"] => number.parse().context("the time of being ready"),
        _ => anyhow::bail!("{line:?} does not say how long it took"),
    }
}
