//! What a server is made of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::authz::User;
use pki::{Pair, ServiceAccountKeys};
use store::Store;

use crate::audit::{AuditLog, AuditPolicy};
use crate::front_proxy::FrontProxy;
use crate::oidc::Issuer;
use crate::replicas::Replica;
use crate::strategy::StrategyRegistration;
use crate::subresource::SubresourceRegistration;

/// A token that is known beforehand.
#[derive(Clone, Debug)]
pub struct StaticToken {
    /// The bearer token.
    pub token: String,
    /// Whom it stands for.
    pub user: User,
}

/// Values sealed at rest.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// An `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, YAML or JSON.
    pub file: PathBuf,
    /// How often to look whether the file has changed.
    pub every: Duration,
}

impl Encryption {
    /// With the file looked at every ten seconds.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Encryption {
            file,
            every: Duration::from_secs(10),
        }
    }
}

/// Everything that [`crate::ApiServer::new`] needs.
pub struct Config {
    /// Where objects live.
    pub store: Arc<dyn Store>,
    /// Whether other servers have the same store; see `registry/claims.rs`.
    pub shared_store: bool,
    /// Which of them this one is; none checks nothing. See `replicas`.
    pub replica: Option<Replica>,
    /// Signs and verifies service-account tokens.
    pub service_account_keys: Arc<ServiceAccountKeys>,
    /// Tokens from a file, see [`parse_token_file`].
    pub static_tokens: Vec<StaticToken>,
    /// OpenID Connect issuers whose tokens are accepted.
    pub oidc_issuers: Vec<Issuer>,
    /// PEM certificates of the CA of client certificates, as [`crate::serve`]'s TLS configuration knows it; needed to
    /// tell users from front proxies, and published for aggregated servers.
    pub client_ca: Option<String>,
    /// Who may speak for others; TLS must accept certificates of that CA too.
    pub front_proxy: Option<FrontProxy>,
    /// The certificate that this server shows to those it forwards requests to.
    pub proxy_client: Option<Pair>,
    /// What is special about resources, on top of what the server knows itself.
    pub strategies: Vec<StrategyRegistration>,
    /// Subresources beyond the server's own.
    pub subresources: Vec<SubresourceRegistration>,
    /// Issuer of service-account tokens.
    pub issuer: String,
    /// Audience of a token when none is asked for.
    pub audience: String,
    /// Range of Service addresses, an IPv4 CIDR such as `10.96.0.0/12`.
    pub service_cidr: String,
    /// Version of the product, shown in `/version` behind `+`.
    pub product: String,
    /// How values are kept secret in the store; in plain when there is none.
    pub encryption: Option<Encryption>,
    /// What is logged of requests, and where; nothing when there is none.
    pub audit: Option<(AuditPolicy, AuditLog)>,
    /// How long a watcher may read nothing while there is something to read, before its watch is ended.
    pub watch_stall: Duration,
    /// Seats that the priority levels of clients share: requests that are answered at the same time, a wide list
    /// counting for several. kube-apiserver's `--max-requests-inflight` and `--max-mutating-requests-inflight`
    /// together.
    pub seats: u32,
    /// Whether to create default namespaces and RBAC policy when they are missing.
    pub bootstrap: bool,
}

impl Config {
    /// A configuration with everything optional at its default.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, service_account_keys: Arc<ServiceAccountKeys>) -> Self {
        Config {
            store,
            shared_store: false,
            replica: None,
            service_account_keys,
            static_tokens: Vec::new(),
            oidc_issuers: Vec::new(),
            client_ca: None,
            front_proxy: None,
            proxy_client: None,
            strategies: Vec::new(),
            subresources: Vec::new(),
            issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            audience: "https://kubernetes.default.svc.cluster.local".to_owned(),
            service_cidr: "10.96.0.0/12".to_owned(),
            product: format!("ferrovirt-{}", env!("CARGO_PKG_VERSION")),
            encryption: None,
            audit: None,
            watch_stall: crate::limits::WATCH_STALL,
            seats: crate::limits::SEATS,
            bootstrap: true,
        }
    }
}

/// Parses kube-apiserver's `--token-auth-file`: lines of `token,user,uid[,"group1,group2"]`.
///
/// # Errors
/// Names the first line that cannot be used.
pub fn parse_token_file(text: &str) -> Result<Vec<StaticToken>, String> {
    let mut tokens = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields =
            split_csv(line).ok_or_else(|| format!("line {}: unbalanced quotes", index + 1))?;
        let [token, name, uid, rest @ ..] = fields.as_slice() else {
            return Err(format!(
                "line {}: expected token,user,uid[,groups]",
                index + 1
            ));
        };
        if token.is_empty() {
            return Err(format!("line {}: the token is empty", index + 1));
        }
        let groups = rest
            .first()
            .map(|groups| {
                groups
                    .split(',')
                    .map(|g| g.trim().to_owned())
                    .filter(|g| !g.is_empty())
                    .collect()
            })
            .unwrap_or_default();
        tokens.push(StaticToken {
            token: token.clone(),
            user: User {
                name: name.clone(),
                uid: uid.clone(),
                groups,
                ..User::default()
            },
        });
    }
    Ok(tokens)
}

fn split_csv(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    (!quoted).then(|| fields.into_iter().map(|f| f.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_files_are_those_of_kubernetes() {
        let parsed =
            parse_token_file("t1,admin,1,\"system:masters,ops\"\n\n# note\nt2,joe,2\n").unwrap();
        assert_eq!(parsed[0].user.groups, ["system:masters", "ops"]);
        assert_eq!(parsed[1].user.name, "joe");
        assert!(parse_token_file("only").is_err());
        assert!(parse_token_file("t,\"open,1").is_err());
    }
}
