use std::os::unix::fs::symlink;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use super::*;
use crate::{Phase, Process, Times};

fn state(sequence: u64) -> LauncherState {
    LauncherState {
        sequence,
        phase: Phase::Running,
        launcher: Process {
            pid: 1,
            start_time: 2,
        },
        adoptions: 0,
        machine: None,
        qemu: None,
        qemu_version: None,
        vcpu_threads: vec![],
        resets: 0,
        times: Times::default(),
    }
}

#[tokio::test]
async fn a_directory_without_launcher_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Client::connect(dir.path()).await,
        Err(ClientError::NotListening { .. })
    ));
    drop(UnixListener::bind(dir.path().join(SOCKET)).unwrap());
    assert!(matches!(
        Client::connect(dir.path()).await,
        Err(ClientError::NotListening { .. })
    ));
    assert_eq!(read_state(dir.path()).unwrap(), None);
}

#[tokio::test]
async fn links_planted_in_the_directory_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("root-only.sock");
    let _listener = UnixListener::bind(&target).unwrap();
    symlink(&target, dir.path().join(SOCKET)).unwrap();
    assert!(matches!(
        Client::connect(dir.path()).await,
        Err(ClientError::Suspicious { .. })
    ));
    symlink("/etc/passwd", dir.path().join(STATE_FILE)).unwrap();
    assert!(matches!(
        read_state(dir.path()),
        Err(ClientError::File { .. })
    ));
}

#[tokio::test]
async fn a_path_longer_than_a_socket_address_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    // Bind under a short path, then move: a bound socket is an inode.
    let short = dir.path().join("s");
    let listener = UnixListener::bind(&short).unwrap();
    std::fs::rename(&short, deep.join(SOCKET)).unwrap();
    let (connected, accepted) = tokio::join!(Client::connect(&deep), listener.accept());
    connected.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn console_bytes_behind_the_reply_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let request: Option<Request> = line::read(&mut stream, limits::REQUEST_BYTES)
            .await
            .unwrap();
        assert_eq!(request, Some(Request::Console));
        let mut bytes = serde_json::to_vec(&Reply::State(Box::new(state(1)))).unwrap();
        bytes.extend_from_slice(b"\nlogin: ");
        stream.get_mut().write_all(&bytes).await.unwrap();
    };
    let (console, ()) = tokio::join!(console(dir.path()), serve);
    let mut seen = String::new();
    console.unwrap().read_to_string(&mut seen).await.unwrap();
    assert_eq!(seen, "login: ");
}

#[tokio::test]
async fn a_watch_ends_with_the_launcher() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        line::write(
            &mut stream,
            &Reply::State(Box::new(state(1))),
            limits::STATE_BYTES,
        )
        .await
        .unwrap();
        line::write(&mut stream, &state(2), limits::STATE_BYTES)
            .await
            .unwrap();
        stream.write_all(b"{\"sequence\": 3, \"pha").await.unwrap();
    };
    let (watch, ()) = tokio::join!(watch(dir.path()), serve);
    let mut watch = watch.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().sequence, 1);
    assert_eq!(watch.next().await.unwrap().unwrap().sequence, 2);
    assert_eq!(watch.next().await.unwrap(), None);
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    let endless = tokio::io::repeat(b'x');
    let read: Result<Option<Request>, _> = line::read(&mut BufReader::new(endless), 1000).await;
    assert!(matches!(read, Err(LineError::TooLong { limit: 1000 })));
}

proptest::proptest! {
    #[test]
    fn arbitrary_lines_are_refused_without_harm(bytes: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut reader = BufReader::new(bytes.as_slice());
        let _ = runtime.block_on(line::read::<Request, _>(&mut reader, 64));
    }
}
