//! Tests of the log engine.

mod check;
mod crash;
mod differential;
mod faults;
mod full;
mod kill;

use std::path::{Path, PathBuf};

use crate::log::{LogStore, Options};
use crate::{Entry, ListRequest, Retention, Store};

/// Files so small that segments rotate and snapshots are taken all the time.
fn tiny() -> Options {
    Options {
        retention: Retention {
            revisions: 20,
            bytes: 50_000,
        },
        segment_bytes: 1000,
        garbage_bytes: 1000,
        reserve_bytes: 0,
    }
}

fn open(directory: &Path) -> LogStore {
    LogStore::open(directory, Options::default()).unwrap()
}

async fn entries(store: &dyn Store) -> Vec<Entry> {
    store.list(ListRequest::default()).await.unwrap().entries
}

/// The files of a directory with this extension, sorted by name.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

mod conformance {
    use std::sync::Arc;

    use crate::Store;
    use crate::log::{LogStore, Options};

    crate::conformance_tests!(|directory, retention| {
        let options = Options {
            retention,
            ..Options::default()
        };
        LogStore::open(directory, options).map(|store| Arc::new(store) as Arc<dyn Store>)
    });
}

mod conformance_with_tiny_files {
    use std::sync::Arc;

    use crate::Store;
    use crate::log::{LogStore, Options};

    crate::conformance_tests!(|directory, retention| {
        let options = Options {
            retention,
            ..super::tiny()
        };
        LogStore::open(directory, options).map(|store| Arc::new(store) as Arc<dyn Store>)
    });
}
