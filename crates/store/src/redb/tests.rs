//! Tests of the redb engine.

use std::sync::Arc;

use crate::Store;
use crate::redb::RedbStore;

crate::conformance_tests!(|directory, retention| {
    RedbStore::open(directory, retention).map(|store| Arc::new(store) as Arc<dyn Store>)
});
