//! One control group per Pod, the same on every host.
//!
//! ```text
//!   v1, hybrid                                         v2 (unified)
//!   /sys/fs/cgroup/cpu/ferrovirt/<group>               /sys/fs/cgroup/ferrovirt/<group>
//!   /sys/fs/cgroup/memory/ferrovirt/<group>              cpu, memory, pids in one
//!   /sys/fs/cgroup/pids/ferrovirt/<group>
//!   /sys/fs/cgroup/unified/ferrovirt/<group>           (hybrid only: for cgroup.kill)
//! ```
//!
//! Invariants: a group is a directory and nothing else, so it is found again after any restart; a controller that the
//! host lacks is told ([`Cgroups::controllers`]) and its limits are not enforced; nothing outside `ferrovirt/` is
//! touched but the list of enabled controllers of the v2 root.

mod layout;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::limits;
pub use layout::{Controller, Layout};

/// Directory of all our groups.
const PARENT: &str = "ferrovirt";
/// Period of the CPU quota in microseconds, as the kubelet has it.
const PERIOD_US: u64 = 100_000;

/// Why an operation on a group failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The host has no control groups where they are looked for.
    #[error("no control groups are mounted below /sys/fs/cgroup")]
    NotMounted,
    /// A group's name is not a plain file name.
    #[error("{0:?} cannot be the name of a control group")]
    Name(String),
    /// A file operation failed.
    #[error("{action} {}", .path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Processes did not end although they were killed.
    #[error("processes of {} did not end within {} s", .path.display(), limits::CGROUP_EMPTY.as_secs())]
    Busy {
        /// The group.
        path: PathBuf,
    },
}

/// What a group may use; what is `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Share of the processors under contention, in thousandths of one.
    pub cpu_request_milli: Option<u64>,
    /// Ceiling on processor time, in thousandths of one processor.
    pub cpu_limit_milli: Option<u64>,
    /// Ceiling on memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Ceiling on processes and threads.
    pub pids: Option<u64>,
}

/// What a group uses; `None` where the host does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Processor time since the group was made.
    pub cpu_micros: Option<u64>,
    /// Memory, page cache included.
    pub memory_bytes: Option<u64>,
    /// The same without the page cache that can be dropped at once.
    pub working_set_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// The control groups of this host.
#[derive(Debug, Clone)]
pub struct Cgroups {
    layout: Layout,
}

impl Cgroups {
    /// Finds out how groups are mounted here.
    ///
    /// # Errors
    /// When they are not.
    pub fn detect() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let layout = Layout::parse(&read(path)?).ok_or(CgroupError::NotMounted)?;
        Ok(Self { layout })
    }

    /// How groups are mounted here.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The controllers that are at work in our groups.
    #[must_use]
    pub fn controllers(&self) -> BTreeSet<Controller> {
        match &self.layout {
            Layout::V1 { controllers, .. } => controllers.keys().copied().collect(),
            Layout::V2 { root } => {
                let enabled = read(&root.join("cgroup.controllers")).unwrap_or_default();
                Controller::ALL
                    .into_iter()
                    .filter(|c| enabled.split_whitespace().any(|e| e == c.v2_name()))
                    .collect()
            }
        }
    }

    /// Makes a group, or takes one that is there, and sets its limits.
    ///
    /// # Errors
    /// When a directory cannot be made or a limit is refused.
    pub fn create(&self, name: &str, limits: &Limits) -> Result<Group, CgroupError> {
        let group = self.group(name)?;
        if let Layout::V2 { root } = &self.layout {
            make(&root.join(PARENT))?;
            enable(root);
            enable(&root.join(PARENT));
        }
        for directory in group.directories() {
            make(directory)?;
        }
        group.set(limits)?;
        Ok(group)
    }

    /// A group by its name, whether it exists or not.
    ///
    /// # Errors
    /// When the name is no plain file name.
    pub fn group(&self, name: &str) -> Result<Group, CgroupError> {
        let plain = !name.is_empty()
            && name.len() <= 255
            && !name.starts_with('.')
            && !name.contains(['/', '\n', '\0']);
        if !plain || name.starts_with("cgroup.") {
            return Err(CgroupError::Name(name.into()));
        }
        let below = |root: &PathBuf| root.join(PARENT).join(name);
        Ok(match &self.layout {
            Layout::V1 {
                controllers,
                unified,
            } => Group {
                v1: controllers
                    .iter()
                    .map(|(controller, root)| (*controller, below(root)))
                    .collect(),
                v2: unified.as_ref().map(below),
                limited_by_v2: false,
            },
            Layout::V2 { root } => Group {
                v1: BTreeMap::new(),
                v2: Some(below(root)),
                limited_by_v2: true,
            },
        })
    }

    /// Names of all our groups, so that leftovers are found.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let roots: Vec<&PathBuf> = match &self.layout {
            Layout::V1 {
                controllers,
                unified,
            } => controllers.values().chain(unified).collect(),
            Layout::V2 { root } => vec![root],
        };
        let mut names = BTreeSet::new();
        for entry in roots
            .iter()
            .filter_map(|root| std::fs::read_dir(root.join(PARENT)).ok())
            .flatten()
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.extend(entry.file_name().into_string());
            }
        }
        names
    }
}

