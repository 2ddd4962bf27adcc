#![allow(clippy::zombie_processes, reason = "reaped through the pidfd")]

use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use super::*;

const BOUND: Duration = Duration::from_secs(20);

#[test]
fn a_name_may_hold_anything() {
    let line = b"7 (a) R 1) (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2";
    let stat = parse_stat(line).unwrap();
    assert_eq!((stat.start_time, stat.over), (4242, false));
    assert!(
        parse_stat(b"7 (zombie) Z 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1 1")
            .unwrap()
            .over
    );
    assert!(parse_stat(b"").is_none());
    assert!(parse_stat(b"7 (x) S 1").is_none());
}

#[tokio::test]
async fn a_child_is_watched_and_reaped() {
    let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    let process = Process::child(child.id()).unwrap();
    assert_eq!(
        timeout(BOUND, process.exited()).await.unwrap().unwrap(),
        Exit::Code(7)
    );
    assert!(!process.identity().is_alive());
    assert_eq!(
        timeout(BOUND, process.exited()).await.unwrap().unwrap(),
        Exit::Unknown
    );
    assert!(Process::open(process.identity()).unwrap().is_none());
    process.kill().unwrap();
}

#[tokio::test]
async fn a_killed_child_tells_its_signal() {
    let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let process = Process::child(child.id()).unwrap();
    assert!(process.identity().is_alive());
    process.kill().unwrap();
    assert_eq!(
        timeout(BOUND, process.exited()).await.unwrap().unwrap(),
        Exit::Signal(9)
    );
}

#[tokio::test]
async fn a_process_that_is_no_child_is_watched_too() {
    // The grandchild outlives its parent; its pid comes over the pipe.
    let output = Command::new("sh")
        .args(["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"])
        .output()
        .unwrap();
    let pid: u32 = String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let process = Process::open(Identity::of(pid).unwrap()).unwrap().unwrap();
    process.kill().unwrap();
    assert_eq!(
        timeout(BOUND, process.exited()).await.unwrap().unwrap(),
        Exit::Unknown
    );
}

#[tokio::test]
async fn a_pid_that_was_used_again_is_not_confused() {
    let own = Identity::own().unwrap();
    assert!(own.is_alive());
    let former = Identity {
        start_time: own.start_time - 1,
        ..own
    };
    assert!(!former.is_alive());
    assert!(Process::open(former).unwrap().is_none());
}
