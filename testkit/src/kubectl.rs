//! The real kubectl, with a home of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// No single command of a test takes longer.
const BOUND: Duration = Duration::from_secs(120);

/// What a command has said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether it exited with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// When it did not.
    pub fn ok(self) -> Result<String> {
        ensure!(self.success, "{}{}", self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// Standard error of a command that failed.
    ///
    /// # Errors
    /// When it succeeded.
    pub fn refused(self) -> Result<String> {
        ensure!(!self.success, "it succeeded: {}", self.stdout);
        Ok(self.stderr)
    }
}

/// How client commands are called: kubectl and our own.
#[derive(Debug, Clone)]
pub struct Kubectl {
    home: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(home: &Path, kubeconfig: &Path) -> Self {
        Self {
            home: home.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// A command with this platform's kubeconfig and no other environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(&self.home)
            .kill_on_drop(true);
        command
    }

    /// Runs kubectl.
    ///
    /// # Errors
    /// When it fails.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        self.output(args, "")
            .await?
            .ok()
            .with_context(|| format!("kubectl {}", args.join(" ")))
    }

    /// Runs kubectl with something on its standard input.
    ///
    /// # Errors
    /// When it fails.
    pub async fn run_with(&self, args: &[&str], input: &str) -> Result<String> {
        self.output(args, input)
            .await?
            .ok()
            .with_context(|| format!("kubectl {} with\n{input}", args.join(" ")))
    }

    /// Runs kubectl, expecting a refusal: returns its standard error.
    ///
    /// # Errors
    /// When it succeeds.
    pub async fn refused(&self, args: &[&str], input: &str) -> Result<String> {
        self.output(args, input)
            .await?
            .refused()
            .with_context(|| format!("kubectl {} with\n{input}", args.join(" ")))
    }

    /// Runs kubectl; returns what it said, whatever came of it.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn output(&self, args: &[&str], input: &str) -> Result<Output> {
        self.program("kubectl", args, input).await
    }

    /// Runs another client with the same kubeconfig; returns what it said, whatever came of it.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn program(
        &self,
        program: impl AsRef<OsStr>,
        args: &[&str],
        input: &str,
    ) -> Result<Output> {
        let mut command = self.command(&program);
        command.args(args);
        Self::finish(command, input)
            .await
            .with_context(|| format!("{} {}", program.as_ref().display(), args.join(" ")))
    }

    /// Runs a command to its end, within a bound.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn finish(command: Command, input: &str) -> Result<Output> {
        finish(command, input).await
    }
}

async fn finish(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting it")?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    let input = input.to_owned();
    let talk = async move {
        let feed = async move {
            // It may have ended without reading all: its exit code tells.
            let _ = stdin.write_all(input.as_bytes()).await;
        };
        tokio::join!(feed, child.wait_with_output()).1
    };
    let output = timeout(BOUND, talk)
        .await
        .with_context(|| format!("it did not end within {} s", BOUND.as_secs()))??;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
