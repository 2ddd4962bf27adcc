//! Processors of this host, from `/proc/cpuinfo` and the scheduler.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::limits;

/// Facts of the processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuFacts {
    /// Logical processors this process may use.
    pub count: u32,
    /// Sockets, cores and threads as far as the kernel tells.
    pub sockets: u32,
    /// `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    /// The marketing name.
    pub model_name: String,
    /// Family, model, stepping.
    pub family: u32,
    /// Model number.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Flags, in Linux's names.
    pub flags: BTreeSet<String>,
    /// Whether this host runs on a hypervisor itself.
    pub hypervisor: bool,
}

/// Reads the facts.
///
/// # Errors
/// When `/proc/cpuinfo` cannot be read.
pub fn facts() -> io::Result<CpuFacts> {
    let mut text = String::new();
    File::open("/proc/cpuinfo")?
        .take(limits::PROC_BYTES)
        .read_to_string(&mut text)?;
    let mut facts = parse(&text);
    if let Ok(usable) = std::thread::available_parallelism() {
        facts.count = u32::try_from(usable.get()).unwrap_or(u32::MAX);
    }
    Ok(facts)
}

fn parse(text: &str) -> CpuFacts {
    let mut facts = CpuFacts::default();
    let mut sockets = BTreeSet::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        let number = || value.parse().unwrap_or(0);
        match key {
            "processor" => facts.count += 1,
            "physical id" => drop(sockets.insert(value.to_owned())),
            // The processors of one host are alike: the first is described.
            _ if facts.count > 1 => {}
            "vendor_id" => facts.vendor = value.into(),
            "model name" => facts.model_name = value.into(),
            "cpu family" => facts.family = number(),
            "model" => facts.model = number(),
            "stepping" => facts.stepping = number(),
            "flags" => facts.flags = value.split_ascii_whitespace().map(Into::into).collect(),
            _ => {}
        }
    }
    facts.sockets = u32::try_from(sockets.len()).unwrap_or(1).max(1);
    facts.hypervisor = facts.flags.contains("hypervisor");
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processors_in_one_socket() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Xeon\n\
            stepping\t: 7\nphysical id\t: 0\nflags\t\t: fpu vmx hypervisor\n\nprocessor\t: 1\nphysical id\t: 0\n\
            flags\t\t: fpu\n";
        let facts = parse(text);
        assert_eq!((facts.count, facts.sockets, facts.model), (2, 1, 85));
        assert!(facts.hypervisor && facts.flags.contains("vmx"));
    }

    #[test]
    fn this_host_has_a_processor() {
        assert!(facts().unwrap().count > 0);
    }
}