/// One group, in as many hierarchies as the host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    v1: BTreeMap<Controller, PathBuf>,
    v2: Option<PathBuf>,
    limited_by_v2: bool,
}

impl Group {
    /// Its directories; controllers that are mounted together share one.
    fn directories(&self) -> BTreeSet<&PathBuf> {
        self.v1.values().chain(&self.v2).collect()
    }

    /// Whether it exists, in any hierarchy.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.directories()
            .iter()
            .any(|directory| directory.is_dir())
    }

    /// Sets its limits. A limit whose controller the host lacks is left out.
    ///
    /// # Errors
    /// When the kernel refuses a value.
    pub fn set(&self, limits: &Limits) -> Result<(), CgroupError> {
        for (controller, file, value) in settings(limits, self.limited_by_v2) {
            let directory = if self.limited_by_v2 {
                self.v2.as_ref()
            } else {
                self.v1.get(&controller)
            };
            let Some(path) = directory.map(|d| d.join(file)) else {
                continue;
            };
            match write(&path, &value) {
                // On v2 the file is missing while its controller is not enabled.
                Err(CgroupError::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The files a new process writes "0" to in order to join, for [`crate::spawn::Launch`].
    ///
    /// # Errors
    /// When the group does not exist.
    pub fn entrance(&self) -> Result<Vec<File>, CgroupError> {
        let open = |directory: &PathBuf| {
            let path = directory.join("cgroup.procs");
            OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(|source| CgroupError::File {
                    action: "opening",
                    path,
                    source,
                })
        };
        self.directories().into_iter().map(open).collect()
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// When the group or the process does not exist.
    pub fn add(&self, pid: u32) -> Result<(), CgroupError> {
        self.directories()
            .iter()
            .try_for_each(|directory| write(&directory.join("cgroup.procs"), &pid.to_string()))
    }

    /// The processes in it.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<u32> {
        let lists = self
            .directories()
            .into_iter()
            .filter_map(|directory| read(&directory.join("cgroup.procs")).ok());
        lists
            .flat_map(|list| {
                list.lines()
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<u32>>()
            })
            .collect()
    }

    /// Kills every process in it, once; processes that are forked meanwhile may remain on v1.
    pub fn kill(&self) {
        if let Some(v2) = &self.v2
            && write(&v2.join("cgroup.kill"), "1").is_ok()
            && self.processes().is_empty()
        {
            return;
        }
        for pid in self.processes() {
            // 0 is a process of another pid namespace; it cannot be named from here.
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Kills every process in it, waits until they are gone, and removes it. One that does not exist is no error.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] when processes do not end.
    pub async fn dissolve(&self) -> Result<(), CgroupError> {
        let until = Instant::now() + limits::CGROUP_EMPTY;
        loop {
            match self.remove() {
                Err(CgroupError::Busy { path }) if Instant::now() >= until => {
                    return Err(CgroupError::Busy { path });
                }
                Err(CgroupError::Busy { .. }) => {}
                other => return other,
            }
            self.kill();
            sleep(limits::CGROUP_POLL).await;
        }
    }

    /// Removes it if no process is in it.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] when one is.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for directory in self.directories() {
            match std::fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    return Err(CgroupError::Busy {
                        path: directory.clone(),
                    });
                }
                Err(source) => {
                    return Err(CgroupError::File {
                        action: "removing",
                        path: directory.clone(),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// What it uses now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let number = |path: PathBuf| read(&path).ok()?.trim().parse::<u64>().ok();
        let keyed = |path: PathBuf, key: &str| {
            let text = read(&path).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
        };
        let (cpu_micros, memory_bytes, inactive, pids) = if self.limited_by_v2 {
            let file = |name: &str| self.v2.as_ref().map(|d| d.join(name));
            (
                file("cpu.stat").and_then(|p| keyed(p, "usage_usec ")),
                file("memory.current").and_then(number),
                file("memory.stat").and_then(|p| keyed(p, "inactive_file ")),
                file("pids.current").and_then(number),
            )
        } else {
            let file = |controller, name: &str| self.v1.get(&controller).map(|d| d.join(name));
            (
                file(Controller::CpuAccount, "cpuacct.usage")
                    .and_then(number)
                    .map(|nanos| nanos / 1000),
                file(Controller::Memory, "memory.usage_in_bytes").and_then(number),
                file(Controller::Memory, "memory.stat")
                    .and_then(|p| keyed(p, "total_inactive_file ")),
                file(Controller::Pids, "pids.current").and_then(number),
            )
        };
        let working_set_bytes =
            memory_bytes.map(|bytes| bytes.saturating_sub(inactive.unwrap_or(0)));
        Usage {
            cpu_micros,
            memory_bytes,
            working_set_bytes,
            pids,
        }
    }
}

/// Limits as the files want them. Pure.
fn settings(limits: &Limits, v2: bool) -> Vec<(Controller, &'static str, String)> {
    // As the kubelet converts: shares of 1024 per processor, at least 2; weights of 1 to 10000 (KEP 2254).
    let shares = limits.cpu_request_milli.map_or(1024, |milli| {
        (milli.saturating_mul(1024) / 1000).clamp(2, 262_144)
    });
    let quota = limits
        .cpu_limit_milli
        .map(|milli| milli.saturating_mul(PERIOD_US / 1000).max(1000));
    let unlimited =
        |value: Option<u64>, none: &str| value.map_or_else(|| none.to_owned(), |v| v.to_string());
    if v2 {
        let weight = if limits.cpu_request_milli.is_some() {
            1 + (shares - 2) * 9999 / 262_142
        } else {
            100
        };
        vec![
            (Controller::Cpu, "cpu.weight", weight.to_string()),
            (
                Controller::Cpu,
                "cpu.max",
                format!("{} {PERIOD_US}", unlimited(quota, "max")),
            ),
            (
                Controller::Memory,
                "memory.max",
                unlimited(limits.memory_bytes, "max"),
            ),
            (Controller::Pids, "pids.max", unlimited(limits.pids, "max")),
        ]
    } else {
        vec![
            (Controller::Cpu, "cpu.shares", shares.to_string()),
            (Controller::Cpu, "cpu.cfs_period_us", PERIOD_US.to_string()),
            (Controller::Cpu, "cpu.cfs_quota_us", unlimited(quota, "-1")),
            (
                Controller::Memory,
                "memory.limit_in_bytes",
                unlimited(limits.memory_bytes, "-1"),
            ),
            (Controller::Pids, "pids.max", unlimited(limits.pids, "max")),
        ]
    }
}

/// Enables our controllers for the groups below a v2 group, each on its own: one that is missing, or forbidden in a
/// delegated tree, does not keep the others from working.
fn enable(directory: &Path) {
    for controller in [Controller::Cpu, Controller::Memory, Controller::Pids] {
        let name = controller.v2_name();
        if let Err(error) = write(
            &directory.join("cgroup.subtree_control"),
            &format!("+{name}"),
        ) {
            tracing::debug!(%error, name, "a controller is not enabled");
        }
    }
}

fn make(directory: &Path) -> Result<(), CgroupError> {
    std::fs::create_dir_all(directory).map_err(|source| CgroupError::File {
        action: "making the control group",
        path: directory.into(),
        source,
    })
}

fn read(path: &Path) -> Result<String, CgroupError> {
    let failed = |source| CgroupError::File {
        action: "reading",
        path: path.into(),
        source,
    };
    let mut text = String::new();
    File::open(path)
        .map_err(failed)?
        .take(limits::PROC_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|source| CgroupError::File {
            action: "opening",
            path: path.into(),
            source,
        })?;
    file.write_all(value.as_bytes())
        .map_err(|source| CgroupError::File {
            action: "writing",
            path: path.into(),
            source,
        })
}

#[cfg(test)]
mod tests;
