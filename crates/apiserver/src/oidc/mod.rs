//! Bearer tokens of OpenID Connect issuers.
//!
//! ```text
//! token ─► whose is it (iss, unverified)? ─► none of ours: not judged here
//!              │
//!              ▼ known key? ── no ─► discovery document ─► key set   (one fetch at a time, at most one in 10 s)
//!          signature ─► issuer, audience, times ─► required claims ─► user name, groups
//! ```
//! Keys are fetched when the first token of an issuer comes, so an issuer that is down delays nobody else and no
//! start. They are refreshed when a token names a key that is not known, and in the background when they are old, so
//! that a key the issuer has withdrawn does not live on.
//!
//! Options, defaults and prefixes are kube-apiserver's: `--oidc-*`, or `jwt` of an `AuthenticationConfiguration`
//! ([`structured`]).

mod claims;
mod keys;
mod structured;

use std::time::Duration;

use ::authz::User;
use http::Uri;
use pki::{SigningAlgorithm, TokenError};

use self::keys::KeySource;

pub use structured::parse_authentication_config;

/// How far clocks may be apart, in seconds.
const LEEWAY: i64 = 30;
/// Longest token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// An issuer whose tokens are accepted, and what they make of their bearer.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The issuer's URL, exactly as in its tokens.
    pub url: String,
    /// Where its discovery document is, when not at `<url>/.well-known/openid-configuration`.
    pub discovery_url: Option<String>,
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// Names of accepted algorithms; `RS256` upstream when none is named.
    pub algorithms: Vec<String>,
    /// What the user is called.
    pub username: ClaimMapping,
    /// The groups, when there are any.
    pub groups: Option<ClaimMapping>,
    /// The claim that is the user's uid.
    pub uid: Option<String>,
    /// Claims that must be strings of a certain value.
    pub required: Vec<(String, String)>,
    /// Shortest time between two fetches of its keys, however many tokens name unknown ones; [`Issuer::PAUSE`].
    pub pause: Duration,
}

impl Issuer {
    /// The usual [`Issuer::pause`].
    pub const PAUSE: Duration = Duration::from_secs(10);
}

/// A claim, and what is put before its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMapping {
    /// Its name.
    pub claim: String,
    /// Put before each value.
    pub prefix: String,
}

impl ClaimMapping {
    /// What `--oidc-username-claim` and `--oidc-username-prefix` mean: without a prefix, names from claims other than
    /// `email` get `<issuer>#`; the prefix `-` is none.
    #[must_use]
    pub fn username(issuer: &str, claim: &str, prefix: Option<&str>) -> Self {
        let prefix = match prefix {
            Some("-") => String::new(),
            Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
            _ if claim == "email" => String::new(),
            _ => format!("{issuer}#"),
        };
        ClaimMapping {
            claim: claim.to_owned(),
            prefix,
        }
    }
}

/// An issuer in use.
pub(crate) struct Provider {
    issuer: Issuer,
    algorithms: Vec<SigningAlgorithm>,
    keys: KeySource,
}

