//! `cargo xtask deps`: who may depend on whom.
//!
//! ```text
//!  cargo metadata --no-deps ─► Package { name, own crates, outside crates } ─┐
//!  rules (layers, edges, outside crates, each with its reason) ──────────────┼─► faults, or silence
//!  sources of layer 0 ─► lines that name a clock, a file, a socket ──────────┘
//! ```
//!
//! Invariants: what is said of a crate is said in one place ([`rules`]), with the reason; a crate
//! that is in no layer is a fault; every fault says which manifest or line, which rule, and why.

mod check;
mod purity;
mod rules;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use check::{Package, Use};

/// Checks the workspace.
pub fn run(top: &Path) -> Result<()> {
    let packages = packages(top)?;
    let mut faults = check::faults(&packages);
    faults.extend(purity::faults(top, &packages)?);
    if faults.is_empty() {
        println!("deps: {} crates keep to the layers", packages.len());
        return Ok(());
    }
    for fault in &faults {
        eprintln!("deps: {fault}");
    }
    bail!(
        "{} faults; the rules and their reasons are in xtask/src/deps/rules.rs and ARCHITECTURE.md",
        faults.len()
    )
}

/// The packages of the workspace, as cargo knows them.
fn packages(top: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(top)
        .output()
        .context("running cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("reading the output of cargo metadata")?;
    metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?
        .iter()
        .map(package)
        .collect()
}

fn package(value: &Value) -> Result<Package> {
    let text = |value: &Value, key: &str| -> Result<String> {
        Ok(value[key]
            .as_str()
            .with_context(|| format!("a package without {key}"))?
            .to_owned())
    };
    let mut package = Package {
        name: short(&text(value, "name")?),
        own: Vec::new(),
        outside: Vec::new(),
    };
    for dependency in value["dependencies"].as_array().into_iter().flatten() {
        let r#use = Use {
            name: short(&text(dependency, "name")?),
            shipped: dependency["kind"].as_str() != Some("dev"),
        };
        // Only our own crates are found by a path.
        if dependency["path"].is_string() {
            package.own.push(r#use);
        } else {
            package.outside.push(r#use);
        }
    }
    Ok(package)
}

/// The import name of a package.
fn short(name: &str) -> String {
    match name.strip_prefix("ferrovirt-") {
        Some(short) => short.to_owned(),
        None => name.to_owned(),
    }
}
