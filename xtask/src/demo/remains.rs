//! What a platform has on the host outside its objects, found by its directory, and its removal.
//!
//! Only what lies below the directory, or bears the name of a Pod that did, is ever touched; what is
//! killed is killed by a descriptor, after its identity was checked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Sentences on what was left.
pub(super) type Left = Vec<String>;

/// What was seen while the demo ran.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Uids of Pods.
    pods: BTreeSet<String>,
    /// When the first disk was complete: an image has its final name only then.
    pub(super) disk: Option<Instant>,
    /// When the first QEMU started.
    pub(super) qemu: Option<Instant>,
}

/// A process below the directory.
struct Process {
    pid: i32,
    args: Vec<String>,
}

/// Looks at Pods, disks and processes.
pub(super) fn look(root: &Path, seen: &mut Seen) {
    seen.pods.extend(names(&root.join("pods")));
    if seen.disk.is_none() {
        let volumes = root.join("volumes");
        let complete = |volume: &String| volumes.join(volume).join("disk.img").exists();
        seen.disk = names(&volumes).iter().any(complete).then(Instant::now);
    }
    if seen.qemu.is_none() {
        seen.qemu = processes(root)
            .iter()
            .find(|p| is_qemu(p))
            .and_then(|p| started(p.pid));
    }
}

fn is_qemu(process: &Process) -> bool {
    let program = process.args.first().and_then(|a| a.rsplit('/').next());
    // QEMU is also asked for its version, which takes no monitor.
    program.is_some_and(|p| p.starts_with("qemu-system")) && process.args.len() > 4
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().into_string().ok())
        .collect()
}

/// The arguments of a process; a zombie has none, nor has one that is in the middle of its exec.
fn args(pid: i32) -> Option<Vec<String>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = line.split(|b| *b == 0).filter(|w| !w.is_empty());
    let args = words.map(|w| String::from_utf8_lossy(w).into_owned());
    Some(args.collect())
}

fn processes(root: &Path) -> Vec<Process> {
    let own = std::process::id().cast_signed();
    let shown = root.display().to_string();
    names(Path::new("/proc"))
        .into_iter()
        .filter_map(|name| name.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            Some(Process {
                pid,
                args: args(pid)?,
            })
        })
        // A zombie has neither arguments nor a directory.
        .filter(|p| {
            fs::read_link(format!("/proc/{}/cwd", p.pid)).is_ok_and(|d| d.starts_with(root))
                || p.args.iter().any(|a| a.contains(&shown))
        })
        .collect()
}

/// When a process started: proc(5), field 22 of `stat`, in ticks of a hundredth of a second since boot.
fn started(pid: i32) -> Option<Instant> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let up = fs::read_to_string("/proc/uptime").ok()?;
    let now = Instant::now();
    let (_, after_name) = stat.rsplit_once(") ")?;
    let ticks: f64 = after_name.split(' ').nth(19)?.parse().ok()?;
    let up: f64 = up.split(' ').next()?.parse().ok()?;
    now.checked_sub(Duration::try_from_secs_f64((up - ticks / 100.0).max(0.0)).ok()?)
}

fn mounts(root: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(PathBuf::from)
        .filter(|p| p.starts_with(root))
        .collect()
}

/// Control groups of the Pods, in every hierarchy.
fn groups(pods: &BTreeSet<String>) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut parents = vec![base.join("ferrovirt")];
    parents.extend(names(base).iter().map(|n| base.join(n).join("ferrovirt")));
    parents
        .iter()
        .flat_map(|parent| pods.iter().map(move |pod| parent.join(format!("pod{pod}"))))
        .filter(|group| group.is_dir())
        .collect()
}

/// Files of Pods and volumes.
fn files(root: &Path) -> Vec<PathBuf> {
    let of = |dir: &str| {
        let dir = root.join(dir);
        names(&dir)
            .into_iter()
            .map(move |n| dir.join(n))
            .collect::<Vec<_>>()
    };
    let mut all = of("pods");
    all.extend(of("volumes"));
    all
}

/// Logs of the platform and its Pods.
pub(super) fn logs(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for pod in names(&root.join("pods")) {
        let dir = root.join("pods").join(pod).join("logs");
        all.extend(names(&dir).into_iter().map(|n| dir.join(n)));
    }
    all.push(root.join("up.log"));
    all
}

/// Ends and removes all there is; says what there was.
pub(super) fn remove(root: &Path, seen: &Seen) -> Left {
    let mut left = Left::new();
    // A process may start another while it is being ended; no chain of ours is longer than this.
    for _ in 0..5 {
        let alive = processes(root);
        if alive.is_empty() {
            break;
        }
        for process in alive {
            left.push(format!(
                "process {} {}",
                process.pid,
                process.args.join(" ")
            ));
            kill(&process);
        }
    }
    for mount in mounts(root) {
        left.push(format!("mount {}", mount.display()));
        let _ = unmount(&mount, UnmountFlags::DETACH);
    }
    for group in groups(&seen.pods) {
        left.push(format!("control group {}", group.display()));
        let _ = fs::remove_dir(group);
    }
    left.extend(files(root).iter().map(|f| format!("file {}", f.display())));
    left
}

/// Ends a process and waits until it is gone.
fn kill(process: &Process) {
    let opened = Pid::from_raw(process.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let Some(Ok(fd)) = opened else { return };
    // The number may have been given to another process since it was seen.
    if args(process.pid).as_ref() != Some(&process.args) {
        return;
    }
    let _ = pidfd_send_signal(&fd, Signal::KILL);
    let bound = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&bound));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_in_the_past_and_not_far() {
        let own = std::process::id().cast_signed();
        let age = started(own).unwrap().elapsed();
        assert!(age < Duration::from_secs(600), "{age:?}");
    }

    #[test]
    fn a_process_is_found_by_its_directory_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .current_dir(&root)
            .spawn()
            .unwrap();
        // Its arguments can be read a moment after the start: the kernel lets the parent go on first.
        let pid = child.id().cast_signed();
        let bound = Instant::now() + Duration::from_secs(10);
        while args(pid).is_none_or(|a| a.is_empty()) {
            assert!(Instant::now() < bound, "it never became `sleep`");
            std::thread::yield_now();
        }
        let left = remove(&root, &Seen::default());
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].contains("sleep 600"));
        assert!(!child.wait().unwrap().success());
        assert!(remove(&root, &Seen::default()).is_empty());
    }
}
