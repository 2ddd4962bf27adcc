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

/// Flags that each microarchitecture level adds to the one below (x86-64 psABI, 3.1.1), in Linux's names.
const LEVELS: [&[&str]; 3] = [
    &[
        "cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3",
    ],
    &[
        "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave",
    ],
    &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
];

impl CpuFacts {
    /// The microarchitecture level: 1 for x86-64 without more, up to 4 for x86-64-v4.
    #[must_use]
    pub fn level(&self) -> u8 {
        let reached = LEVELS
            .iter()
            .take_while(|flags| self.flags_missing(flags).is_empty());
        1 + u8::try_from(reached.count()).unwrap_or(0)
    }

    /// Flags that are missing for the next level.
    #[must_use]
    pub fn missing_for_next_level(&self) -> Vec<&'static str> {
        let next = LEVELS.get(usize::from(self.level() - 1));
        next.map_or_else(Vec::new, |flags| self.flags_missing(flags))
    }

    fn flags_missing(&self, flags: &[&'static str]) -> Vec<&'static str> {
        let has = |f: &&&str| !self.flags.contains(**f);
        flags.iter().filter(has).copied().collect()
    }
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
    fn levels_are_those_of_the_psabi() {
        let with = |levels: usize| CpuFacts {
            flags: LEVELS[..levels]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            ..CpuFacts::default()
        };
        for levels in 0..=3 {
            assert_eq!(usize::from(with(levels).level()), levels + 1);
        }
        assert!(with(3).missing_for_next_level().is_empty());
        // A higher level without a lower one does not count.
        let mut odd = with(3);
        odd.flags.remove("popcnt");
        assert_eq!(odd.level(), 1);
        assert_eq!(odd.missing_for_next_level(), ["popcnt"]);
    }

    #[test]
    fn this_host_has_a_processor() {
        assert!(facts().unwrap().count > 0);
    }
}
