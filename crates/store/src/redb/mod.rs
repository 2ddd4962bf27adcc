//! The `redb` engine: a copy-on-write B-tree in one file. It shares the committer and the watch feed with the log engine,
//! but keeps and reads its state in its own way, which makes it the oracle of the differential tests.
//!
//! ```text
//! current  key            -> created u64 | modified u64 | value
//! history  revision u64   -> key | new value | previous entry       (compacted, revision]
//! meta     "revision" | "compacted" -> u64
//! ```
//!
//! One transaction per batch, with the default durability (a sync per transaction). Old rows of the history are removed
//! by the transaction after the one that compacted them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use ::redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase as _, TableDefinition};
use async_trait::async_trait;
use bytes::Bytes;

use crate::committer::{Backend, Committer};
use crate::contract::Store;
use crate::error::{OpenError, StoreError};
use crate::feed::Feed;
use crate::model::{Committed, Entry, Event, ListRequest, Listing, Revision, Space, Write};
use crate::retention::Retention;
use crate::watch::Watch;

const CURRENT: TableDefinition<'static, &str, (u64, u64, &[u8])> = TableDefinition::new("current");
/// Key, new value, and created, modified and value of the previous entry.
type Row<'a> = (&'a str, Option<&'a [u8]>, Option<(u64, u64, &'a [u8])>);
const HISTORY: TableDefinition<'static, u64, Row<'static>> = TableDefinition::new("history");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";

/// A store in a redb file; see the module.
pub struct RedbStore {
    // First, so that the thread has ended when the rest is dropped.
    committer: Committer,
    database: Arc<Database>,
    feed: Arc<Feed>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the store `store.redb` in a directory; both are created if they do not exist.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if it is open already.
    pub fn open(directory: impl AsRef<Path>, retention: Retention) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        fs::create_dir_all(directory).map_err(OpenError::io("create the directory", directory))?;
        let path = directory.join("store.redb");
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Database {
            path: path.clone(),
            source,
        };
        let database = Database::create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path: path.clone() },
            other => failed(other.into()),
        })?;
        create_tables(&database).map_err(|error| failed(error.into()))?;
        let (feed, revision) =
            load_feed(&database, retention).map_err(|error| failed(error.into()))?;
        let (database, feed) = (Arc::new(database), Arc::new(feed));
        let backend = Transactions {
            database: Arc::clone(&database),
            revision,
            compacted: feed.oldest(),
        };
        let committer = Committer::start(backend, Arc::clone(&feed))
            .map_err(OpenError::io("start the committer of", directory))?;
        Ok(Self {
            committer,
            database,
            feed,
        })
    }

    /// Runs a read in its own transaction, where blocking is allowed.
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&ReadTransaction) -> Result<T, ::redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        let outcome = tokio::task::spawn_blocking(move || read(&database.begin_read()?)).await;
        outcome
            .map_err(|_| StoreError::Closed)?
            .map_err(|error| failed(doing, error))
    }
}

fn failed(doing: &'static str, error: impl Into<::redb::Error>) -> StoreError {
    match error.into() {
        ::redb::Error::Io(error)
            if matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            ) =>
        {
            StoreError::Full
        }
        error => StoreError::Database {
            doing,
            source: Arc::new(error),
        },
    }
}

fn create_tables(database: &Database) -> Result<(), ::redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(CURRENT)?;
    transaction.open_table(HISTORY)?;
    transaction.open_table(META)?;
    Ok(transaction.commit()?)
}

fn load_feed(database: &Database, retention: Retention) -> Result<(Feed, Revision), ::redb::Error> {
    let transaction = database.begin_read()?;
    let (revision, compacted) = (
        meta(&transaction, REVISION)?,
        meta(&transaction, COMPACTED)?,
    );
    let feed = Feed::new(retention, compacted);
    for row in transaction
        .open_table(HISTORY)?
        .range(compacted.next().0..)?
    {
        let (revision, row) = row?;
        feed.replay(event(Revision(revision.value()), row.value()));
    }
    Ok((feed, revision))
}

fn meta(transaction: &ReadTransaction, name: &str) -> Result<Revision, ::redb::Error> {
    Ok(Revision(
        transaction
            .open_table(META)?
            .get(name)?
            .map_or(0, |value| value.value()),
    ))
}

fn event(revision: Revision, (key, value, previous): Row<'_>) -> Event {
    let previous = previous.map(|stored| entry(key, stored));
    Event {
        revision,
        key: Arc::from(key),
        value: value.map(Bytes::copy_from_slice),
        previous,
    }
}

fn entry(key: &str, (created, modified, value): (u64, u64, &[u8])) -> Entry {
    Entry {
        key: Arc::from(key),
        value: Bytes::copy_from_slice(value),
        created: Revision(created),
        modified: Revision(modified),
    }
}

