//! `make bench`: what Ferrovirt costs, always beside a reference that was measured in the same run.
//!
//! ```text
//!  main ─► ready ─► vms ─► api ─► etcd ─► watch ─► scale ─► report ─► a table, target/bench/<section>.json, plots
//!            │       │      │
//!  reference: bare QEMU     appends made durable with fdatasync, etcd's puts
//! ```
//!
//! Invariants:
//! - Every measurement is bounded in time, and every process is one that this program started.
//! - The binary under test is the `ferrovirt` beside this executable, of the same profile.

mod api;
mod bare;
mod client;
mod durable;
mod etcd;
mod objects;
mod over_etcd;
mod plot;
mod proc;
mod ready;
mod report;
mod scale;
mod stages;
mod stats;
mod vms;
mod watch;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::report::{Machine, Report};

const USAGE: &str = "usage: ferrovirt-bench [--out DIR] [ready|vms|api|etcd|watch|scale]...
Measures all sections if none is named. Needs root, as `ferrovirt up` does.
FERROVIRT_BIN names another binary than the one beside this executable.";
/// What testkit takes the binary under test from.
const BINARY: &str = "FERROVIRT_BIN";

const SECTIONS: [&str; 6] = ["ready", "vms", "api", "etcd", "watch", "scale"];

struct Arguments {
    out: PathBuf,
    sections: Vec<String>,
}

fn arguments() -> Result<Arguments> {
    let mut all = Arguments {
        out: PathBuf::from("target/bench"),
        sections: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        match arg.as_str() {
            "--out" => all.out = given.next().context("--out wants a directory")?.into(),
            section if SECTIONS.contains(&section) => all.sections.push(arg),
            "-h" | "--help" => bail!("{USAGE}"),
            other => bail!("{other:?} is not known\n{USAGE}"),
        }
    }
    Ok(all)
}

/// Runs this program again with the binary under test named in the environment, if it is not.
fn name_the_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY) {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("finding this executable")?;
    let path = this.with_file_name("ferrovirt");
    ensure!(
        path.is_file(),
        "{} is not there: build it with `cargo build --release -p ferrovirt`",
        path.display()
    );
    let error = Command::new(&this)
        .args(std::env::args_os().skip(1))
        .env(BINARY, &path)
        .exec();
    Err(error).context("running this program again")
}

async fn measure(arguments: &Arguments, binary: &std::path::Path) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "ferrovirt-bench needs root, as `ferrovirt up` does"
    );
    let machine = Machine::read(binary)?;
    let mut reports: Vec<Report> = Vec::new();
    for section in SECTIONS {
        if !arguments.sections.is_empty() && !arguments.sections.iter().any(|s| s == section) {
            continue;
        }
        eprintln!("bench: {section}");
        let measured = match section {
            "ready" => ready::measure(binary).await,
            "vms" => Box::pin(vms::measure()).await,
            "api" => Box::pin(api::measure()).await,
            "etcd" => Box::pin(over_etcd::measure()).await,
            "watch" => Box::pin(watch::measure()).await,
            _ => Box::pin(scale::measure()).await,
        };
        let report = measured.with_context(|| format!("measuring `{section}`"))?;
        // What was measured is kept, whatever comes of the next section.
        report.write(&arguments.out, &machine)?;
        reports.push(report);
    }
    print!("{}", report::table(&machine, &reports));
    eprintln!("bench: written to {}/*.json", arguments.out.display());
    Ok(())
}

fn main() -> ExitCode {
    let run = || {
        let arguments = arguments()?;
        let binary = name_the_binary()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting the runtime")?;
        runtime.block_on(Box::pin(measure(&arguments, &binary)))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrovirt-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
