//! Who asks: client certificate, bearer token, or nobody.
//!
//! Order: identity given in process → impersonation is separate (see `server::impersonate`) → front proxy → certificate →
//! static token → token of an OIDC issuer or of a service account, by its issuer → anonymous. A token that is presented and wrong is 401, never anonymous.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use apimachinery::status::ApiError;
use http::HeaderMap;
use pki::{Claims, ServiceAccountKeys};

use crate::config::StaticToken;
use crate::front_proxy::{FrontProxy, Peer};
use crate::oidc::{Issuer, Provider};
use crate::registry::Reader;

/// The identity that a verified client certificate gave to a connection.
#[derive(Clone, Debug)]
pub(crate) struct CertificateUser(pub Arc<User>);

/// Knows all ways to authenticate.
pub(crate) struct Authenticator {
    tokens: HashMap<String, User>,
    issuers: Vec<Provider>,
    front_proxy: Option<FrontProxy>,
    keys: Arc<ServiceAccountKeys>,
    issuer: String,
    audience: String,
}

impl Authenticator {
    pub(crate) fn new(
        tokens: Vec<StaticToken>,
        issuers: Vec<Issuer>,
        front_proxy: Option<FrontProxy>,
        keys: Arc<ServiceAccountKeys>,
        issuer: String,
        audience: String,
    ) -> Result<Self, String> {
        if issuers.iter().any(|other| other.url == issuer) {
            return Err(format!(
                "the OIDC issuer {issuer:?} is the issuer of service-account tokens"
            ));
        }
        let issuers = issuers
            .into_iter()
            .map(Provider::new)
            .collect::<Result<_, _>>()?;
        let tokens = tokens
            .into_iter()
            .map(|t| (t.token, authenticated(t.user)))
            .collect();
        Ok(Authenticator {
            tokens,
            issuers,
            front_proxy,
            keys,
            issuer,
            audience,
        })
    }

    /// The caller of a request from a peer.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        reader: &Reader,
    ) -> Result<User, ApiError> {
        if peer.proxy.is_some()
            && let Some(proxy) = &self.front_proxy
            && let Some(user) = proxy.user(headers)?
        {
            return Ok(authenticated(user));
        }
        if let Some(certificate) = &peer.user {
            return Ok((*certificate.0).clone());
        }
        let Some(header) = headers.get(http::header::AUTHORIZATION) else {
            return Ok(User::anonymous());
        };
        let text = header.to_str().map_err(|_| ApiError::unauthorized())?;
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self
                .token(token.trim(), &[], reader)
                .await
                .map(|(user, _)| user)
                .ok_or_else(ApiError::unauthorized),
            // Other schemes are not ours to judge.
            _ => Ok(User::anonymous()),
        }
    }

    /// The user of a token that is valid for one of `audiences` (empty: this server), and those of them it is
    /// valid for.
    pub(crate) async fn token(
        &self,
        token: &str,
        audiences: &[String],
        reader: &Reader,
    ) -> Option<(User, Vec<String>)> {
        // Tokens that name no audience of ours are for this server.
        let for_this_server = |user: User| {
            let own = audiences
                .iter()
                .filter(|a| **a == self.audience)
                .cloned()
                .collect::<Vec<_>>();
            (audiences.is_empty() || !own.is_empty()).then_some((user, own))
        };
        if let Some(user) = self.tokens.get(token) {
            return for_this_server(user.clone());
        }
        if token.matches('.').count() != 2 {
            return None;
        }
        if !self.issuers.is_empty() {
            let issuer = pki::unverified_issuer(token)?;
            if let Some(provider) = self.issuers.iter().find(|p| p.url() == issuer) {
                return for_this_server(authenticated(provider.judge(token).await?));
            }
        }
        let claims = self
            .keys
            .verify(token)
            .ok()
            .filter(|claims| claims.iss == self.issuer)?;
        let own = [self.audience.clone()];
        let wanted = if audiences.is_empty() {
            own.as_slice()
        } else {
            audiences
        };
        let matched: Vec<String> = wanted
            .iter()
            .filter(|a| claims.aud.contains(a))
            .cloned()
            .collect();
        if matched.is_empty() {
            return None;
        }
        let user = service_account(&claims, reader).await?;
        Some((user, matched))
    }
}

/// A token lives as long as the objects it is bound to.
async fn service_account(claims: &Claims, reader: &Reader) -> Option<User> {
    let bound = &claims.kubernetes;
    let is_alive = |resource: &'static str, name: &str, uid: &str| {
        let (name, uid) = (name.to_owned(), uid.to_owned());
        async move {
            let object = reader
                .get("", resource, &bound.namespace, &name)
                .await
                .ok()
                .flatten()?;
            (meta::uid(&object) == Some(uid.as_str())).then_some(())
        }
    };
    is_alive(
        "serviceaccounts",
        &bound.serviceaccount.name,
        &bound.serviceaccount.uid,
    )
    .await?;
    if let Some(pod) = &bound.pod {
        is_alive("pods", &pod.name, &pod.uid).await?;
    }
    if let Some(secret) = &bound.secret {
        is_alive("secrets", &secret.name, &secret.uid).await?;
    }
    let mut extra = BTreeMap::new();
    if let Some(jti) = &claims.jti {
        extra.insert(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("JTI={jti}")],
        );
    }
    if let Some(pod) = &bound.pod {
        extra.insert(
            "authentication.kubernetes.io/pod-name".to_owned(),
            vec![pod.name.clone()],
        );
        extra.insert(
            "authentication.kubernetes.io/pod-uid".to_owned(),
            vec![pod.uid.clone()],
        );
    }
    Some(User {
        uid: bound.serviceaccount.uid.clone(),
        extra,
        ..User::service_account(&bound.namespace, &bound.serviceaccount.name)
    })
}

/// Adds the group of everybody who is somebody.
pub(crate) fn authenticated(mut user: User) -> User {
    let group = if user.name == "system:anonymous" {
        "system:unauthenticated"
    } else {
        "system:authenticated"
    };
    if !user.in_group(group) {
        user.groups.push(group.to_owned());
    }
    user
}
