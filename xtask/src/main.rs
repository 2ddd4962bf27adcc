//! Tasks of the repository, run as `cargo xtask TASK`.
//!
//! Each task is a module with one `run` function; this file only finds it.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod demo;
mod deps;
mod fuzz;
mod schemas;
mod size;
mod sources;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask TASK

tasks:
  demo                boot a real guest and show it (use `make demo`)
  deps                check who depends on whom
  fuzz [--seconds N] [TARGET]
                      run the fuzz targets with coverage, each for N seconds (default 60)
  size                check that no source file is too long
  schemas [--check]   generate the schemas of the built-in kinds (or check that they are current)";

fn main() -> ExitCode {
    match task() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["demo"] => demo::run(top()?),
        ["deps"] => deps::run(top()?),
        ["fuzz", ref options @ ..] => {
            let (seconds, only) = match options {
                [] => (60, None),
                ["--seconds", seconds] => (number(seconds)?, None),
                ["--seconds", seconds, only] => (number(seconds)?, Some(*only)),
                [only] => (60, Some(*only)),
                _ => bail!("{USAGE}"),
            };
            fuzz::run(top()?, seconds, only)
        }
        ["size"] => size::run(top()?),
        ["schemas"] => schemas::run(schemas::Mode::Write),
        ["schemas", "--check"] => schemas::run(schemas::Mode::Check),
        _ => bail!("{USAGE}"),
    }
}

fn number(text: &str) -> Result<u32> {
    text.parse()
        .with_context(|| format!("{text:?} is not a number of seconds"))
}

/// The top of the repository.
fn top() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask/ is a direct child of the repository")
}
