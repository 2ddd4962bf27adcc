//! The reference of durable writes: records appended to a file, each made durable before the next.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// About what one object takes in the store.
const RECORD: [u8; 512] = [0x5a; 512];

/// Appends a second that `write` and `fdatasync` alone reach, one after another.
pub(crate) fn appends_per_second(dir: &Path, duration: Duration) -> Result<f64> {
    let path = dir.join("appends");
    let mut file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < duration {
        file.write_all(&RECORD).context("appending")?;
        file.sync_data().context("making an append durable")?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let rate = appends_per_second(dir.path(), Duration::from_millis(20)).expect("appends");
        assert!(rate > 0.0, "{rate}");
    }
}
