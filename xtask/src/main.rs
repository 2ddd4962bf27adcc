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

use crate::fuzz::Effort;

const USAGE: &str = "usage: cargo xtask TASK

tasks:
  demo                boot a real guest and show it (use `make demo`)
  deps                check who depends on whom
  fuzz [--seconds N | --runs N] [TARGET]
                      run the fuzz targets with coverage, each for N seconds (default 60), or with N inputs that
                      are the same each time
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
            let (effort, only) = match options {
                ["--seconds", seconds, only @ ..] => (Effort::Seconds(number(seconds)?), only),
                ["--runs", runs, only @ ..] => (Effort::Runs(number(runs)?), only),
                only => (Effort::Seconds(60), only),
            };
            match only {
                [] => fuzz::run(top()?, effort, None),
                [only] => fuzz::run(top()?, effort, Some(only)),
                _ => bail!("{USAGE}"),
            }
        }
        ["size"] => size::run(top()?),
        ["schemas"] => schemas::run(schemas::Mode::Write),
        ["schemas", "--check"] => schemas::run(schemas::Mode::Check),
        _ => bail!("{USAGE}"),
    }
}

fn number(text: &str) -> Result<u32> {
    text.parse()
        .with_context(|| format!("{text:?} is not a number"))
}

/// The top of the repository.
fn top() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask/ is a direct child of the repository")
}
