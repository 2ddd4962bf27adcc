//! What the kernel says of a process (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::stats::settled;

/// Ticks per second in /proc; part of the kernel's interface on every architecture that we run on.
const USER_HZ: u64 = 100;
/// How often memory is looked at until it is settled.
const LOOK: Duration = Duration::from_millis(250);
/// Looks that have to agree, and by how much.
const AGREE: (usize, f64) = (4, 0.01);

/// Memory of a process in MiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss: f64,
    pub(crate) pss: f64,
    /// Its own alone: neither files nor shared memory.
    pub(crate) pss_anon: f64,
    pub(crate) threads: u64,
}

/// Reads a process's memory.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    };
    let rollup = read("smaps_rollup")?;
    let mib = |name| field(&rollup, name).map(|kib| kib as f64 / 1024.0);
    Ok(Memory {
        rss: mib("Rss").context("smaps_rollup has no Rss")?,
        pss: mib("Pss").context("smaps_rollup has no Pss")?,
        pss_anon: mib("Pss_Anon").context("smaps_rollup has no Pss_Anon")?,
        threads: field(&read("status")?, "Threads").context("status has no Threads")?,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

/// Looks at a process's memory for at least `least`, until it is settled or `most` is over.
pub(crate) async fn settled_memory(pid: u32, least: Duration, most: Duration) -> Result<Memory> {
    let begun = Instant::now();
    let mut seen = Vec::new();
    loop {
        let now = memory(pid)?;
        seen.push(now.rss);
        let passed = begun.elapsed();
        if passed >= most || (passed >= least && settled(&seen, AGREE.0, AGREE.1)) {
            return Ok(now);
        }
        sleep(LOOK).await;
    }
}

/// Processor time that a process has used.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = cpu_ticks(&text).with_context(|| format!("understanding {path}"))?;
    Ok(Duration::from_millis(ticks * 1000 / USER_HZ))
}

/// Fields 14 and 15; the name, field 2, is in parentheses and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(") ")?.1;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// When a process was started, from its start time in ticks after boot. Good to 10 ms.
pub(crate) fn started_at(start_ticks: u64) -> Timestamp {
    let up = clock_gettime(ClockId::Boottime);
    let up = SignedDuration::new(up.tv_sec, i32::try_from(up.tv_nsec).unwrap_or(0));
    let millis = i64::try_from(start_ticks * 1000 / USER_HZ).unwrap_or(i64::MAX);
    Timestamp::now() - (up - SignedDuration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory() {
        let memory = memory(std::process::id()).expect("our own");
        assert!(memory.rss >= memory.pss && memory.pss >= memory.pss_anon);
        assert!(memory.pss_anon > 0.0 && memory.threads >= 1);
    }

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(cpu_ticks("12 (a) S 1"), None);
    }

    #[test]
    fn we_were_started_in_the_past() {
        let stat = fs::read_to_string("/proc/self/stat").expect("our own");
        let after = stat.rsplit_once(") ").expect("a name").1;
        let ticks: u64 = after
            .split(' ')
            .nth(19)
            .and_then(|t| t.parse().ok())
            .expect("field 22");
        let age = Timestamp::now().duration_since(started_at(ticks));
        assert!(
            age.as_secs() < 600 && age > SignedDuration::from_millis(-20),
            "{age}"
        );
    }
}
