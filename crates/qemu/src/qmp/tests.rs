//! Against a real QEMU without a guest, and against peers that misbehave.

use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command as Process};

use super::*;
use crate::EventKind;
use crate::command::{
    Cont, QueryBlock, QueryCpusFast, QueryStatus, QueryVersion, Quit, RunState, Stop,
};
use crate::event::Cause;

const BOUND: Duration = Duration::from_secs(20);

fn qemu(dir: &Path) -> Child {
    Process::new("qemu-system-x86_64")
        .current_dir(dir)
        .args([
            "-machine",
            "none",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-S",
        ])
        .args(["-qmp", "unix:qmp.sock,server=on,wait=off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn connect(dir: &Path) -> (Qmp, Events) {
    let until = Instant::now() + BOUND;
    loop {
        match Qmp::connect(&dir.join("qmp.sock")).await {
            Ok(connected) => return connected,
            Err(QmpError::Connect { .. }) if Instant::now() < until => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn event(events: &mut Events) -> EventKind {
    match timeout(BOUND, events.next()).await.unwrap().unwrap() {
        Notice::Event(event) => event.kind,
        lost @ Notice::Lost(_) => panic!("{lost:?}"),
    }
}

#[tokio::test]
async fn a_real_qemu_answers_tells_and_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = qemu(dir.path());
    let (qmp, mut events) = connect(dir.path()).await;
    assert_eq!(
        qmp.execute(QueryStatus {}).await.unwrap().status,
        RunState::Prelaunch
    );
    assert_eq!(qmp.execute(QueryVersion {}).await.unwrap(), *qmp.version());
    qmp.execute(QueryCpusFast {}).await.unwrap();
    qmp.execute(QueryBlock {}).await.unwrap();
    qmp.execute(Cont {}).await.unwrap();
    assert_eq!(event(&mut events).await, EventKind::Resume);
    qmp.execute(Stop {}).await.unwrap();
    assert_eq!(event(&mut events).await, EventKind::Stop);
    let refused = qmp.raw("no-such-command", None, BOUND).await.unwrap_err();
    assert!(matches!(refused, QmpError::Refused { error, .. } if error.class == "CommandNotFound"));

    qmp.execute(Quit {}).await.unwrap();
    assert_eq!(
        event(&mut events).await,
        EventKind::Shutdown {
            guest: false,
            reason: Cause::HostQmpQuit
        }
    );
    assert!(
        timeout(BOUND, child.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );
    assert_eq!(timeout(BOUND, events.next()).await.unwrap(), None);
    assert!(
        qmp.execute(QueryStatus {})
            .await
            .unwrap_err()
            .is_disconnected()
    );
}

#[tokio::test]
async fn the_next_client_is_served_after_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = qemu(dir.path());
    drop(connect(dir.path()).await);
    let (qmp, _events) = connect(dir.path()).await;
    assert!(!qmp.execute(QueryStatus {}).await.unwrap().running);
    child.kill().await.unwrap();
    assert!(
        qmp.execute(QueryStatus {})
            .await
            .unwrap_err()
            .is_disconnected()
    );
}

const GREETING: &[u8] =
    br#"{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}
"#;

async fn silent_peer() -> (Qmp, Events, BufReader<UnixStream>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut theirs = BufReader::new(theirs);
    let serve = async {
        theirs.write_all(GREETING).await.unwrap();
        let id = next_id(&mut theirs).await;
        theirs
            .write_all(format!("{{\"return\": {{}}, \"id\": {id}}}\n").as_bytes())
            .await
            .unwrap();
    };
    let (connected, ()) = tokio::join!(Qmp::negotiate(ours), serve);
    let (qmp, events) = connected.unwrap();
    (qmp, events, theirs)
}

async fn next_id(peer: &mut BufReader<UnixStream>) -> u64 {
    let mut line = String::new();
    peer.read_line(&mut line).await.unwrap();
    serde_json::from_str::<Value>(&line).unwrap()["id"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn an_answer_after_its_time_is_not_taken_for_another() {
    let (qmp, _events, mut peer) = silent_peer().await;
    let late = qmp
        .raw("query-status", None, Duration::from_millis(10))
        .await
        .unwrap_err();
    assert!(matches!(late, QmpError::TimedOut { .. }));
    let first = next_id(&mut peer).await;
    let serve = async {
        let second = next_id(&mut peer).await;
        let both = format!(
            "{{\"return\": \"late\", \"id\": {first}}}\n{{\"return\": \"own\", \"id\": {second}}}\n"
        );
        peer.write_all(both.as_bytes()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(qmp.raw("query-version", None, BOUND), serve);
    assert_eq!(answer.unwrap(), "own");
}

#[tokio::test]
async fn lost_events_are_told() {
    let (qmp, mut events, mut peer) = silent_peer().await;
    for _ in 0..limits::EVENTS + 10 {
        peer.write_all(b"{\"event\": \"STOP\"}\n").await.unwrap();
    }
    let serve = async {
        let id = next_id(&mut peer).await;
        peer.write_all(format!("{{\"return\": {{}}, \"id\": {id}}}\n").as_bytes())
            .await
            .unwrap();
    };
    // The answer comes behind the events, so all of them were handed on when it is here.
    let (answer, ()) = tokio::join!(qmp.raw("query-status", None, BOUND), serve);
    answer.unwrap();
    for _ in 0..limits::EVENTS {
        assert_eq!(event(&mut events).await, EventKind::Stop);
    }
    peer.write_all(b"{\"event\": \"RESUME\"}\n").await.unwrap();
    assert_eq!(
        timeout(BOUND, events.next()).await.unwrap(),
        Some(Notice::Lost(10))
    );
    assert_eq!(event(&mut events).await, EventKind::Resume);
}

#[tokio::test]
async fn a_peer_that_is_not_qemu_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
    };
    let (connected, ()) = tokio::join!(Qmp::connect(&path), serve);
    assert!(matches!(connected, Err(QmpError::Negotiation(_))));
}
