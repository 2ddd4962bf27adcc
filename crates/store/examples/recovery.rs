//! Measures what opening a large store takes, from its log and from a snapshot, each in a process of its own:
//!
//! ```text
//! cargo run --release -p ferrovirt-store --example recovery [DIRECTORY] [OBJECTS]
//! ```

#![allow(clippy::unwrap_used, reason = "a measurement that fails ends")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ferrovirt_store::backup::{self, Contents};
use ferrovirt_store::log::{LogStore, Options};
use ferrovirt_store::{ListRequest, Store, Write};

/// An ordinary object, in JSON.
const VALUE: usize = 2000;
const ROUNDS: usize = 5;
const OPEN: &str = "open";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, directory] = &arguments[..]
        && verb == OPEN
    {
        return open(Path::new(directory));
    }
    let directory = arguments
        .first()
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("store-recovery-{}", std::process::id()));
    let objects = arguments.get(1).map_or(100_000, |n| n.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (log, snapshot) = (directory.join("log"), directory.join("snapshot"));
    let store = Arc::new(LogStore::open(&log, Options::default()).unwrap());
    runtime.block_on(fill(&store, objects));
    let listing = runtime
        .block_on(store.list(ListRequest::default()))
        .unwrap();
    let contents = Contents {
        revision: listing.revision,
        entries: listing.entries,
        files: Vec::new(),
        identity: store.identity().to_owned(),
        taken: SystemTime::now(),
    };
    let file = directory.join("backup");
    let started = Instant::now();
    backup::write(fs::File::create(&file).unwrap(), &contents).unwrap();
    println!(
        "backup of {objects} objects of {VALUE} bytes: {:.2?}",
        started.elapsed()
    );
    drop((store, contents));
    let started = Instant::now();
    backup::restore(&file, &snapshot, |_, _| Ok(())).unwrap();
    println!("restore: {:.2?}", started.elapsed());
    for (what, directory) in [("log", &log), ("snapshot", &snapshot)] {
        for _ in 0..ROUNDS {
            print!("{what}: ");
            use std::io::Write as _;
            std::io::stdout().flush().unwrap();
            let opened = Command::new(std::env::current_exe().unwrap())
                .arg(OPEN)
                .arg(directory)
                .status();
            assert!(opened.unwrap().success());
        }
    }
    fs::remove_dir_all(&directory).unwrap();
}

async fn fill(store: &Arc<LogStore>, objects: usize) {
    let tasks: Vec<_> = (0..256)
        .map(|task| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for n in (task..objects).step_by(256) {
                    let key = format!("/core/configmaps/default/object-{n:06}");
                    let value = format!("{n:0VALUE$}");
                    store.commit(Write::create(key, value)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn open(directory: &Path) {
    let started = Instant::now();
    let store = LogStore::open(directory, Options::default()).unwrap();
    let opened = started.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    println!(
        "open {opened:.0?}, resident {}, at most {}",
        field("VmRSS:"),
        field("VmHWM:")
    );
    drop(store);
}
