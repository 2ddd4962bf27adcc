//! Measures the engines next to a bare append, for ADR 0001. Build it with optimization:
//!
//! ```text
//! cargo run --release -p ferrovirt-store --example measure [DIRECTORY] [SECONDS]
//! ```
//!
//! Every number is the median of several rounds in which the candidates take turns, because the machine may be shared;
//! the ratios to the bare append of the same round are steadier than the numbers.

#![allow(clippy::unwrap_used, reason = "a measurement that fails ends")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrovirt_store::log::{LogStore, Options};
use ferrovirt_store::redb::RedbStore;
use ferrovirt_store::{ListRequest, Retention, Revision, Store, Write};

/// The size of an ordinary Pod in JSON.
const VALUE: usize = 2500;
const KEYS: usize = 10_000;
const CLIENTS: [usize; 4] = [1, 8, 32, 64];
const ROUNDS: usize = 9;
const FOOTPRINT: &str = "footprint";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Candidate {
    /// Write and fdatasync of so many records at a time: what the device allows.
    Append,
    Log,
    Redb,
}

struct Sample {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    disk_per_write: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq(FOOTPRINT).is_some() {
        return print_footprint(Path::new(&arguments.next().unwrap()));
    }
    let directory = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments
        .next()
        .map_or(0.5, |seconds| seconds.parse().unwrap());
    let directory = directory.join(format!("store-measure-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        footprint(&directory).await;
        writes(&directory, Duration::from_secs_f64(seconds)).await;
        reads(&directory).await;
    });
    fs::remove_dir_all(&directory).unwrap();
}

fn key(n: usize) -> Arc<str> {
    format!("/core/pods/default/pod-{n:06}").into()
}

fn open(candidate: Candidate, directory: &Path) -> Arc<dyn Store> {
    match candidate {
        Candidate::Redb => Arc::new(RedbStore::open(directory, Retention::default()).unwrap()),
        _ => Arc::new(LogStore::open(directory, Options::default()).unwrap()),
    }
}

