//! Options of `ferrovirt up` about OpenID Connect; kube-apiserver's.

use std::path::PathBuf;

use anyhow::Context as _;
use apiserver::{ClaimMapping, Config, Issuer};

/// See the module.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "OpenID Connect")]
pub(crate) struct OidcOptions {
    /// URL of an OpenID Connect issuer whose ID tokens are accepted.
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    /// The client (audience) that tokens must be for.
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// The claim that names the user.
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    oidc_username_claim: String,
    /// Put before user names; `-` is nothing. If not given, names from claims other than email get `<issuer>#`.
    #[arg(long, value_name = "PREFIX", requires = "oidc_issuer_url")]
    oidc_username_prefix: Option<String>,
    /// The claim that names the user's groups.
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    oidc_groups_claim: Option<String>,
    /// Put before groups.
    #[arg(long, value_name = "PREFIX", requires = "oidc_groups_claim")]
    oidc_groups_prefix: Option<String>,
    /// A claim that tokens must have with this value; may be repeated.
    #[arg(
        long,
        value_name = "CLAIM=VALUE",
        value_delimiter = ',',
        requires = "oidc_issuer_url"
    )]
    oidc_required_claim: Vec<String>,
    /// Accepted signing algorithms: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384.
    #[arg(
        long,
        value_name = "ALGS",
        value_delimiter = ',',
        default_value = "RS256"
    )]
    oidc_signing_algs: Vec<String>,
    /// PEM certificates to trust for the issuer's server instead of the system's.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    oidc_ca_file: Option<PathBuf>,
    /// Several issuers: an AuthenticationConfiguration of apiserver.config.k8s.io/v1, without expressions.
    #[arg(long, value_name = "FILE", conflicts_with = "oidc_issuer_url")]
    authentication_config: Option<PathBuf>,
}

impl OidcOptions {
    /// Adds the issuers that were asked for.
    pub(crate) fn apply(&self, config: &mut Config) -> anyhow::Result<()> {
        if let Some(file) = &self.authentication_config {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("reading {}", file.display()))?;
            config.oidc_issuers = apiserver::parse_authentication_config(&text)
                .map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
        }
        let (Some(url), Some(client)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            return Ok(());
        };
        let required = self
            .oidc_required_claim
            .iter()
            .map(|pair| match pair.split_once('=') {
                Some((claim, value)) if !claim.is_empty() => {
                    Ok((claim.to_owned(), value.to_owned()))
                }
                _ => Err(anyhow::anyhow!(
                    "--oidc-required-claim {pair:?}: expected CLAIM=VALUE"
                )),
            })
            .collect::<anyhow::Result<_>>()?;
        let ca = match &self.oidc_ca_file {
            None => None,
            Some(file) => {
                Some(std::fs::read(file).with_context(|| format!("reading {}", file.display()))?)
            }
        };
        config.oidc_issuers.push(Issuer {
            username: ClaimMapping::username(
                url,
                &self.oidc_username_claim,
                self.oidc_username_prefix.as_deref(),
            ),
            groups: self.oidc_groups_claim.clone().map(|claim| ClaimMapping {
                claim,
                prefix: self.oidc_groups_prefix.clone().unwrap_or_default(),
            }),
            url: url.clone(),
            discovery_url: None,
            ca,
            audiences: vec![client.clone()],
            algorithms: self.oidc_signing_algs.clone(),
            uid: None,
            required,
            pause: Issuer::PAUSE,
        });
        Ok(())
    }
}
