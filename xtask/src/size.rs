//! `cargo xtask size`: no source file grows past what one can hold in mind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Lines of a file, tests included. 150 are good, 400 a reason to think.
const LIMIT: usize = 700;

/// Checks every Rust source of the repository.
pub fn run(top: &Path) -> Result<()> {
    let files = crate::sources::rust_files(top)?;
    let mut over = 0;
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let lines = text.lines().count();
        if lines > LIMIT {
            let shown = file.strip_prefix(top).unwrap_or(file).display();
            eprintln!("size: {shown} has {lines} lines: split it (the limit is {LIMIT})");
            over += 1;
        }
    }
    if over > 0 {
        bail!("{over} files are too long");
    }
    println!("size: {} files, none over {LIMIT} lines", files.len());
    Ok(())
}
