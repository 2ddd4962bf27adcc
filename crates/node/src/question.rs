//! Questions to a QEMU that is started for them.

use std::process::Stdio;

use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// Longest answer: the list of CPU models is some 100 KiB.
const ANSWER_BYTES: u64 = 8 << 20;

/// Why QEMU could not be asked.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// It is not there, or does not start.
    #[error("starting {QEMU}: is the package qemu-system-x86 installed?")]
    Start(#[source] std::io::Error),
    /// It ended or said what cannot be understood.
    #[error("asking {QEMU} for {what}: {why}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// Why there is no answer.
        why: String,
    },
}

pub(crate) fn answer(what: &'static str, why: impl std::fmt::Display) -> DiscoverError {
    DiscoverError::Answer {
        what,
        why: why.to_string(),
    }
}

/// Starts QEMU without a guest, asks, looks at its process, and ends it.
pub(crate) async fn converse<T>(
    args: &[&str],
    questions: &[&str],
    look: impl FnOnce(u32) -> T,
) -> Result<(Vec<Value>, T), DiscoverError> {
    let mut command = Command::new(QEMU);
    // It does not end when its standard input does: a platform that is killed here would leave it.
    host::spawn::die_with_parent(&mut command);
    let mut child = command
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-qmp", "stdio"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(DiscoverError::Start)?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(answer("anything", "it has no standard streams"));
    };
    let mut lines = BufReader::new(stdout.take(ANSWER_BYTES)).lines();
    let mut answers = Vec::new();
    for question in std::iter::once(&"qmp_capabilities").chain(questions) {
        let line = format!("{{\"execute\":\"{question}\"}}\n");
        stdin
            .write_all(line.as_bytes())
            .await
            .map_err(|e| answer("capabilities", e))?;
        loop {
            let line = lines
                .next_line()
                .await
                .map_err(|e| answer("capabilities", e))?;
            let line = line.ok_or_else(|| answer("capabilities", "it ended"))?;
            let value: Value =
                serde_json::from_str(&line).map_err(|e| answer("capabilities", e))?;
            if let Some(result) = value.get("return") {
                answers.push(result.clone());
                break;
            }
            if let Some(error) = value.get("error") {
                return Err(answer("capabilities", error));
            }
        }
    }
    let seen = look(child.id().unwrap_or(0));
    // Dropping it kills it; it has nothing to lose.
    drop(stdin);
    let _ = child.kill().await;
    Ok((answers.split_off(1), seen))
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
