//! The guest's serial port, from its first byte on: the log of the launcher Pod's `guest-console-log`.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use super::cast::{AGAIN, Ferrovirt, bound};
use super::screen::Guest;

/// Seconds until the launcher's Pod writes a log.
const POD: u64 = 60;
/// What is kept of the output to look for marks in.
const KEPT: usize = 256 * 1024;

/// A log that is followed and shown.
pub(super) struct Serial {
    _verb: Child,
    output: ChildStdout,
    seen: Vec<u8>,
    guest: Guest,
}

impl Drop for Serial {
    fn drop(&mut self) {
        self.guest.pause();
    }
}

impl Serial {
    /// Follows the serial port of a machine's present instance.
    pub(super) async fn follow(ferrovirt: &Ferrovirt, vm: &str) -> Result<Self> {
        let pod = timeout(bound(POD), launcher_pod(ferrovirt, vm))
            .await
            .map_err(|_| anyhow!("no launcher Pod of {vm} runs after {POD} s"))?;
        let mut verb = ferrovirt
            .command(&["logs", "--follow", "--container=guest-console-log", &pod])
            .stdout(Stdio::piped())
            .spawn()
            .context("running `ferrovirt logs`")?;
        let output = verb.stdout.take().context("taking its output")?;
        Ok(Self {
            _verb: verb,
            output,
            seen: Vec::new(),
            guest: Guest::default(),
        })
    }

    /// Leaves the screen to others for a while.
    pub(super) fn pause(&mut self) {
        self.guest.pause();
    }

    /// Shows what the guest writes until a mark comes, and says when it did.
    pub(super) async fn until(&mut self, mark: &str, seconds: u64) -> Result<Instant> {
        let looked_for = async {
            let mut piece = vec![0; 8192];
            loop {
                if let Some(at) = find(&self.seen, mark.as_bytes()) {
                    self.seen.drain(..at + mark.len());
                    return Ok(Instant::now());
                }
                let read = self
                    .output
                    .read(&mut piece)
                    .await
                    .context("reading the serial port's log")?;
                if read == 0 {
                    bail!("the serial port's log ended before {mark:?} came");
                }
                self.guest.print(&piece[..read]);
                self.seen.extend_from_slice(&piece[..read]);
                let surplus = self.seen.len().saturating_sub(KEPT);
                self.seen.drain(..surplus);
            }
        };
        timeout(bound(seconds), looked_for)
            .await
            .map_err(|_| anyhow!("{mark:?} did not come on the serial port within {seconds} s"))?
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|w| w == mark)
}

/// The name of the Pod once its log is there.
async fn launcher_pod(ferrovirt: &Ferrovirt, vm: &str) -> String {
    let label = format!("--selector=kubevirt.io=virt-launcher,vmi.kubevirt.io/id={vm}");
    let mut again = tokio::time::interval(AGAIN);
    loop {
        again.tick().await;
        let Ok(pods) = ferrovirt.json(&["get", "pods", &label]).await else {
            continue;
        };
        let Some(name) = pods
            .pointer("/items/0/metadata/name")
            .and_then(Value::as_str)
        else {
            continue;
        };
        let log = ["logs", "--tail=1", "--container=guest-console-log", name];
        if ferrovirt.ask(&log).await.is_ok() {
            return name.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn marks_are_found_wherever_they_are() {
        assert_eq!(find(b"abc login: ", b"login:"), Some(4));
        assert_eq!(find(b"log", b"login:"), None);
    }
}
