//! What a platform has outside its objects, found by looking at the host: processes, mounts, cgroups.
//! And the removal of all of it, whatever state it is in.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};

use crate::processes::{self, Process};

/// Names of platform directories begin with it.
pub(crate) const PREFIX: &str = "fvt-";
/// Where they are: short, since socket paths are limited to 108 bytes.
pub(crate) const PARENT: &str = "/tmp";
/// In a platform's directory: pid and start time of the test that owns it.
const OWNER: &str = "owner";
/// In a platform's directory: the uids of all Pods it ever had.
const PODS: &str = "pods-seen";
/// More rounds than any chain of processes that start one another needs.
const ROUNDS: usize = 5;

/// Mount points below a directory.
pub(crate) fn mounts(root: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(root))
        .collect()
}

/// Directories of the cgroups of these Pods, in every hierarchy.
pub(crate) fn cgroups(pods: &BTreeSet<String>) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut parents = vec![base.join("ferrovirt")];
    let hierarchies = fs::read_dir(base).into_iter().flatten().flatten();
    parents.extend(hierarchies.map(|h| h.path().join("ferrovirt")));
    parents
        .iter()
        .flat_map(|parent| pods.iter().map(move |pod| parent.join(format!("pod{pod}"))))
        .filter(|group| group.is_dir())
        .collect()
}

/// Processes of a platform: by directory, and by the cgroups of its Pods.
pub(crate) fn processes(root: &Path, pods: &BTreeSet<String>) -> Vec<Process> {
    let members: BTreeSet<u32> = cgroups(pods)
        .iter()
        .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
        .flat_map(|list| {
            list.lines()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect();
    let mut all = processes::below(root);
    for process in processes::of(&members) {
        if !all.iter().any(|p| p.pid == process.pid) {
            all.push(process);
        }
    }
    all
}

/// The Pods that a platform ever had: those written down and those whose directories are there.
pub(crate) fn pods(root: &Path) -> BTreeSet<String> {
    let written = fs::read_to_string(root.join(PODS)).unwrap_or_default();
    let present = fs::read_dir(root.join("data/pods"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    written.lines().map(str::to_owned).chain(present).collect()
}

/// Writes the Pods down that are not yet.
pub(crate) fn note_pods(root: &Path, known: &mut BTreeSet<String>) {
    let new: Vec<String> = pods(root).difference(known).cloned().collect();
    if new.is_empty() {
        return;
    }
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(root.join(PODS));
    if let Ok(mut file) = file {
        for pod in new {
            let _ = writeln!(file, "{pod}");
            known.insert(pod);
        }
    }
}

/// Ends and removes everything of a platform.
pub(crate) fn remove(root: &Path) {
    let pods = pods(root);
    for _ in 0..ROUNDS {
        let left = processes(root, &pods);
        if left.is_empty() {
            break;
        }
        for process in &left {
            processes::kill(process);
        }
    }
    for mount in mounts(root) {
        let _ = unmount(&mount, UnmountFlags::DETACH);
    }
    for group in cgroups(&pods) {
        let _ = fs::remove_dir(group);
    }
    let _ = fs::remove_dir_all(root);
}

/// Writes down that a directory is ours.
pub(crate) fn own(root: &Path) -> Result<()> {
    let pid = std::process::id();
    let since = start_time(pid).context("reading our own start time")?;
    fs::write(root.join(OWNER), format!("{pid} {since}")).context("marking the directory as ours")
}

/// Removes what tests have left that were killed before they could.
pub(crate) fn remove_stale() {
    for entry in fs::read_dir(PARENT).into_iter().flatten().flatten() {
        let root = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(owner) = fs::read_to_string(root.join(OWNER)) else {
            continue;
        };
        let mut words = owner.split(' ');
        let alive = words
            .next()
            .and_then(|pid| pid.parse().ok())
            .and_then(start_time)
            .is_some_and(|since| words.next() == Some(since.as_str()));
        if !alive {
            remove(&root);
        }
    }
}

/// When a process that lives was started, in clock ticks since boot (proc(5), fields 3 and 22).
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (_, after) = stat.rsplit_once(") ")?;
    if after.starts_with(['Z', 'X']) {
        return None;
    }
    after.split(' ').nth(19).map(str::to_owned)
}
