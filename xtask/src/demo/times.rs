//! The table of times.

use std::fmt;
use std::time::Duration;

/// How long each step took.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// `ferrovirt up` to its `ready` line.
    pub(super) ready: Duration,
    /// `apply` to the complete disk.
    pub(super) import: Duration,
    /// The disk is there, to QEMU's process.
    pub(super) create: Duration,
    /// QEMU's process to the first line of the guest's kernel.
    pub(super) kernel: Duration,
    /// From there to the login prompt.
    pub(super) login: Duration,
    /// `stop` to `Stopped`.
    pub(super) stop: Duration,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.import + self.create + self.kernel + self.login;
        let rows = [
            ("ready", self.ready, "`ferrovirt up` to its ready line"),
            ("import", self.import, "`apply` to a complete disk"),
            (
                "create to QEMU",
                self.create,
                "a complete disk to QEMU's process",
            ),
            (
                "QEMU to kernel",
                self.kernel,
                "QEMU's process to the kernel's first line",
            ),
            (
                "kernel to login",
                self.login,
                "the kernel's first line to the login prompt",
            ),
            ("apply to login", total, "the four above"),
            ("stop", self.stop, "power button to Stopped"),
        ];
        writeln!(f, "{:<16} {:>9}   FROM, TO", "STEP", "SECONDS")?;
        for (step, time, what) in rows {
            writeln!(f, "{step:<16} {:>9.2}   {what}", time.as_secs_f64())?;
        }
        write!(
            f,
            "(unoptimized build; serial output is seen within 0.1 s of being written)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_total_is_a_sum() {
        let times = Times {
            import: Duration::from_millis(1500),
            login: Duration::from_millis(2500),
            ..Times::default()
        };
        let table = times.to_string();
        assert!(
            table.contains("import                1.50   `apply`"),
            "{table}"
        );
        assert!(table.contains("apply to login        4.00"), "{table}");
    }
}
