//! A real process, really killed: a child writes from many tasks and prints what was acknowledged, the parent kills it
//! with SIGKILL and looks whether all of that is there. Also the one real full device that needs no privileges: the
//! limit of a file's size.
//!
//! The child is this test binary, told by its environment to run the ignored test `child`.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::{entries, tiny};
use crate::log::{LogStore, Options};
use crate::{ListRequest, Revision, Store, StoreError, WatchItem, Write};

const DIRECTORY: &str = "STORE_TEST_DIRECTORY";
const CHILD: &str = "log::tests::kill::child";
const WRITERS: u64 = 16;
const ROUNDS: usize = 10;

fn options() -> Options {
    Options {
        segment_bytes: 20_000,
        garbage_bytes: 20_000,
        ..tiny()
    }
}

/// Kills the child when the test ends early.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended already; either way it is waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(mut command: Command, directory: &Path) -> Reaped {
    let child = command
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Reaped(child)
}

/// The lines `ack <key> <number> <revision>` of a child, until it ends or the limit is reached.
fn acknowledged(child: &mut Reaped, limit: usize) -> HashMap<String, (u64, Revision)> {
    let mut acknowledged = HashMap::new();
    let lines = BufReader::new(child.0.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut seen = 0;
    for line in lines {
        let fields: Vec<_> = line.split(' ').collect();
        // A killed process may have printed half a line: a whole one ends with a dot.
        let ["ack", key, number, revision, "."] = fields[..] else {
            continue;
        };
        acknowledged.insert(
            key.to_owned(),
            (number.parse().unwrap(), Revision(revision.parse().unwrap())),
        );
        seen += 1;
        if seen == limit {
            // Everything that was printed before it dies counts as well.
            child.0.kill().unwrap();
        }
    }
    acknowledged
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut total = 0;
    let mut last = Revision::ZERO;
    for round in 0..ROUNDS {
        let mut child = spawn(
            Command::new(std::env::current_exe().unwrap()),
            directory.path(),
        );
        let acknowledged = acknowledged(&mut child, 150 + round * 61);
        drop(child);
        total += acknowledged.len();

        let store = LogStore::open(directory.path(), options()).unwrap();
        let found: HashMap<_, _> = entries(&store)
            .await
            .into_iter()
            .map(|entry| (entry.key.to_string(), entry))
            .collect();
        for (key, (written, revision)) in &acknowledged {
            let entry = found
                .get(key)
                .unwrap_or_else(|| panic!("round {round}: {key} is lost"));
            let number = number(&entry.value);
            // A writer waits for each write, so at most one is under way.
            assert!(
                number == *written || number == written + 1,
                "round {round}: {key} is {number}, acknowledged {written}"
            );
            assert_eq!(
                number == *written,
                entry.modified == *revision,
                "round {round}: {key}"
            );
        }
        let revision = store.revision().await.unwrap();
        assert!(revision > last);
        last = revision;
    }
    assert!(
        total >= ROUNDS * WRITERS as usize / 2,
        "only {total} keys were checked"
    );
}

#[tokio::test]
async fn a_file_size_limit_is_a_full_store() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // In units of 512 bytes; the signal that comes with the limit would kill.
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    command.env("STORE_TEST_UNTIL_FULL", "1");
    let mut child = spawn(command, directory.path());
    let acknowledged = acknowledged(&mut child, usize::MAX);
    assert!(
        child.0.wait().unwrap().success(),
        "the child saw Full, and went on reading"
    );
    assert_eq!(acknowledged.len(), WRITERS as usize);
    let store = LogStore::open(directory.path(), Options::default()).unwrap();
    for (key, (written, revision)) in acknowledged {
        let entry = store.get(&key).await.unwrap().0.unwrap();
        assert_eq!(
            (number(&entry.value), entry.modified),
            (written, revision),
            "{key}"
        );
    }
    store.commit(Write::put("/more", "space")).await.unwrap();
}

fn print(line: &str) {
    // One write, past the capture of the test harness.
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

async fn write_on(store: &LogStore, writer: u64) -> StoreError {
    let key = format!("/writers/{writer}");
    let mut n = store
        .get(&key)
        .await
        .unwrap()
        .0
        .map_or(0, |entry| number(&entry.value));
    loop {
        n += 1;
        let value = format!("{n} {}", "x".repeat((n * 37 % 400) as usize));
        match store.commit(Write::put(key.as_str(), value)).await {
            Ok(committed) => print(&format!("ack {key} {n} {} .\n", committed.revision)),
            Err(error) => return error,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the tests above"]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let until_full = std::env::var_os("STORE_TEST_UNTIL_FULL").is_some();
    let options = if until_full {
        Options::default()
    } else {
        options()
    };
    let store = Arc::new(LogStore::open(directory, options).unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { write_on(&store, writer).await })
        })
        .collect();
    for writer in writers {
        let error = writer.await.unwrap();
        assert!(matches!(error, StoreError::Full), "{error}");
    }
    assert!(until_full);
    // Reads go on.
    assert_eq!(
        store
            .list(ListRequest::prefix("/writers/"))
            .await
            .unwrap()
            .entries
            .len(),
        WRITERS as usize
    );
    let mut watch = store.watch("", Revision::ZERO).await.unwrap();
    assert!(matches!(watch.next().await.unwrap(), WatchItem::Event(_)));
    assert!(matches!(
        store.commit(Write::put("/big", vec![b'x'; 30_000])).await,
        Err(StoreError::Full)
    ));
}
