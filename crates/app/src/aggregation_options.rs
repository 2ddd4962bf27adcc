//! Options of `ferrovirt up` about aggregation: whom this server believes that it speaks for others, and as whom it
//! speaks itself. kube-apiserver's.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use apiserver::{Config, FrontProxy};
use pki::{Authority, Pair};

/// The name under which this server speaks for others.
const NAME: &str = "front-proxy-client";
/// Lifetime of the certificate for it; it is issued again at a start in its last third.
const CERTIFICATE: Duration = Duration::from_secs(365 * 24 * 3600);

/// See the module.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Aggregation")]
pub(crate) struct AggregationOptions {
    /// PEM certificates of the CA of front proxies, which may speak for any user. If not given, this server has a CA of
    /// its own for that, and is its only proxy.
    #[arg(long, value_name = "FILE")]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies; if not given, all that the CA vouches for.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "requestheader_client_ca_file"
    )]
    requestheader_allowed_names: Vec<String>,
    /// Headers in which front proxies name the user.
    #[arg(
        long,
        value_name = "HEADERS",
        value_delimiter = ',',
        default_value = "X-Remote-User"
    )]
    requestheader_username_headers: Vec<String>,
    /// Headers in which front proxies give the user's uid.
    #[arg(
        long,
        value_name = "HEADERS",
        value_delimiter = ',',
        default_value = "X-Remote-Uid"
    )]
    requestheader_uid_headers: Vec<String>,
    /// Headers in which front proxies name groups.
    #[arg(
        long,
        value_name = "HEADERS",
        value_delimiter = ',',
        default_value = "X-Remote-Group"
    )]
    requestheader_group_headers: Vec<String>,
    /// Begins of headers in which front proxies say more.
    #[arg(
        long,
        value_name = "PREFIXES",
        value_delimiter = ',',
        default_value = "X-Remote-Extra-"
    )]
    requestheader_extra_headers_prefix: Vec<String>,
    /// Certificate that this server shows to aggregated API servers.
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["proxy_client_key_file", "requestheader_client_ca_file"]
    )]
    proxy_client_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "proxy_client_cert_file")]
    proxy_client_key_file: Option<PathBuf>,
}

impl AggregationOptions {
    /// Says whom to believe, and as whom to speak. `pki` is where certificates of this installation are kept.
    pub(crate) fn apply(
        &self,
        config: &mut Config,
        clients: &Authority,
        pki: impl AsRef<Path>,
    ) -> anyhow::Result<()> {
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
        };
        let mut proxy = match &self.requestheader_client_ca_file {
            Some(file) => FrontProxy::new(read(file)?, self.requestheader_allowed_names.clone()),
            None => {
                let (authority, pair) = own(pki.as_ref())?;
                config.proxy_client = Some(pair);
                FrontProxy::new(authority.ca_pem(), vec![NAME.to_owned()])
            }
        };
        if let (Some(cert), Some(key)) = (&self.proxy_client_cert_file, &self.proxy_client_key_file)
        {
            config.proxy_client = Some(Pair {
                cert_pem: read(cert)?,
                key_pem: read(key)?,
            });
        }
        proxy
            .username_headers
            .clone_from(&self.requestheader_username_headers);
        proxy
            .uid_headers
            .clone_from(&self.requestheader_uid_headers);
        proxy
            .group_headers
            .clone_from(&self.requestheader_group_headers);
        proxy
            .extra_prefixes
            .clone_from(&self.requestheader_extra_headers_prefix);
        config.front_proxy = Some(proxy);
        config.client_ca = Some(clients.ca_pem().to_owned());
        Ok(())
    }
}

/// The CA that vouches for this server alone, and the certificate it has issued.
fn own(pki: &Path) -> anyhow::Result<(Authority, Pair)> {
    let dir = pki.join("front-proxy");
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.with_context(|| format!("making {}", dir.display()))?,
    }
    let authority = Authority::load_or_create(&dir).context("opening the front-proxy CA")?;
    let pair = authority
        .client_on_disk(NAME, NAME, &[], CERTIFICATE)
        .context("issuing the front proxy's certificate")?;
    Ok((authority, pair))
}