impl Provider {
    /// Checks an issuer's configuration; fetches nothing.
    pub(crate) fn new(issuer: Issuer) -> Result<Self, String> {
        let said = |why: String| format!("the OIDC issuer {:?}: {why}", issuer.url);
        let url = https_url(&issuer.url).map_err(&said)?;
        if url.query().is_some() {
            return Err(said("the URL must have no query".to_owned()));
        }
        if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
            return Err(said("a client id (audience) is required".to_owned()));
        }
        let discovery = match &issuer.discovery_url {
            Some(url) => https_url(url),
            None => https_url(&format!(
                "{}/.well-known/openid-configuration",
                issuer.url.trim_end_matches('/')
            )),
        }
        .map_err(&said)?;
        let names = match issuer.algorithms.as_slice() {
            [] => &["RS256".to_owned()][..],
            names => names,
        };
        let algorithms = names
            .iter()
            .map(|name| {
                SigningAlgorithm::named(name).ok_or_else(|| {
                    said(format!(
                        "the signing algorithm {name:?} is not supported; RS256, RS384, RS512, PS256, PS384, PS512, ES256 and ES384 are"
                    ))
                })
            })
            .collect::<Result<_, _>>()?;
        let tls = crate::tls_client::config(issuer.ca.as_deref().unwrap_or_default())
            .map_err(|e| said(e.replace("caBundle", "CA")))?;
        Ok(Provider {
            keys: KeySource::new(&issuer, discovery, tls),
            issuer,
            algorithms,
        })
    }

    /// Whose tokens these are.
    pub(crate) fn url(&self) -> &str {
        &self.issuer.url
    }

    /// The bearer of a token of this issuer; waits for the issuer only when the token names a key that is not known.
    pub(crate) async fn judge(&self, token: &str) -> Option<User> {
        let user = if token.len() > MAX_TOKEN {
            Err("it is too long".to_owned())
        } else {
            self.user(token).await
        };
        user.inspect_err(|why| {
            tracing::debug!(issuer = self.issuer.url, why, "an OIDC token is refused");
        })
        .ok()
    }

    async fn user(&self, token: &str) -> Result<User, String> {
        let claims = match self.keys.current().verify(token, &self.algorithms) {
            Err(TokenError::UnknownKey) => {
                let fresh = self.keys.refreshed().await?;
                fresh.verify(token, &self.algorithms)
            }
            known => {
                self.keys.refresh_when_old();
                known
            }
        };
        let claims = claims.map_err(|e| e.to_string())?;
        let now = jiff::Timestamp::now().as_second();
        pki::check_times(&claims, now, LEEWAY).map_err(|e| e.to_string())?;
        claims::user(&self.issuer, &claims)
    }
}

fn https_url(url: &str) -> Result<Uri, String> {
    let parsed: Uri = url.parse().map_err(|e| format!("{url:?} is no URL: {e}"))?;
    let authority = parsed.authority().map(http::uri::Authority::as_str);
    if parsed.scheme_str() != Some("https") || authority.is_none_or(str::is_empty) {
        return Err(format!("{url:?}: an https URL is required"));
    }
    if authority.is_some_and(|a| a.contains('@')) || url.contains('#') {
        return Err(format!("{url:?}: no user and no fragment are allowed"));
    }
    Ok(parsed)
}

/// Time for one document.
const FETCH: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        Issuer {
            url: "https://idp.example.com/realm".to_owned(),
            discovery_url: None,
            ca: Some(Vec::new()),
            audiences: vec!["ferrovirt".to_owned()],
            algorithms: Vec::new(),
            username: ClaimMapping::username("https://idp.example.com/realm", "sub", None),
            groups: None,
            uid: None,
            required: Vec::new(),
            pause: Issuer::PAUSE,
        }
    }

    #[test]
    fn names_carry_their_issuer_unless_they_are_addresses() {
        let prefix = |claim, prefix| ClaimMapping::username("https://i", claim, prefix).prefix;
        assert_eq!(prefix("sub", None), "https://i#");
        assert_eq!(prefix("email", None), "");
        assert_eq!(prefix("email", Some("x:")), "x:");
        assert_eq!(prefix("sub", Some("-")), "");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let why = |change: fn(&mut Issuer)| {
            let mut issuer = issuer();
            change(&mut issuer);
            Provider::new(issuer).err().unwrap()
        };
        assert!(why(|i| i.url = "http://idp".to_owned()).contains("https"));
        assert!(why(|i| i.url = "https://u@idp".to_owned()).contains("no user"));
        assert!(why(|i| i.url = "https://idp/?a=b".to_owned()).contains("no query"));
        assert!(why(|i| i.audiences.clear()).contains("audience"));
        assert!(why(|i| i.algorithms = vec!["HS256".to_owned()]).contains("HS256"));
        assert!(why(|i| i.ca = Some(b"-----BEGIN CERTIFICATE-----\nAA\n".to_vec())).contains("CA"));
    }
}