/// Creates all keys.
async fn fill(store: &Arc<dyn Store>) {
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for n in (task..KEYS).step_by(64) {
                    store
                        .commit(Write::create(key(n), vec![b'v'; VALUE]))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

fn disk(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .unwrap()
        .map(|item| item.unwrap().metadata().unwrap().len())
        .sum()
}

/// In a process of its own, so that nothing that was freed is used again.
async fn footprint(directory: &Path) {
    let directory = directory.join("footprint");
    fill(&open(Candidate::Log, &directory)).await;
    let status = Command::new(std::env::current_exe().unwrap())
        .arg(FOOTPRINT)
        .arg(&directory)
        .status();
    assert!(status.unwrap().success());
}

fn print_footprint(directory: &Path) {
    let before = resident();
    let started = Instant::now();
    let store = open(Candidate::Log, directory);
    let opened = started.elapsed();
    let overhead = (resident() - before) / KEYS as f64 - VALUE as f64;
    println!(
        "log, {KEYS} objects of {VALUE} bytes: open {opened:.1?}; {overhead:.0} bytes of memory per object beside its value, history included\n"
    );
    drop(store);
}

async fn writes(directory: &Path, period: Duration) {
    let mut samples: BTreeMap<(usize, Candidate), Vec<Sample>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for clients in CLIENTS {
            for candidate in [Candidate::Append, Candidate::Log, Candidate::Redb] {
                let directory = directory.join(format!("{candidate:?}-{clients}-{round}"));
                let sample = match candidate {
                    Candidate::Append => append(&directory, clients, period),
                    _ => commits(candidate, &directory, clients, period).await,
                };
                fs::remove_dir_all(&directory).unwrap();
                samples
                    .entry((clients, candidate))
                    .or_default()
                    .push(sample);
            }
        }
    }
    println!(
        "| clients | candidate | writes/s | of append | p50 | p99 | bytes on disk per write |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|");
    for clients in CLIENTS {
        let floor: Vec<_> = samples[&(clients, Candidate::Append)]
            .iter()
            .map(|sample| sample.per_second)
            .collect();
        for candidate in [Candidate::Append, Candidate::Log, Candidate::Redb] {
            let samples = &samples[&(clients, candidate)];
            let ratios = samples
                .iter()
                .zip(&floor)
                .map(|(sample, floor)| sample.per_second / floor);
            println!(
                "| {clients} | {candidate:?} | {:.0} | {:.2} | {:.2?} | {:.2?} | {:.0} |",
                median(samples.iter().map(|sample| sample.per_second)),
                median(ratios),
                Duration::from_secs_f64(median(
                    samples.iter().map(|sample| sample.p50.as_secs_f64())
                )),
                Duration::from_secs_f64(median(
                    samples.iter().map(|sample| sample.p99.as_secs_f64())
                )),
                median(samples.iter().map(|sample| sample.disk_per_write)),
            );
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn sample(mut latencies: Vec<Duration>, elapsed: Duration, writes: usize, disk: u64) -> Sample {
    latencies.sort();
    Sample {
        per_second: writes as f64 / elapsed.as_secs_f64(),
        p50: latencies[latencies.len() / 2],
        p99: latencies[latencies.len() * 99 / 100],
        disk_per_write: disk as f64 / writes as f64,
    }
}

fn append(directory: &Path, clients: usize, period: Duration) -> Sample {
    fs::create_dir_all(directory).unwrap();
    let mut file = File::create(directory.join("log")).unwrap();
    let batch = vec![b'v'; (VALUE + 60) * clients];
    let (started, mut latencies) = (Instant::now(), Vec::new());
    while started.elapsed() < period {
        let began = Instant::now();
        file.write_all(&batch).unwrap();
        file.sync_data().unwrap();
        latencies.push(began.elapsed());
    }
    let writes = latencies.len() * clients;
    sample(latencies, started.elapsed(), writes, disk(directory))
}

async fn commits(
    candidate: Candidate,
    directory: &Path,
    clients: usize,
    period: Duration,
) -> Sample {
    let store = open(candidate, directory);
    fill(&store).await;
    let started = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (mut latencies, mut n) = (Vec::new(), client * 7919);
                while started.elapsed() < period {
                    let write = Write::put(key(n % KEYS), vec![b'w'; VALUE]);
                    let began = Instant::now();
                    store.commit(write).await.unwrap();
                    latencies.push(began.elapsed());
                    n += 104_729;
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let elapsed = started.elapsed();
    let writes = latencies.len();
    drop(store);
    let disk_per_write = disk(directory) as f64 / (KEYS + writes) as f64;
    Sample {
        disk_per_write,
        ..sample(latencies, elapsed, writes, 0)
    }
}

async fn reads(directory: &Path) {
    println!(
        "| candidate | get | list of all {KEYS} | page of 500, newest | page of 500, 5,000 revisions ago |"
    );
    println!("|---|---:|---:|---:|---:|");
    for candidate in [Candidate::Log, Candidate::Redb] {
        let store = open(candidate, &directory.join(format!("reads-{candidate:?}")));
        fill(&store).await;
        let gets = timed(2000, async |n| {
            drop(store.get(&key(n * 37 % KEYS)).await.unwrap());
        })
        .await;
        let lists = timed(20, async |_| {
            drop(store.list(ListRequest::default()).await.unwrap());
        })
        .await;
        let page = |at| ListRequest {
            limit: Some(500),
            at,
            ..ListRequest::default()
        };
        let pages = timed(50, async |_| drop(store.list(page(None)).await.unwrap())).await;
        let past = Some(Revision(store.revision().await.unwrap().0 - 5000));
        let past = timed(50, async |_| drop(store.list(page(past)).await.unwrap())).await;
        println!("| {candidate:?} | {gets:.2?} | {lists:.2?} | {pages:.2?} | {past:.2?} |");
    }
}

async fn timed(times: usize, call: impl AsyncFn(usize)) -> Duration {
    let mut each = Vec::new();
    for n in 0..times {
        let began = Instant::now();
        call(n).await;
        each.push(began.elapsed().as_secs_f64());
    }
    Duration::from_secs_f64(median(each.into_iter()))
}
