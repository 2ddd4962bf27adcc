//! Shows an import: a bar on a terminal, lines elsewhere.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::timeout;

use super::cast::{AGAIN, Ferrovirt, bound};
use super::screen;

/// Seconds an import may take.
const BOUND: u64 = 90;
/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(250);
/// Seconds until its object is there.
const MADE: u64 = 30;
/// Without a terminal, a line whenever so much more of the image is there.
const STRIDE: f64 = 25.0;

/// Follows a DataVolume until it is complete.
pub(super) async fn follow(ferrovirt: &Ferrovirt, name: &str) -> Result<()> {
    let mut shown = Shown::new();
    exists(ferrovirt, name).await?;
    let object = format!("dv/{name}");
    let complete = ferrovirt.wait(&object, "jsonpath={.status.phase}=Succeeded", BOUND);
    let mut complete = std::pin::pin!(complete);
    let mut again = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            // The verb watches: it ends with the event, not at the next look.
            done = &mut complete => {
                done?;
                shown.finish();
                return Ok(());
            }
            _ = again.tick() => {
                // One answer that fails is not the end.
                if let Ok(volume) = ferrovirt.json(&["get", "dv", name]).await {
                    if volume.pointer("/status/phase").is_some_and(|p| p == "Failed") {
                        bail!("the import failed: {}", reason(&volume));
                    }
                    shown.update(&volume);
                }
            }
        }
    }
}

/// The machine's controller makes it.
async fn exists(ferrovirt: &Ferrovirt, name: &str) -> Result<()> {
    let mut again = tokio::time::interval(AGAIN);
    let there = async {
        loop {
            again.tick().await;
            if ferrovirt.json(&["get", "dv", name]).await.is_ok() {
                return;
            }
        }
    };
    timeout(bound(MADE), there)
        .await
        .map_err(|_| anyhow!("there is no DataVolume {name} after {MADE} s"))
}

/// What the conditions say of a volume that is not running.
fn reason(volume: &Value) -> String {
    let conditions = volume
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let said: Vec<&str> = conditions
        .into_iter()
        .flatten()
        .filter_map(|c| c["message"].as_str().filter(|m| !m.is_empty()))
        .collect();
    said.join("; ")
}

/// `12.34%` as a number.
fn percent(volume: &Value) -> Option<f64> {
    let text = volume.pointer("/status/progress")?.as_str()?;
    text.strip_suffix('%')?.parse().ok()
}

struct Shown {
    bar: ProgressBar,
    phase: String,
    next: f64,
}

impl Shown {
    fn new() -> Self {
        let bar = ProgressBar::new(100);
        let style = ProgressStyle::with_template("{msg:24} [{bar:40}] {pos:>3}%");
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        Self {
            bar,
            phase: String::new(),
            next: 0.0,
        }
    }

    fn update(&mut self, volume: &Value) {
        let phase = volume.pointer("/status/phase").and_then(Value::as_str);
        let phase = phase.unwrap_or("Pending");
        let percent = percent(volume);
        if !self.bar.is_hidden() {
            self.bar.set_message(phase.to_owned());
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 100"
            )]
            self.bar
                .set_position(percent.unwrap_or(0.0).clamp(0.0, 100.0) as u64);
            return;
        }
        let far = percent.is_some_and(|p| p >= self.next);
        if phase != self.phase || far {
            match percent {
                Some(percent) => {
                    screen::say(&format!("import: {phase}, {percent:.0}%"));
                    self.next = percent + STRIDE;
                }
                None => screen::say(&format!("import: {phase}")),
            }
            phase.clone_into(&mut self.phase);
        }
    }

    fn finish(self) {
        if self.bar.is_hidden() {
            screen::say("import: complete");
        } else {
            self.bar.set_position(100);
            self.bar.finish_with_message("complete");
        }
    }
}
