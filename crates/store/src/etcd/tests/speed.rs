//! What the store costs on top of etcd, as ratios to bare puts in the same run:
//! `cargo test --release -p ferrovirt-store --lib -- --ignored --nocapture etcd::tests::speed`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;

use super::{directory, etcd, options};
use crate::etcd::client::Repeat;
use crate::etcd::proto::PutRequest;
use crate::etcd::{EtcdStore, limits};
use crate::{Store, Write};

const CLIENTS: usize = 32;
const EACH: Duration = Duration::from_secs(5);

#[derive(Clone, PartialEq, Message)]
struct Header {}

/// How often a second all clients together get `call` done.
async fn rate<F: Future<Output = ()> + Send>(
    call: impl Fn(u64) -> F + Clone + Send + Sync + 'static,
) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (call, next) = (call.clone(), Arc::clone(&next));
            let run = async move {
                while begun.elapsed() < EACH {
                    call(next.fetch_add(1, Ordering::Relaxed)).await;
                }
            };
            // Boxed: the compiler cannot see that it is Send otherwise.
            let run: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(run);
            tokio::spawn(run)
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    next.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn reads_and_writes_as_ratios_to_bare_puts() {
    let directory = directory();
    let server = etcd(directory.path());
    let store = Arc::new(EtcdStore::open(options(&server)).await.unwrap());
    let value = Bytes::from(vec![b'x'; 1000]);

    let (client, bytes) = (Arc::clone(&store.client), value.clone());
    let bare = rate(move |n| {
        let (client, value) = (Arc::clone(&client), bytes.clone());
        async move {
            let put = PutRequest {
                key: format!("/bare/{n}").into_bytes(),
                value,
                prev_kv: false,
            };
            let path = "/etcdserverpb.KV/Put";
            let put = client.call::<Header>(path, &put, Repeat::IfNotDone, limits::WRITE);
            put.await.unwrap();
        }
    })
    .await;
    let (writer, bytes) = (Arc::clone(&store), value);
    let creates = rate(move |n| {
        let (store, value) = (Arc::clone(&writer), bytes.clone());
        async move {
            let write = Write::create(format!("/core/configmaps/ns/{n:08}"), value);
            store.commit(write).await.unwrap();
        }
    })
    .await;
    let reader = Arc::clone(&store);
    let gets = rate(move |n| {
        let store = Arc::clone(&reader);
        async move {
            let key = format!("/core/configmaps/ns/{:08}", n % 1000);
            assert!(store.get(&key).await.unwrap().0.is_some());
        }
    })
    .await;
    for (what, rate) in [("bare puts", bare), ("creates", creates), ("gets", gets)] {
        println!("{what}: {rate:.0}/s, {:.2} of bare puts", rate / bare);
    }
}
