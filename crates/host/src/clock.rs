//! The wall clock, and whether anything keeps it right.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Facts of the clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockFacts {
    /// Seconds since 1970; negative before.
    pub unix_seconds: i64,
    /// Whether the kernel's clock is kept in step by NTP or the like; nothing where the kernel does not tell.
    pub synchronized: Option<bool>,
    /// The error that the kernel reckons with at most, in microseconds.
    pub max_error_us: Option<u64>,
}

/// Reads the clock, and what the kernel knows of its discipline (adjtimex(2)).
#[must_use]
pub fn facts() -> ClockFacts {
    let unix_seconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    };
    let discipline = discipline().ok();
    ClockFacts {
        unix_seconds,
        synchronized: discipline.map(|(synchronized, _)| synchronized),
        max_error_us: discipline.map(|(_, error)| error),
    }
}

#[allow(unsafe_code, reason = "adjtimex has no safe wrapper")]
fn discipline() -> io::Result<(bool, u64)> {
    // SAFETY: an all-zero timex is valid, and with no mode set the call only reads into it.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let synchronized = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    Ok((synchronized, u64::try_from(timex.maxerror).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_this_host_is_in_this_century() {
        let facts = facts();
        println!("{facts:?}");
        assert!((1_700_000_000..4_000_000_000).contains(&facts.unix_seconds));
        assert_eq!(facts.synchronized.is_some(), facts.max_error_us.is_some());
    }
}
