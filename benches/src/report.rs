//! What was measured, beside its reference: as a table and as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::plot::Plot;
use crate::stats::Summary;

/// Where and with what it was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    kernel: String,
    qemu: String,
    profile: &'static str,
    binary_bytes: u64,
    /// Of the last minute, before the first measurement: what others were doing.
    load_before: f64,
}

impl Machine {
    pub(crate) fn read(binary: &Path) -> Result<Self> {
        let version = Command::new(crate::bare::PROGRAM)
            .arg("--version")
            .output()
            .with_context(|| format!("running {}", crate::bare::PROGRAM))?;
        let version = String::from_utf8_lossy(&version.stdout);
        let load = fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
        Ok(Self {
            cpus: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            qemu: version.lines().next().unwrap_or_default().to_owned(),
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
            binary_bytes: fs::metadata(binary).context("looking at the binary")?.len(),
            load_before: load
                .split(' ')
                .next()
                .and_then(|l| l.parse().ok())
                .unwrap_or(f64::NAN),
        })
    }
}

/// What a value is compared with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Reference {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
}

/// A budget of the design.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

impl Budget {
    fn is_kept(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<Reference>,
    /// `value` / `reference`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<Budget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) samples: Option<Summary>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            reference: None,
            ratio: None,
            budget: None,
            samples: None,
        }
    }

    pub(crate) fn against(mut self, name: &'static str, value: f64) -> Self {
        self.ratio = (value != 0.0).then(|| self.value / value);
        self.reference = Some(Reference { name, value });
        self
    }

    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    pub(crate) fn of(mut self, samples: Summary) -> Self {
        self.samples = Some(samples);
        self
    }
}

/// One section: a file of JSON and a block of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) section: &'static str,
    pub(crate) rows: Vec<Row>,
    /// Whatever else was seen; for programs.
    pub(crate) details: serde_json::Value,
    #[serde(skip)]
    pub(crate) plots: Vec<Plot>,
}

impl Report {
    pub(crate) fn write(&self, out: &Path, machine: &Machine) -> Result<()> {
        fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
        let path = out.join(format!("{}.json", self.section));
        let mut value = serde_json::to_value(self).context("writing JSON")?;
        value["machine"] = serde_json::to_value(machine).context("writing JSON")?;
        let text = serde_json::to_string_pretty(&value).context("writing JSON")?;
        fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
        for plot in &self.plots {
            let path = out.join(plot.name).with_extension("svg");
            fs::write(&path, plot.svg()).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// The table, as Markdown.
pub(crate) fn table(machine: &Machine, reports: &[Report]) -> String {
    let mut text = format!(
        "\n{} CPUs, Linux {}, {}, clients of a {} build, load {:.1} before\n\n",
        machine.cpus, machine.kernel, machine.qemu, machine.profile, machine.load_before
    );
    text += "| what | measured | reference, same run | ratio | budget |\n|---|---:|---|---:|---|\n";
    for row in reports.iter().flat_map(|r| &r.rows) {
        let reference = row.reference.as_ref().map_or_else(String::new, |r| {
            format!("{}: {} {}", r.name, number(r.value), row.unit)
        });
        let ratio = row
            .ratio
            .map_or_else(String::new, |r| format!("{}x", number(r)));
        let budget = row.budget.map_or_else(String::new, |b| {
            let (sign, bound) = match b {
                Budget::AtMost(bound) => ("≤", bound),
                Budget::AtLeast(bound) => ("≥", bound),
            };
            let kept = if b.is_kept(row.value) {
                "kept"
            } else {
                "**missed**"
            };
            format!("{sign} {}: {kept}", number(bound))
        });
        let _ = writeln!(
            text,
            "| {} | {} {} | {reference} | {ratio} | {budget} |",
            row.what,
            number(row.value),
            row.unit
        );
    }
    text
}

/// Three digits that count, and thousands in full.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            cpus: 2,
            kernel: "6.1".into(),
            qemu: "QEMU emulator version 7.2".into(),
            profile: "release",
            binary_bytes: 1,
            load_before: 0.5,
        }
    }

    #[test]
    fn ratios_and_budgets_are_said() {
        let rows = vec![
            Row::new("ready", 500.0, "ms")
                .against("bare QEMU", 50.0)
                .budget(Budget::AtMost(250.0)),
            Row::new("gets", 40_000.0, "/s").budget(Budget::AtLeast(30_000.0)),
        ];
        let report = Report {
            section: "ready",
            rows,
            details: serde_json::Value::Null,
            plots: Vec::new(),
        };
        let text = table(&machine(), &[report]);
        assert!(
            text.contains("| ready | 500 ms | bare QEMU: 50.0 ms | 10.0x | ≤ 250: **missed** |")
        );
        assert!(text.contains("| gets | 40000 /s |  |  | ≥ 30000: kept |"));
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert_eq!(Row::new("a", 1.0, "ms").against("b", 0.0).ratio, None);
    }
}
