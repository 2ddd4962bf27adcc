//! Memory of this host, from `/proc/meminfo` and `/proc/<pid>/smaps_rollup`.

use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::limits;

/// Facts of the memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryFacts {
    /// Usable memory.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Size of a huge page.
    pub hugepage: u64,
    /// Number of huge pages.
    pub hugepages_total: u64,
    /// Number of free huge pages.
    pub hugepages_free: u64,
}

/// Reads the facts.
///
/// # Errors
/// When `/proc/meminfo` cannot be read.
pub fn facts() -> io::Result<MemoryFacts> {
    Ok(parse(&read("/proc/meminfo")?))
}

/// Proportional set size of a process: its own memory, and its share of what it shares.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn pss(pid: u32) -> io::Result<u64> {
    let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
    field(&text, "Pss").ok_or_else(|| io::Error::other("smaps_rollup has no Pss"))
}

fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(limits::PROC_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> MemoryFacts {
    let get = |name| field(text, name).unwrap_or(0);
    MemoryFacts {
        total: get("MemTotal"),
        available: get("MemAvailable"),
        swap_total: get("SwapTotal"),
        hugepage: get("Hugepagesize"),
        hugepages_total: get("HugePages_Total"),
        hugepages_free: get("HugePages_Free"),
    }
}

/// A line `Name:   123 kB`, in bytes; or without unit, as it is.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .trim();
    match value.strip_suffix("kB") {
        Some(kib) => kib.trim().parse::<u64>().ok()?.checked_mul(1024),
        None => value.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_and_counts() {
        let facts = parse(
            "MemTotal:  8000 kB\nMemAvailable: 10 kB\nHugePages_Total:  5\nHugepagesize: 2048 kB\n",
        );
        assert_eq!(
            (facts.total, facts.available, facts.hugepages_total),
            (8_192_000, 10240, 5)
        );
        assert_eq!(facts.hugepage, 2 << 20);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(pss(std::process::id()).unwrap() > 0);
        assert!(facts().unwrap().total > 0);
    }
}
