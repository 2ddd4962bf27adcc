//! What the operating system says of this process: `process_*`, as Prometheus' clients name it.

use std::fs;

use super::text::Page;

/// Ticks of a second in `/proc/<pid>/stat`: Linux shows user space 100 on every architecture that Rust supports here.
const TICKS: f64 = 100.0;

pub(crate) fn render(page: &mut Page) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // The name, in parentheses, may hold anything; the third field follows it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let field = |n: usize| -> f64 {
        fields
            .get(n - 3)
            .and_then(|f| f.parse().ok())
            .unwrap_or_default()
    };
    page.single(
        "process_cpu_seconds_total",
        "counter",
        "Processor time used by user and system, in seconds.",
        (field(14) + field(15)) / TICKS,
    );
    let boot: f64 = read("/proc/stat")
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        .unwrap_or_default();
    page.single(
        "process_start_time_seconds",
        "gauge",
        "Start of the process, in seconds since 1970.",
        boot + field(22) / TICKS,
    );
    let status = read("/proc/self/status");
    let kibibytes = |name: &str| -> u64 {
        status
            .lines()
            .find_map(|line| {
                let rest = line.strip_prefix(name)?.strip_prefix(':')?;
                rest.split_whitespace().next()?.parse().ok()
            })
            .unwrap_or_default()
    };
    page.single(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory, in bytes.",
        kibibytes("VmRSS") * 1024,
    );
    page.single(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory, in bytes.",
        kibibytes("VmSize") * 1024,
    );
    let descriptors = fs::read_dir("/proc/self/fd").map(Iterator::count);
    page.single(
        "process_open_fds",
        "gauge",
        "Open file descriptors.",
        descriptors.unwrap_or_default(),
    );
    let allowed: u64 = read("/proc/self/limits")
        .lines()
        .find_map(|line| {
            let rest = line.strip_prefix("Max open files")?;
            rest.split_whitespace().next()?.parse().ok()
        })
        .unwrap_or_default();
    page.single(
        "process_max_fds",
        "gauge",
        "File descriptors that the process may have.",
        allowed,
    );
    page.single("process_threads", "gauge", "Threads.", field(20));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        let mut page = Page::default();
        render(&mut page);
        let text = page.into_text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} ")));
            line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_start_time_seconds") > 1.6e9);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
    }
}
