//! Reads the sources of layer 0 for what no manifest shows: the standard library's clock, files, sockets.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::check::{Package, place};
use super::rules::{IMPURE_CODE, Layer};

/// Lines of pure crates that are not pure.
pub(super) fn faults(top: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in packages {
        if !place(&package.name).is_some_and(|p| matches!(p.layer, Layer::Pure { .. })) {
            continue;
        }
        let sources = top.join("crates").join(&package.name).join("src");
        for file in crate::sources::rust_files(&sources)? {
            if is_test(&file) {
                continue;
            }
            let text =
                fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let shown = file
                .strip_prefix(top)
                .unwrap_or(&file)
                .display()
                .to_string();
            faults.extend(
                impurities(&text)
                    .into_iter()
                    .map(|(line, fault)| format!("{shown}:{line}: {fault}")),
            );
        }
    }
    Ok(faults)
}

/// Test modules by their file: they read fixtures.
fn is_test(file: &Path) -> bool {
    let in_tests = file.iter().any(|part| part == "tests");
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    in_tests || name.ends_with("tests") || name == "conformance"
}

/// Numbers of the lines that are not pure, with the reason. Comments, and test modules at the end of
/// a file, are not looked at.
pub(super) fn impurities(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line == "mod tests {" {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for (pattern, why) in IMPURE_CODE {
            if code.contains(pattern) {
                found.push((number + 1, format!("`{pattern}` in a pure crate: {why}")));
            }
        }
    }
    found
}
