//! A port whose QEMU end is in the test.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;

const BOUND: Duration = Duration::from_secs(20);

struct Fixture {
    guest: UnixStream,
    console: Console,
}

impl Fixture {
    fn new() -> Self {
        let (serial, guest) = UnixStream::pair().unwrap();
        Self {
            guest,
            console: Console::new(serial),
        }
    }

    async fn session(&self, typed: &[u8]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.console
            .entrance()
            .send(Session {
                stream: theirs,
                typed: typed.into(),
            })
            .await
            .unwrap();
        ours
    }

    /// Waits until the port has taken over a session: what it typed ahead arrives.
    async fn ready_session(&mut self) -> UnixStream {
        let session = self.session(b"!").await;
        assert_eq!(exactly(&mut self.guest, 1).await, b"!");
        session
    }
}

async fn exactly(stream: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(BOUND, stream.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    bytes
}

async fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(BOUND, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    bytes
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let mut fixture = Fixture::new();
    let mut session = fixture.session(b"ab").await;
    session.write_all(b"cd").await.unwrap();
    assert_eq!(exactly(&mut fixture.guest, 4).await, b"abcd");
    fixture.guest.write_all(b"login: ").await.unwrap();
    assert_eq!(exactly(&mut session, 7).await, b"login: ");
}

#[tokio::test]
async fn a_new_session_takes_over() {
    let mut fixture = Fixture::new();
    let mut first = fixture.ready_session().await;
    let mut second = fixture.ready_session().await;
    assert_eq!(rest(&mut first).await, b"");
    fixture.guest.write_all(b"x").await.unwrap();
    assert_eq!(exactly(&mut second, 1).await, b"x");
}

#[tokio::test]
async fn a_session_that_does_not_read_holds_up_nobody() {
    let mut fixture = Fixture::new();
    let mut session = fixture.ready_session().await;
    let block = [b'.'; 64 << 10];
    for _ in 0..64 {
        timeout(BOUND, fixture.guest.write_all(&block))
            .await
            .unwrap()
            .unwrap();
    }
    fixture.guest.write_all(b"newest").await.unwrap();
    drop(fixture.guest);
    // The session reads only now, and gets the newest.
    let (seen, ()) = tokio::join!(rest(&mut session), fixture.console.finish());
    assert!(seen.len() < 3 << 20, "{}", seen.len());
    assert!(seen.ends_with(b"newest"));
}

#[tokio::test]
async fn a_session_may_stop_sending_and_go_on_reading() {
    let mut fixture = Fixture::new();
    let mut session = fixture.session(b"").await;
    session.write_all(b"ls\n").await.unwrap();
    session.shutdown().await.unwrap();
    assert_eq!(exactly(&mut fixture.guest, 3).await, b"ls\n");
    fixture.guest.write_all(b"files").await.unwrap();
    drop(fixture.guest);
    assert_eq!(rest(&mut session).await, b"files");
    fixture.console.finish().await;
}

#[tokio::test]
async fn a_session_that_is_gone_leaves_the_port_open() {
    let mut fixture = Fixture::new();
    drop(fixture.ready_session().await);
    fixture.guest.write_all(&[b'x'; 100_000]).await.unwrap();
    let mut session = fixture.ready_session().await;
    fixture.guest.write_all(b"y").await.unwrap();
    // Output from before the session may or may not be seen; what comes after is.
    loop {
        if exactly(&mut session, 1).await == b"y" {
            break;
        }
    }
}
