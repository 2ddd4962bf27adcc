//! Tasks of the repository, run as `cargo xtask TASK`.
//!
//! Each task is a module with one `run` function; this file only finds it.

mod schemas;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask TASK

tasks:
  schemas [--check]   generate the schemas of the built-in kinds (or check that they are current)";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["schemas"] => schemas::run(schemas::Mode::Write),
        ["schemas", "--check"] => schemas::run(schemas::Mode::Check),
        _ => bail!("{USAGE}"),
    }
}
