//! Bounded waiting on conditions.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(100);
/// Enough for a guest to boot twice under emulation on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(150);

/// Looks again and again until `look` succeeds, for as long as a guest may take.
///
/// # Errors
/// With what the last look saw: the error of `look` says what is there instead of what was expected.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    eventually_within(PATIENCE, what, look).await
}

/// The same with another bound.
///
/// # Errors
/// With what the last look saw.
pub async fn eventually_within<T>(
    bound: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    let deadline = begun + bound;
    let mut last = "nothing yet".to_owned();
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => last = format!("{seen:#}"),
            Err(_) => last = format!("{last} (the last look did not come back)"),
        }
        if Instant::now() >= deadline {
            bail!(
                "waited {:.0} s for {what}; last seen: {last}",
                begun.elapsed().as_secs_f64()
            );
        }
        sleep(AGAIN).await;
    }
}
