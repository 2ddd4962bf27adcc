//! The records in the store, and this server's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Entry, ListRequest, Revision, Store, StoreError, Write};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Replica;
use super::record::Record;
use crate::limits::{REPLICA_BEAT, REPLICA_FORGOTTEN, REPLICA_LAPSE};
use crate::sealing::Rules;

/// Where the records are; no kind has keys like this.
const PREFIX: &str = "/~control-plane/replicas/";
/// Between two looks at one that is in the way.
const LOOK: Duration = Duration::from_millis(500);
/// Before a beat that did not succeed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often servers beat, and after how long they are dead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub beat: Duration,
    pub lapse: Duration,
    pub look: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            beat: REPLICA_BEAT,
            lapse: REPLICA_LAPSE,
            look: LOOK,
        }
    }
}

/// Why a server may not run, or not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("entering this server among those of the control plane")]
    Store(#[from] StoreError),
    #[error("this server cannot be one of the control plane: {0}")]
    Refused(String),
}

/// See the module.
pub(crate) struct Roll {
    store: Arc<dyn Store>,
    replica: Replica,
    times: Times,
    key: String,
    own: Mutex<Own>,
    displaced: watch::Sender<Option<String>>,
}

struct Own {
    record: Record,
    /// Of the record in the store; none if it is not there.
    at: Option<Entered>,
    /// Others, as they were seen last.
    others: HashMap<Arc<str>, Seen>,
}

#[derive(Clone, Copy)]
struct Entered {
    created: Revision,
    modified: Revision,
}

/// What became of a write of the own record.
enum Written {
    Entered(Entered),
    /// It was removed by another server.
    Gone,
    /// Another process has written it.
    Foreign,
}

/// A record's version, and since when it is known to be that.
struct Seen {
    modified: Revision,
    since: Instant,
    /// It has changed at least once while it was looked at.
    beats: bool,
}

impl Own {
    fn look(&mut self, entry: &Entry) -> &Seen {
        let fresh = |beats| Seen {
            modified: entry.modified,
            since: Instant::now(),
            beats,
        };
        let seen = self
            .others
            .entry(Arc::clone(&entry.key))
            .or_insert_with(|| fresh(false));
        if seen.modified != entry.modified {
            *seen = fresh(true);
        }
        seen
    }
}

impl Roll {
    /// Enters this server; waits for others to live or to lapse where they are in the way.
    ///
    /// # Errors
    /// If another one that lives does not fit, or the store fails.
    pub(crate) async fn join(
        store: Arc<dyn Store>,
        replica: Replica,
        rules: &Rules,
    ) -> Result<Arc<Self>, JoinError> {
        Self::join_in(store, replica, rules, Times::default()).await
    }

    pub(super) async fn join_in(
        store: Arc<dyn Store>,
        replica: Replica,
        rules: &Rules,
        times: Times,
    ) -> Result<Arc<Self>, JoinError> {
        let sealing = rules.summary().map_err(JoinError::Refused)?;
        let record = Record::new(&replica, uuid::Uuid::new_v4().to_string(), sealing);
        let roll = Arc::new(Self {
            key: format!("{PREFIX}{}", replica.instance),
            store,
            replica,
            times,
            own: Mutex::new(Own {
                record,
                at: None,
                others: HashMap::new(),
            }),
            displaced: watch::Sender::new(None),
        });
        let mut own = roll.own.lock().await;
        roll.take_up(&mut own, rules).await?;
        roll.agree(&mut own, rules).await?;
        drop(own);
        Ok(roll)
    }

    /// Goes on with the record of this instance's last process. If that said something else, it is a new one: it comes
    /// after those that are there.
    async fn take_up(&self, own: &mut Own, rules: &Rules) -> Result<(), StoreError> {
        let (found, _) = self.store.get(&self.key).await?;
        let Some(entry) = found else { return Ok(()) };
        let said = serde_json::from_slice::<Record>(&entry.value).ok();
        if said.is_some_and(|record| record.says(&self.replica, rules)) {
            own.at = Some(Entered {
                created: entry.created,
                modified: entry.modified,
            });
            return Ok(());
        }
        self.remove(&entry.key, entry.modified).await
    }