fn stored(entry: &Entry) -> (u64, u64, &[u8]) {
    (entry.created.0, entry.modified.0, &entry.value)
}

/// The committer's side.
struct Transactions {
    database: Arc<Database>,
    revision: Revision,
    compacted: Revision,
}

impl Transactions {
    fn write(&self, events: &[Event]) -> Result<(), ::redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut current = transaction.open_table(CURRENT)?;
            let mut history = transaction.open_table(HISTORY)?;
            let mut meta = transaction.open_table(META)?;
            for event in events {
                match event.entry() {
                    Some(entry) => drop(current.insert(&*event.key, stored(&entry))?),
                    None => drop(current.remove(&*event.key)?),
                }
                let row = (
                    &*event.key,
                    event.value.as_deref(),
                    event.previous.as_ref().map(stored),
                );
                history.insert(event.revision.0, row)?;
                meta.insert(REVISION, event.revision.0)?;
            }
            history.retain_in(..=self.compacted.0, |_, _| false)?;
            meta.insert(COMPACTED, self.compacted.0)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Backend for Transactions {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn current(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let read = || -> Result<Option<Entry>, ::redb::Error> {
            let table = self.database.begin_read()?.open_table(CURRENT)?;
            Ok(table.get(key)?.map(|row| entry(key, row.value())))
        };
        read().map_err(|error| failed("read", error))
    }

    fn persist(&mut self, events: &[Event], _space: Space) -> Result<(), StoreError> {
        self.write(events)
            .map_err(|error| failed("write to", error))?;
        if let Some(last) = events.last() {
            self.revision = last.revision;
        }
        Ok(())
    }

    fn show(&self, _events: &[Event]) {
        // The transaction's commit made them visible.
    }

    fn tidy(&mut self, compacted: Revision) {
        self.compacted = compacted;
    }
}

/// The list of a request as one transaction sees it; `None` if the revision was compacted meanwhile.
fn list(
    transaction: &ReadTransaction,
    request: &ListRequest,
) -> Result<ListOutcome, ::redb::Error> {
    let (revision, compacted) = (meta(transaction, REVISION)?, meta(transaction, COMPACTED)?);
    let at = request.at.unwrap_or(revision);
    if at > revision {
        return Ok(ListOutcome::Future(revision));
    }
    if at < compacted {
        return Ok(ListOutcome::Compacted(compacted));
    }
    let prefix = request.prefix.as_str();
    let mut state = BTreeMap::new();
    for row in transaction.open_table(CURRENT)?.range(prefix..)? {
        let (key, row) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        state.insert(
            Arc::<str>::from(key.value()),
            entry(key.value(), row.value()),
        );
    }
    for row in transaction.open_table(HISTORY)?.range(at.next().0..)?.rev() {
        let (revision, row) = row?;
        let event = event(Revision(revision.value()), row.value());
        match event.previous {
            _ if !event.key.starts_with(prefix) => {}
            Some(previous) => drop(state.insert(event.key, previous)),
            None => drop(state.remove(&event.key)),
        }
    }
    if let Some(after) = &request.after {
        state.retain(|key, _| **key > **after);
    }
    let total = state.len();
    let limit = request.limit.unwrap_or(usize::MAX).min(total);
    let entries = state.into_values().take(limit).collect();
    Ok(ListOutcome::Listed(Listing {
        entries,
        revision: at,
        remaining: (total - limit) as u64,
    }))
}

enum ListOutcome {
    Listed(Listing),
    Compacted(Revision),
    Future(Revision),
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        let key = key.to_owned();
        self.read("read", move |transaction| {
            let table = transaction.open_table(CURRENT)?;
            let found = table.get(key.as_str())?.map(|row| entry(&key, row.value()));
            Ok((found, meta(transaction, REVISION)?))
        })
        .await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        let asked = request.at.unwrap_or_default();
        let oldest = self.feed.oldest();
        if request.at.is_some_and(|at| at < oldest) {
            return Err(StoreError::Compacted { oldest });
        }
        match self
            .read("read", move |transaction| list(transaction, &request))
            .await?
        {
            ListOutcome::Listed(listing) => Ok(listing),
            ListOutcome::Compacted(oldest) => Err(StoreError::Compacted { oldest }),
            ListOutcome::Future(current) => Err(StoreError::Future { asked, current }),
        }
    }

    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        self.committer.commit(write).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let current = self
            .read("read", |transaction| meta(transaction, REVISION))
            .await?;
        if after > current {
            return Err(StoreError::Future {
                asked: after,
                current,
            });
        }
        Watch::new(&self.feed, prefix, after)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read("read", |transaction| meta(transaction, REVISION))
            .await
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.committer.compact(through).await
    }
}
