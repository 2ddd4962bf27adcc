//! How control groups are mounted, from `/proc/self/mountinfo` (proc(5)). Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The controllers Ferrovirt uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Shares and quotas of processor time.
    Cpu,
    /// Counting of processor time; a part of `cpu` on v2.
    CpuAccount,
    /// Memory.
    Memory,
    /// Number of processes.
    Pids,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::CpuAccount, Self::Memory, Self::Pids];

    /// Its name as a mount option of v1.
    #[must_use]
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuAccount => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Its name in `cgroup.controllers` of v2.
    #[must_use]
    pub fn v2_name(self) -> &'static str {
        match self {
            Self::CpuAccount => "cpu",
            other => other.v1_name(),
        }
    }
}

/// Where control groups are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Controllers in hierarchies of their own, perhaps with a v2 hierarchy beside them (hybrid).
    V1 {
        /// Mount point of each controller's hierarchy.
        controllers: BTreeMap<Controller, PathBuf>,
        /// Mount point of the v2 hierarchy beside them.
        unified: Option<PathBuf>,
    },
    /// One hierarchy with all controllers.
    V2 {
        /// Its mount point.
        root: PathBuf,
    },
}

impl Layout {
    /// Reads mountinfo; `None` when no control groups are mounted.
    #[must_use]
    pub fn parse(mountinfo: &str) -> Option<Self> {
        let mut controllers = BTreeMap::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            // 36 35 98:0 /root /mount/point options [optional fields] - type source super-options
            let Some((mount, filesystem)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = mount.split(' ').nth(4).map(unescape) else {
                continue;
            };
            let mut filesystem = filesystem.split(' ');
            match filesystem.next() {
                Some("cgroup2") => unified = unified.or(Some(point)),
                Some("cgroup") => {
                    let options = filesystem.nth(1).unwrap_or_default();
                    for controller in Controller::ALL {
                        if options
                            .split(',')
                            .any(|option| option == controller.v1_name())
                        {
                            controllers
                                .entry(controller)
                                .or_insert_with(|| point.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        match (controllers.is_empty(), unified) {
            (true, None) => None,
            (true, Some(root)) => Some(Self::V2 { root }),
            (false, unified) => Some(Self::V1 {
                controllers,
                unified,
            }),
        }
    }
}

/// Blanks and the like are written as `\040`.
fn unescape(field: &str) -> PathBuf {
    let mut parts = field.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part
            .get(..3)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok())
        {
            Some(byte) => {
                path.push(char::from(byte));
                path.push_str(&part[3..]);
            }
            None => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path.into()
}