    /// Removes a record, if it is still as it was.
    async fn remove(&self, key: &Arc<str>, modified: Revision) -> Result<(), StoreError> {
        let write = Write::delete(Arc::clone(key), modified);
        match self.store.commit(write).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes the own record.
    async fn write(&self, own: &mut Own) -> Result<Written, StoreError> {
        own.record.beat += 1;
        let value = Bytes::from(serde_json::to_vec(&own.record).unwrap_or_default());
        let write = match own.at {
            None => Write::create(self.key.as_str(), value),
            Some(at) => Write::update(self.key.as_str(), at.modified, value),
        };
        let entered = match self.store.commit(write).await {
            Ok(done) => Entered {
                created: own.at.map_or(done.revision, |at| at.created),
                modified: done.revision,
            },
            Err(StoreError::Conflict { current: None }) => {
                own.at = None;
                return Ok(Written::Gone);
            }
            Err(StoreError::Conflict {
                current: Some(entry),
            }) => {
                // Ours all the same if the outcome of an earlier write was open.
                if !own.is_ours(&entry) {
                    return Ok(Written::Foreign);
                }
                Entered {
                    created: entry.created,
                    modified: entry.modified,
                }
            }
            Err(error) => return Err(error),
        };
        own.at = Some(entered);
        Ok(Written::Entered(entered))
    }

    async fn others(&self) -> Result<Vec<(Entry, Record)>, StoreError> {
        let listing = self.store.list(ListRequest::prefix(PREFIX)).await?;
        let others = listing.entries.into_iter().filter(|e| *e.key != *self.key);
        // One of another version, that cannot be read, is not judged.
        let read = |entry: Entry| {
            let record = serde_json::from_slice(&entry.value).ok()?;
            Some((entry, record))
        };
        Ok(others.filter_map(read).collect())
    }

    /// Enters the own record and comes back when no other one is in the way.
    async fn agree(&self, own: &mut Own, rules: &Rules) -> Result<(), JoinError> {
        let mut beaten: Option<(Instant, Entered)> = None;
        let mut said = false;
        let begun = Instant::now();
        loop {
            let (_, at) = match beaten {
                Some(beaten) if beaten.0.elapsed() < self.times.beat => beaten,
                _ => match self.write(own).await? {
                    Written::Entered(at) => *beaten.insert((Instant::now(), at)),
                    Written::Gone => continue,
                    Written::Foreign => return Err(another_process(&self.replica)),
                },
            };
            let mut waits = false;
            for (entry, other) in self.others().await? {
                let seen = own.look(&entry);
                let (lives, lapsed) = (seen.beats, seen.since.elapsed() >= self.times.lapse);
                let Some(objection) = other.objection(&self.replica, rules) else {
                    continue;
                };
                if lapsed {
                    tracing::warn!(
                        "{objection}. It does not run any more: this one goes on without it"
                    );
                    self.remove(&entry.key, entry.modified).await?;
                    continue;
                }
                // The younger of two gives way at once; one that does not is not waited for for ever.
                let patient = begun.elapsed() < 2 * self.times.lapse;
                if lives && (entry.created < at.created || !patient) {
                    self.remove(&Arc::from(self.key.as_str()), at.modified)
                        .await?;
                    own.at = None;
                    return Err(JoinError::Refused(objection));
                }
                waits = true;
                if !said {
                    tracing::info!("waiting to see whether it runs: {objection}");
                    said = true;
                }
            }
            if !waits {
                return Ok(());
            }
            tokio::time::sleep(self.times.look).await;
        }
    }

    /// Takes other rules up, if those of all others that may live allow it. Until then they are not to be used.
    ///
    /// # Errors
    /// What differs.
    pub(crate) async fn change(&self, rules: &Rules) -> Result<(), JoinError> {
        let sealing = rules.summary().map_err(JoinError::Refused)?;
        let mut own = self.own.lock().await;
        let before = std::mem::replace(&mut own.record.sealing, sealing);
        let agreed = async {
            self.write(&mut own).await?;
            for (entry, other) in self.others().await? {
                let seen = own.look(&entry);
                let may_live = seen.since.elapsed() < self.times.lapse;
                let objection = other.objection(&self.replica, rules);
                if let (true, Some(objection)) = (may_live, objection) {
                    return Err(JoinError::Refused(objection));
                }
            }
            Ok(())
        };
        let agreed = agreed.await;
        if agreed.is_err() {
            own.record.sealing = before;
            // If it fails, the next beat does it.
            let _ = self.write(&mut own).await;
        }
        agreed
    }

    /// Beats until told to stop, or displaced. `rules` gives those that are in force.
    pub(crate) async fn keep(&self, rules: impl Fn() -> Arc<Rules>, stop: CancellationToken) {
        let beating = async {
            let mut pause = self.times.beat;
            loop {
                tokio::time::sleep(pause).await;
                pause = match self.beat(&rules()).await {
                    Ok(()) => self.times.beat,
                    Err(JoinError::Store(error)) => {
                        tracing::debug!(%error, "this server's record was not written");
                        AGAIN.min(self.times.beat)
                    }
                    Err(JoinError::Refused(why)) => {
                        self.displaced.send_replace(Some(why));
                        return;
                    }
                };
            }
        };
        tokio::select! {
            () = beating => {}
            () = stop.cancelled() => {}
        }
    }

    async fn beat(&self, rules: &Rules) -> Result<(), JoinError> {
        let mut own = self.own.lock().await;
        match self.write(&mut own).await? {
            Written::Entered(_) => {}
            Written::Gone => {
                tracing::warn!("another server has taken this one for dead");
                self.agree(&mut own, rules).await?;
            }
            Written::Foreign => return Err(another_process(&self.replica)),
        }
        let others = self.others().await?;
        own.others
            .retain(|key, _| others.iter().any(|(entry, _)| entry.key == *key));
        for (entry, _) in others {
            if own.look(&entry).since.elapsed() >= REPLICA_FORGOTTEN {
                self.remove(&entry.key, entry.modified).await?;
            }
        }
        Ok(())
    }

    /// Comes back when this server must not go on, with the reason.
    pub(crate) async fn displaced(&self) -> String {
        let mut displaced = self.displaced.subscribe();
        match displaced.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Own {
    fn is_ours(&self, entry: &Entry) -> bool {
        serde_json::from_slice::<Record>(&entry.value)
            .is_ok_and(|record| record.process == self.record.process)
    }
}

fn another_process(replica: &Replica) -> JoinError {
    JoinError::Refused(format!(
        "another process runs as instance {}: was the data directory copied? Give each server a directory of its own (--data-dir)",
        replica.instance
    ))
}
