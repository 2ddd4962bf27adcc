//! Watchers that do not read: each costs a bounded amount, and its watch ends.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::wire::{self, Client, full, metric, request};

const WATCHERS: usize = 40;
const ROUNDS: usize = 60;
const BYTES: usize = 100_000;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_do_not_read_are_ended() {
    let server = wire::server_with(|config| config.watch_stall = Duration::from_secs(5)).await;
    let mut admin = Client::new(&server, "admin-token").await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    assert_eq!(admin.ask(Method::POST, MAPS, map).await.0, 201);

    // One watch of a connection that others share: the client library reads the connection, and nobody the stream.
    let mut shared = wire::http2(&server).await;
    let path = format!("https://localhost{MAPS}?watch=1&resourceVersion=0");
    let unread = shared
        .send_request(request("greedy-token", Method::GET, &path, full("")))
        .await
        .unwrap();

    // They send a request and never read a byte of the answer; the kernel takes little for them.
    let mut idle = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = wire::connect(&server, "http/1.1", Some(4096)).await;
        let head = format!(
            "GET {MAPS}?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer greedy-token\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::flush(&mut stream).await.unwrap();
        idle.push(stream);
    }
    let open = r#"apiserver_longrunning_requests{verb="WATCH",group="",version="v1",resource="configmaps""#;
    let watches = async || metric(&mut Client::new(&server, "admin-token").await, open).await;
    eventually("all watch", || async { watches().await > WATCHERS as f64 }).await;

    // One reads.
    let stream = wire::connect(&server, "http/1.1", None).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let path = format!("{MAPS}?watch=1");
    let answer = sender
        .send_request(request("modest-token", Method::GET, &path, full("")))
        .await
        .unwrap();
    let reader = tokio::spawn(async move {
        let mut body = answer.into_body();
        let (mut text, mut seen) = (Vec::new(), 0);
        while seen < ROUNDS {
            let frame = body.frame().await.unwrap().unwrap();
            text.extend_from_slice(&frame.into_data().unwrap());
            while let Some(end) = text.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                seen += usize::from(event["type"] == "MODIFIED");
            }
        }
        seen
    });

    let resident = "process_resident_memory_bytes ";
    let before = metric(&mut admin, resident).await;
    let mut most = before;
    for round in 0..ROUNDS {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": format!("{round}{}", "x".repeat(BYTES))}});
        let (code, answer) = admin.ask(Method::PUT, &format!("{MAPS}/m"), body).await;
        assert_eq!(code, 200, "{answer}");
        most = most.max(metric(&mut admin, resident).await);
    }
    assert_eq!(reader.await.unwrap(), ROUNDS);
    let ended = "ferrovirt_apiserver_slow_watches_ended_total ";
    let count = async || metric(&mut Client::new(&server, "admin-token").await, ended).await;
    eventually("the others are ended", || async {
        count().await > WATCHERS as f64
    })
    .await;
    // The reader has gone too.
    eventually("no watch is left", || async { watches().await < 1.0 }).await;
    let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
    let grown = mebibytes(most - before);
    println!(
        "{WATCHERS} watchers that did not read {:.0} MiB each: {:.0} MiB at first, {grown:.1} MiB more at most",
        (ROUNDS * BYTES) as f64 / f64::from(1 << 20),
        mebibytes(before),
    );
    // What is sent to each is 256 KiB of frames, two frames on their way and the transport's buffers; the history of
    // the store comes on top, once.
    assert!(grown < 96.0, "{grown} MiB");
    drop((idle, unread));
}
