//! The `ferrovirt` binary, asked by its own verbs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::screen;

/// Between two looks at the API.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// A verb that waits for nothing.
const ANSWER: u64 = 30;

/// So many seconds.
pub(super) fn bound(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The binary beside ours, as cargo builds both; or `$FERROVIRT_BIN`.
pub(super) fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("FERROVIRT_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()
            .context("finding this executable")?
            .with_file_name("ferrovirt"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: run `make demo`, which builds it, or `cargo build -p ferrovirt`",
        path.display()
    );
    Ok(path)
}

/// The client.
#[derive(Debug, Clone)]
pub(super) struct Ferrovirt {
    binary: PathBuf,
    kubeconfig: PathBuf,
}

impl Ferrovirt {
    /// For the server that a kubeconfig names.
    pub(super) fn new(binary: &Path, kubeconfig: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// A verb, ready to run; it ends with us.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a verb in sight: the command, then what it writes.
    pub(super) async fn show(&self, args: &[&str]) -> Result<()> {
        screen::command(args);
        let status = timeout(bound(2 * ANSWER), self.command(args).status())
            .await
            .with_context(|| format!("`ferrovirt {}` did not end", args.join(" ")))?
            .with_context(|| format!("running {}", self.binary.display()))?;
        ensure!(
            status.success(),
            "`ferrovirt {}` failed ({status})",
            args.join(" ")
        );
        Ok(())
    }

    /// Runs a verb out of sight and gives what it answers.
    pub(super) async fn ask(&self, args: &[&str]) -> Result<String> {
        self.ask_within(ANSWER, args).await
    }

    async fn ask_within(&self, seconds: u64, args: &[&str]) -> Result<String> {
        let shown = args.join(" ");
        let output = timeout(bound(seconds), self.command(args).output())
            .await
            .with_context(|| format!("`ferrovirt {shown}` did not end within {seconds} s"))?
            .with_context(|| format!("running {}", self.binary.display()))?;
        ensure!(
            output.status.success(),
            "`ferrovirt {shown}` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// An object.
    pub(super) async fn json(&self, args: &[&str]) -> Result<Value> {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let text = self.ask(&args).await?;
        serde_json::from_str(&text).with_context(|| format!("reading `{}`", args.join(" ")))
    }

    /// Waits until an object is so.
    pub(super) async fn wait(&self, object: &str, so: &str, seconds: u64) -> Result<()> {
        let (so, time) = (format!("--for={so}"), format!("--timeout={seconds}s"));
        self.ask_within(seconds + ANSWER, &["wait", object, &so, &time])
            .await?;
        Ok(())
    }
}
