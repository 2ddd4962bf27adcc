//! Where a control plane keeps its objects and its keys: alone on this host, or together with others over one etcd.
//!
//! ```text
//! alone      <data dir>/store, <data dir>/pki
//! together   etcd ◄── replica ── its copy of the same pki directory
//!                 ◄── replica ── its copy of the same pki directory
//! ```
//! Private keys are never in etcd: whoever can read a backup of it could be everybody. The administrator copies the
//! directory (`--pki-dir`), as with other Kubernetes distributions. What is public of the keys is in the store, written
//! once by the first replica, so that one with other keys refuses to start instead of handing out certificates and
//! tokens that the others do not accept.
//!
//! Each tells the others its node's name and how it seals values at rest, and refuses to run beside one that it does
//! not fit to (`replicas` in the API server). It is known by a file in its data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use apiserver::Replica;
use pki::{Authority, ServiceAccountKeys};
use serde_json::json;
use store::etcd::{EtcdStore, Tls};
use store::log::LogStore;
use store::{Store, StoreError, Write};

use crate::data_dir::DataDir;
use crate::instance::Instance;

/// Where the public parts of the keys are in the store; no kind has keys like this.
const KEYS: &str = "/~control-plane/keys";

/// What tells this store from every other: a UUID, written by the first that has opened it.
const IDENTITY: &str = "/~control-plane/identity";

/// A store that was opened.
pub(crate) struct Opened {
    pub store: Arc<dyn Store>,
    /// The same, when it is this host's own.
    pub own: Option<Arc<LogStore>>,
    /// What tells it from every other.
    pub identity: String,
}

/// The identity of a store that several have; made if there is none.
async fn identity(store: &dyn Store) -> anyhow::Result<String> {
    let doing = "asking the store for its identity";
    let ours = uuid::Uuid::new_v4().to_string();
    match store.commit(Write::create(IDENTITY, ours.clone())).await {
        Ok(_) => Ok(ours),
        Err(StoreError::Conflict {
            current: Some(entry),
        }) => String::from_utf8(entry.value.to_vec()).context(doing),
        Err(e) => Err(e).context(doing),
    }
}

/// Options of the store and of replicas.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Several control planes over one etcd")]
pub(crate) struct ControlPlaneOptions {
    /// URLs of etcd's members, `https://host:2379` or `http://...`: objects are kept there instead of in the data
    /// directory, and other control planes may use it at the same time.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// CA certificates that etcd's must come from, PEM; needed for https.
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["etcd_cafile", "etcd_keyfile"])]
    etcd_certfile: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// Where in etcd; the same for all replicas. What else they must have alike is checked when they start.
    #[arg(long, value_name = "PATH", default_value = "/ferrovirt")]
    etcd_prefix: String,
    /// Directory of the CA and of the service-account key; `pki` in the data directory if not given. All replicas need
    /// the same: start one, copy ca.crt, ca.key and the service-account key from there, start the others.
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<PathBuf>,
    /// Serve the API only: this host is no node, runs no controllers, and needs no root. At least one full control
    /// plane must run elsewhere.
    #[arg(long, requires = "etcd_servers")]
    api_only: bool,
}

impl ControlPlaneOptions {
    /// Whether others may use the same store.
    pub(crate) fn is_shared(&self) -> bool {
        !self.etcd_servers.is_empty()
    }

    /// Whether only the API is served.
    pub(crate) fn is_api_only(&self) -> bool {
        self.api_only
    }

    /// Where the CA and the keys are.
    pub(crate) fn pki(&self, data: &DataDir) -> PathBuf {
        self.pki_dir.clone().unwrap_or_else(|| data.pki())
    }

    /// The name of a certificate's files: in a directory that others use too, every node has its own.
    pub(crate) fn stem(&self, name: &str, node: &str) -> String {
        match &self.pki_dir {
            Some(_) => format!("{name}-{node}"),
            None => name.to_owned(),
        }
    }

    /// Which of several this is; nobody asks one that is alone.
    pub(crate) fn instance(&self, data: &DataDir) -> anyhow::Result<Option<Instance>> {
        let take = || Instance::take(&data.instance());
        self.is_shared().then(take).transpose()
    }

    /// What the others are told of it.
    pub(crate) fn replica(&self, instance: &Instance, node: &str) -> Replica {
        Replica {
            instance: instance.id().to_owned(),
            node: node.to_owned(),
            runs_node: !self.api_only,
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        }
    }

    /// Opens the store.
    pub(crate) async fn open(&self, data: &DataDir) -> anyhow::Result<Opened> {
        if !self.is_shared() {
            let opened = LogStore::open(data.store(), store::log::Options::default())
                .map_err(|error| crate::store_error::explain(&data.store(), error))?;
            let opened = Arc::new(opened);
            return Ok(Opened {
                identity: opened.identity().to_owned(),
                store: opened.clone(),
                own: Some(opened),
            });
        }
        let client = self.etcd_certfile.clone().zip(self.etcd_keyfile.clone());
        let tls = self
            .etcd_cafile
            .clone()
            .map(|ca_file| Tls { ca_file, client });
        let options = store::etcd::Options {
            tls,
            prefix: self.etcd_prefix.clone(),
            ..store::etcd::Options::new(self.etcd_servers.clone())
        };
        let store: Arc<dyn Store> = Arc::new(EtcdStore::open(options).await?);
        Ok(Opened {
            identity: identity(&*store).await?,
            store,
            own: None,
        })
    }

    /// Refuses keys that are not those of the control plane whose store this is.
    pub(crate) async fn agree(
        &self,
        store: &dyn Store,
        authority: &Authority,
        keys: &ServiceAccountKeys,
        pki: &Path,
    ) -> anyhow::Result<()> {
        if !self.is_shared() {
            return Ok(());
        }
        let jwks = keys.jwks().context("reading the service-account key")?;
        let ours = json!({"ca": authority.ca_pem(), "serviceAccounts": jwks});
        let text = serde_json::to_vec(&ours).context("writing the public keys")?;
        let theirs = match store.commit(Write::create(KEYS, text)).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict {
                current: Some(entry),
            }) => serde_json::from_slice::<serde_json::Value>(&entry.value)
                .context("reading the public keys of the control plane")?,
            Err(e) => return Err(e).context("comparing keys with those of the control plane"),
        };
        anyhow::ensure!(
            theirs == ours,
            "the CA or the service-account key in {} is not that of the control plane in this etcd: copy them from another replica (--pki-dir)",
            pki.display()
        );
        Ok(())
    }
}
