//! From the spawn of `ferrovirt up` to its `ready` line, and what it needs when it has nothing to do.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::bare;
use crate::proc::{Memory, settled_memory};
use crate::report::{Budget, Report, Row};
use crate::stats::summary;

/// Starts of each kind.
const STARTS: usize = 5;
const READY: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
/// For how long an idle platform is looked at.
const IDLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

struct Up {
    child: Child,
    ready: Duration,
}

async fn start(binary: &Path, dir: &Path) -> Result<Up> {
    let log = std::fs::File::create(dir.join("up.log")).context("making the log")?;
    let begun = Instant::now();
    let mut child = Command::new(binary)
        .args(["up", "--listen", "127.0.0.1:0", "--node-name", "bench"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .arg("--kubeconfig")
        .arg(dir.join("kc"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))?;
    let out = child.stdout.take().context("its output is not a pipe")?;
    let mut line = String::new();
    timeout(READY, BufReader::new(out).read_line(&mut line))
        .await
        .context("waiting for the `ready` line")?
        .context("reading its output")?;
    let ready = begun.elapsed();
    ensure!(
        line.starts_with("ready "),
        "no `ready` line but {line:?}; its log:\n{}",
        std::fs::read_to_string(dir.join("up.log")).unwrap_or_default()
    );
    Ok(Up { child, ready })
}

async fn stop(mut up: Up) -> Result<()> {
    let pid = up.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    kill_process(pid.context("it has ended")?, Signal::TERM).context("sending SIGTERM")?;
    let status = timeout(STOP, up.child.wait())
        .await
        .context("waiting for its end after SIGTERM")??;
    ensure!(status.success(), "after SIGTERM it ended with {status}");
    Ok(())
}

fn millis(all: &[Duration]) -> Vec<f64> {
    all.iter().map(|d| d.as_secs_f64() * 1e3).collect()
}

pub(crate) async fn measure(binary: &Path) -> Result<Report> {
    let temp = tempfile::Builder::new()
        .prefix("fvbench-")
        .tempdir()
        .context("making a directory")?;
    let (mut cold, mut warm, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let qemu = temp.path().join("qemu");
    std::fs::create_dir(&qemu).context("making a directory")?;
    // Taken in turns: whatever else the machine does meets all of them alike.
    for n in 0..STARTS {
        let dir = temp.path().join(n.to_string());
        std::fs::create_dir(&dir).context("making a directory")?;
        let up = start(binary, &dir).await?;
        cold.push(up.ready);
        stop(up).await?;
        let up = start(binary, &dir).await?;
        warm.push(up.ready);
        stop(up).await?;
        bare.push(bare::start(&bare::least(), &qemu, || ())?.greeting);
    }
    let last = temp.path().join((STARTS - 1).to_string());
    let up = start(binary, &last).await?;
    let pid = up.child.id().context("it has ended")?;
    let idle = settled_memory(pid, IDLE.0, IDLE.1).await?;
    stop(up).await?;

    let of = |all: &[Duration]| summary(&millis(all)).context("nothing was measured");
    let (cold, warm, bare) = (of(&cold)?, of(&warm)?, of(&bare)?);
    const BARE: &str = "bare QEMU to QMP";
    let mut rows = vec![
        Row::new("`up` to ready, new data directory, P50", cold.p50, "ms")
            .against(BARE, bare.p50)
            .of(cold),
        Row::new("`up` to ready, second start, P50", warm.p50, "ms")
            .against(BARE, bare.p50)
            .budget(Budget::AtMost(250.0))
            .of(warm),
    ];
    rows.extend(idle_rows(idle));
    Ok(Report {
        section: "ready",
        rows,
        details: json!({"cold": cold, "warm": warm, "bareQemu": bare, "idle": idle}),
        plots: Vec::new(),
    })
}

fn idle_rows(idle: Memory) -> [Row; 3] {
    // kube-apiserver and etcd, measured once for the design; not in this run.
    const KUBERNETES: &str = "kube-apiserver + etcd (not of this run)";
    [
        Row::new("control plane idle, RSS", idle.rss, "MiB")
            .against(KUBERNETES, 330.0)
            .budget(Budget::AtMost(64.0)),
        Row::new("control plane idle, PSS", idle.pss, "MiB"),
        Row::new("control plane idle, threads", idle.threads as f64, ""),
    ]
}
