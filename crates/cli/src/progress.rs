//! Progress of imports on standard error: a bar on a terminal, else a line for every ten percent.
//!
//! Asked of DataVolumes: the one waited for, or those that a VM's template names.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::catalog::{Resource, encode};
use crate::limits::PROGRESS_EVERY;
use crate::output::visible;
use crate::session::Session;

/// Where progress is shown; other lines go through it so that they do not tear the bar.
pub(crate) struct Display {
    terminal: bool,
    bar: RefCell<Option<ProgressBar>>,
    /// Tens of percent that were told, by volume.
    told: RefCell<BTreeMap<String, u32>>,
    /// The volumes to ask for.
    volumes: RefCell<BTreeSet<String>>,
    done: Cell<bool>,
}

impl Display {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            bar: RefCell::default(),
            told: RefCell::default(),
            volumes: RefCell::default(),
            done: Cell::new(false),
        }
    }

    /// A line beside the bar.
    pub(crate) fn say(&self, line: &str) {
        match self.bar.borrow().as_ref() {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Learns from an object which volumes matter.
    pub(crate) fn learn(&self, resource: &Resource, object: &Value) {
        self.volumes.borrow_mut().extend(volumes(resource, object));
        let status = object
            .pointer("/status/printableStatus")
            .and_then(Value::as_str);
        self.done
            .set(matches!(status, Some("Starting" | "Running" | "Stopped")));
    }

    fn show(&self, name: &str, percent: f64) {
        if self.terminal {
            let mut slot = self.bar.borrow_mut();
            let bar = slot.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
                let style =
                    ProgressStyle::with_template("{msg} [{bar:40}] {percent:>3}% {elapsed}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar
            });
            bar.set_message(format!("importing {}", visible(name)));
            bar.set_position(tenths(percent));
            self.told.borrow_mut().entry(name.to_owned()).or_default();
        } else if let Some(line) = self.line(name, percent) {
            eprintln!("{line}");
        }
    }

    /// The line to print, if another tenth is done.
    fn line(&self, name: &str, percent: f64) -> Option<String> {
        let tens = u32::try_from(tenths(percent) / 100).unwrap_or(0);
        let mut told = self.told.borrow_mut();
        if told.get(name).is_some_and(|t| *t >= tens) {
            return None;
        }
        told.insert(name.to_owned(), tens);
        Some(format!("importing {}: {}%", visible(name), tens * 10))
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

/// `45.3%`, as CDI writes it; `N/A` is no number.
fn percent(object: &Value) -> Option<f64> {
    let text = object.pointer("/status/progress")?.as_str()?;
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(number)
}

/// Percent in tenths; within 0 to 1000.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=1000"
)]
fn tenths(percent: f64) -> u64 {
    (percent * 10.0).clamp(0.0, 1000.0) as u64
}

/// The DataVolumes an object is, or waits for.
fn volumes(resource: &Resource, object: &Value) -> Vec<String> {
    let name = |v: &Value| v.as_str().map(str::to_owned);
    match resource.plural_name().as_str() {
        "datavolumes.cdi.kubevirt.io" => object
            .pointer("/metadata/name")
            .and_then(name)
            .into_iter()
            .collect(),
        "virtualmachines.kubevirt.io" => object
            .pointer("/spec/template/spec/volumes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|v| v.pointer("/dataVolume/name").and_then(name))
            .collect(),
        _ => Vec::new(),
    }
}

/// Asks for progress until it is dropped; what cannot be read is not shown.
pub(crate) async fn follow(session: &Session, namespace: &str, display: &Display) {
    let mut tick = interval(PROGRESS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if display.done.get() {
            display.finish();
            continue;
        }
        let names = display.volumes.borrow().clone();
        for name in names {
            let path = format!(
                "/apis/cdi.kubevirt.io/v1beta1/namespaces/{}/datavolumes/{}",
                encode(namespace),
                encode(&name)
            );
            let Ok(volume) = session.get("asking for progress", &path).await else {
                continue;
            };
            let succeeded = volume
                .pointer("/status/phase")
                .is_some_and(|p| p == "Succeeded");
            // An import that was over before is no news.
            if let Some(percent) = percent(&volume)
                && (!succeeded || display.told.borrow().contains_key(&name))
            {
                display.show(&name, percent);
            }
            if succeeded {
                display.volumes.borrow_mut().remove(&name);
                display.finish();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn progress_is_read_as_cdi_writes_it() {
        let of = |text: &str| percent(&json!({"status": {"progress": text}}));
        assert_eq!(of("45.3%"), Some(45.3));
        assert_eq!(of("100.0%"), Some(100.0));
        for bad in ["N/A", "", "45", "-1%", "1e9%", "NaN%"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn without_a_terminal_every_tenth_is_a_line() {
        let display = Display::new();
        let lines: Vec<String> = [0.0, 4.0, 10.1, 19.9, 35.0, 30.0, 100.0]
            .into_iter()
            .filter_map(|p| display.line("dv", p))
            .collect();
        assert_eq!(
            lines,
            [
                "importing dv: 0%",
                "importing dv: 10%",
                "importing dv: 30%",
                "importing dv: 100%"
            ]
        );
    }

    #[test]
    fn a_vm_waits_for_the_volumes_of_its_template() {
        let resource = Resource {
            group: "kubevirt.io".to_owned(),
            plural: "virtualmachines".to_owned(),
            ..Resource::default()
        };
        let vm = json!({"spec": {"template": {"spec": {"volumes": [
            {"name": "a", "dataVolume": {"name": "disk"}},
            {"name": "b", "cloudInitNoCloud": {}},
        ]}}}});
        assert_eq!(volumes(&resource, &vm), ["disk"]);
    }
}
