//! What was started for a Pod: the node runtime's memory, kept in the Pod's directory.

use std::io;
use std::path::Path;

use host::process::{Exit, Identity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PodDir;

const FILE: &str = "runtime.json";
/// Far more than a record ever needs.
const LIMIT: u64 = 64 * 1024;

/// A Pod that was prepared here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// The identity of the store that the Pod was last seen in; none in records of before there were any.
    #[serde(default)]
    pub store: Option<String>,
    pub prepared_at: Timestamp,
    /// The one process of the Pod.
    pub main: Main,
    /// How often it was started again by the restart policy.
    pub restarts: u32,
    /// How it ended before its last start.
    pub last: Option<Ended>,
    /// When SIGTERM was sent.
    pub terminated_at: Option<Timestamp>,
    /// Whether namespaces and cgroup are gone.
    pub torn_down: bool,
}

/// The main process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "state",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Main {
    /// Not started yet, or waiting for its next start.
    Waiting { not_before: Option<Timestamp> },
    /// Started.
    Running {
        process: Identity,
        started_at: Timestamp,
        /// How often it was started again to adopt what a former one left.
        adoptions: u32,
    },
    /// Over, for good as far as the restart policy says.
    Ended(Ended),
}

/// An end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ended {
    pub exit: Exit,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// What the process wrote into its termination log.
    pub message: Option<String>,
}

impl Ended {
    /// The exit code as Kubernetes shows it: 128 + n for a signal.
    pub fn code(&self) -> i32 {
        match self.exit {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128_i32.saturating_add(signal),
            Exit::Unknown => 255,
        }
    }
}

impl Record {
    /// A Pod that is about to be prepared.
    pub fn new(namespace: &str, name: &str, uid: &str, now: Timestamp) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            store: None,
            prepared_at: now,
            main: Main::Waiting { not_before: None },
            restarts: 0,
            last: None,
            terminated_at: None,
            torn_down: false,
        }
    }

    /// Notes the store that knows the Pod; says whether that is news.
    pub fn belongs_to(&mut self, store: &str) -> bool {
        let news = self.store.as_deref() != Some(store);
        if news {
            self.store = Some(store.to_owned());
        }
        news
    }

    /// Reads the record of a Pod; nothing if there is none.
    pub fn read(dir: &PodDir) -> io::Result<Option<Self>> {
        let path = dir.path().join(FILE);
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is damaged: {e}", path.display()),
            )
        })
    }

    /// Writes the record in one step.
    ///
    /// Without fsync: it speaks of processes, which a crash of the host ends as well, and their
    /// identities mean nothing after it.
    pub fn write(&self, dir: &PodDir) -> io::Result<()> {
        let new = dir.path().join(".runtime.json.new");
        std::fs::write(&new, serde_json::to_vec(self).map_err(io::Error::other)?)?;
        std::fs::rename(&new, dir.path().join(FILE))
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(LIMIT)
        .read_to_end(&mut text)?;
    Ok(text)
}
