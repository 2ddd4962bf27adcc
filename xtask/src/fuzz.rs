//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/` for a while, with coverage.
//!
//! Our own crates are built once more for it, with the flags of `fuzz/rustc.sh`; all others are those of the ordinary
//! build. What libFuzzer finds interesting is kept in `target/fuzz/corpus/<target>`, what fails in `target/fuzz/failed`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Names of the targets, as in `fuzz/src/main.rs`.
const TARGETS: [&str; 6] = ["request", "selector", "text", "schema", "patch", "fields"];
/// No single input may take longer, in seconds, or more memory than this, in MiB.
const BOUNDS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=2048"];
/// Inputs are not longer than this. Larger ones are the business of tests of their own.
const LENGTH: &str = "-max_len=16384";

/// How much is tried.
#[derive(Clone, Copy)]
pub(crate) enum Effort {
    /// A search of its own for so many seconds, from what earlier searches have kept: this one finds defects.
    Seconds(u32),
    /// So many inputs from the seeds of the repository and a fixed seed of chance: this one finds regressions, and says
    /// of the same tree the same thing twice. It is what CI runs.
    Runs(u32),
}

impl Effort {
    /// The corpus that is read and added to, and libFuzzer's options.
    fn options(self, target: &Path, name: &str) -> Result<(PathBuf, Vec<String>)> {
        let (corpus, options) = match self {
            Self::Seconds(seconds) => (
                target.join("fuzz/corpus").join(name),
                vec![format!("-max_total_time={seconds}")],
            ),
            Self::Runs(runs) => {
                let corpus = target.join("fuzz/fixed").join(name);
                if corpus.exists() {
                    std::fs::remove_dir_all(&corpus)
                        .with_context(|| format!("emptying {}", corpus.display()))?;
                }
                (corpus, vec![format!("-runs={runs}"), "-seed=1".to_owned()])
            }
        };
        std::fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
        Ok((corpus, options))
    }
}

/// Runs each target, or the one that is named.
pub(crate) fn run(top: &Path, effort: Effort, only: Option<&str>) -> Result<()> {
    if let Some(name) = only {
        ensure!(
            TARGETS.contains(&name),
            "no target {name:?}; there are {}",
            TARGETS.join(", ")
        );
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| top.join("target"), |directory| top.join(directory));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "ferrovirt-fuzz"])
        .env("RUSTC_WORKSPACE_WRAPPER", top.join("fuzz/rustc.sh"))
        .current_dir(top)
        .status()
        .context("running cargo")?;
    ensure!(built.success(), "the fuzz targets cannot be built");
    let binary = target.join("debug/ferrovirt-fuzz");
    let failed = target.join("fuzz/failed");
    std::fs::create_dir_all(&failed).with_context(|| format!("making {}", failed.display()))?;
    for name in TARGETS.iter().filter(|t| only.is_none_or(|o| o == **t)) {
        let (corpus, options) = effort.options(&target, name)?;
        let output = Command::new(&binary)
            .args(BOUNDS)
            .arg(LENGTH)
            .args(options)
            .arg(format!("-dict={}", top.join("fuzz/api.dict").display()))
            .arg(format!("-artifact_prefix={}/{name}-", failed.display()))
            .arg(&corpus)
            .arg(top.join("fuzz/seeds").join(name))
            .env("FERROVIRT_FUZZ", name)
            .output()
            .with_context(|| format!("running {}", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "the target {name} has failed; run it again with FERROVIRT_FUZZ={name} {} FILE\n{}",
            binary.display(),
            tail(&said)
        );
        let covered = said.lines().rev().find(|l| l.contains("cov: "));
        let runs = said.lines().rev().find(|l| l.starts_with("Done "));
        // A target that was never run, or whose coverage is not seen, checks nothing.
        let (Some(covered), Some(runs)) = (covered, runs) else {
            anyhow::bail!(
                "the target {name} has not run with coverage\n{}",
                tail(&said)
            );
        };
        println!("fuzz: {name}: {runs}; {}", covered.trim());
    }
    Ok(())
}

/// The end of what a target has said.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
