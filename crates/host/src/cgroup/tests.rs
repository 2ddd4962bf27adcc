#![allow(clippy::zombie_processes, reason = "reaped through the pidfd")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::process::{Exit, Process};
use crate::spawn::{Launch, spawn};

const HYBRID: &str = "\
24 1 0:22 / /proc rw - proc proc rw
30 25 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
34 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw,nsdelegate
";

#[test]
fn layouts_are_told_apart() {
    let Some(Layout::V1 {
        controllers,
        unified,
    }) = Layout::parse(HYBRID)
    else {
        panic!("hybrid is v1")
    };
    assert_eq!(
        controllers[&Controller::Cpu],
        controllers[&Controller::CpuAccount]
    );
    assert_eq!(
        controllers[&Controller::Memory],
        Path::new("/sys/fs/cgroup/memory")
    );
    assert!(!controllers.contains_key(&Controller::Pids));
    assert_eq!(
        unified.as_deref(),
        Some(Path::new("/sys/fs/cgroup/unified"))
    );
    let v2 = "29 23 0:26 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n";
    assert_eq!(
        Layout::parse(v2),
        Some(Layout::V2 {
            root: "/sys/fs/c group".into()
        })
    );
    assert_eq!(Layout::parse("24 1 0:22 / /proc rw - proc proc rw\n"), None);
}

#[test]
fn limits_are_written_as_the_kubelet_writes_them() {
    let limits = Limits {
        cpu_request_milli: Some(500),
        cpu_limit_milli: Some(1500),
        memory_bytes: Some(1 << 30),
        pids: None,
    };
    let v1 = settings(&limits, false);
    assert!(v1.contains(&(Controller::Cpu, "cpu.shares", "512".into())));
    assert!(v1.contains(&(Controller::Cpu, "cpu.cfs_quota_us", "150000".into())));
    let v2 = settings(&limits, true);
    assert!(v2.contains(&(Controller::Cpu, "cpu.weight", "20".into())));
    assert!(v2.contains(&(Controller::Cpu, "cpu.max", "150000 100000".into())));
    assert!(v2.contains(&(Controller::Pids, "pids.max", "max".into())));
    let none = settings(&Limits::default(), true);
    assert!(none.contains(&(Controller::Cpu, "cpu.max", "max 100000".into())));
}

#[test]
fn names_cannot_lead_elsewhere() {
    let cgroups = Cgroups {
        layout: Layout::V2 { root: "/x".into() },
    };
    for name in ["", ".", "..", "a/b", "../x", "cgroup.procs", "a\nb"] {
        assert!(
            matches!(cgroups.group(name), Err(CgroupError::Name(_))),
            "{name:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_mountinfo_does_harm(text in ".{0,300}") {
        let _ = Layout::parse(&text);
    }

    #[test]
    fn weights_and_shares_stay_in_range(milli: u64) {
        let limits = Limits { cpu_request_milli: Some(milli), cpu_limit_milli: Some(milli), ..Limits::default() };
        let v2 = settings(&limits, true);
        let weight: u64 = v2[0].2.parse().unwrap();
        prop_assert!((1..=10_000).contains(&weight));
        let shares: u64 = settings(&limits, false)[0].2.parse().unwrap();
        prop_assert!((2..=262_144).contains(&shares));
    }
}

/// On the control groups of the host, whatever they are.
#[tokio::test]
async fn a_group_holds_counts_kills_and_goes() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let cgroups = Cgroups::detect().unwrap();
    println!("{:?} {:?}", cgroups.layout(), cgroups.controllers());
    let name = format!("test-{}", std::process::id());
    let limits = Limits {
        pids: Some(50),
        memory_bytes: Some(256 << 20),
        ..Limits::default()
    };
    let group = cgroups.create(&name, &limits).unwrap();
    assert_eq!(cgroups.create(&name, &limits).unwrap(), group);
    assert!(cgroups.names().contains(&name));

    // A process with a child, started within the group.
    let mut launch = Launch::new("/bin/sh", "/");
    launch.args = vec!["-c".into(), "sleep 1000 & wait".into()];
    launch.cgroup = group.entrance().unwrap();
    let process = spawn(launch).unwrap();
    assert!(group.processes().contains(&process.identity().pid));
    assert!(matches!(group.remove(), Err(CgroupError::Busy { .. })));
    let usage = group.usage();
    if cgroups.controllers().contains(&Controller::Pids) {
        assert!(usage.pids.unwrap() >= 1);
    }
    if cgroups.controllers().contains(&Controller::Memory) {
        assert!(usage.working_set_bytes.unwrap() <= 256 << 20);
    }

    // One that comes later.
    let later = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let later = Process::child(later.id()).unwrap();
    group.add(later.identity().pid).unwrap();

    group.dissolve().await.unwrap();
    assert!(!group.exists() && !cgroups.names().contains(&name));
    for process in [&process, &later] {
        let exit = tokio::time::timeout(Duration::from_secs(20), process.exited())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(exit, Exit::Signal(9));
    }
    group.dissolve().await.unwrap();
}
