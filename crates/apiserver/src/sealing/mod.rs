//! Values sealed at rest: what lies in the store cannot be read, changed or moved without the keys of a file.
//!
//! ```text
//! object ─► codec ─► seal: first provider of the resource ─► store     k8s:enc:aesgcm:v1:<key>:<nonce><sealed>
//! object ◄─ codec ◄─ open: the provider that the prefix names ◄─ store
//! file changes ─► new rules ─► what is not as the rules would write it is written anew, in the background
//! ```
//! File and stored form are kube-apiserver's (`EncryptionConfiguration` of `apiserver.config.k8s.io/v1`); the
//! storage key is the associated data. Resources without a rule are stored in plain.
//!
//! Invariants:
//! * Without rules nothing is copied; a value that is sealed all the same is an error that names its key.
//! * A value that no provider of its resource wrote is never served: an error, not garbage, and no plain text
//!   where the rules do not list `identity`.

mod agreement;
mod config;
mod follow;

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use pki::{NotAuthentic, PkiError, SealingKey};

pub(crate) use agreement::Summary;
pub(crate) use follow::{load, start};

/// How every sealed value begins.
const SEALED: &[u8] = b"k8s:enc:";
/// How values sealed with AES-GCM begin.
const AES_GCM: &[u8] = b"k8s:enc:aesgcm:v1:";

/// Why a stored value cannot be opened, or an object not be sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealingError {
    #[error(
        "it is sealed with {0}, which the encryption configuration does not have for this resource"
    )]
    NoKey(String),
    #[error(
        "it is stored in plain, which the encryption configuration does not allow for this resource: add the provider `identity`"
    )]
    Plain,
    #[error("it is sealed with the key {0:?}, but {1}")]
    NotAuthentic(String, NotAuthentic),
    #[error("sealing it: {0}")]
    Provider(#[from] PkiError),
}

/// The rules in force.
#[derive(Default)]
pub(crate) struct Sealing(ArcSwapOption<Rules>);

impl Sealing {
    pub(crate) fn set(&self, rules: Rules) {
        self.0.store(Some(Arc::new(rules)));
    }

    /// The rules in force.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.0.load_full().unwrap_or_default()
    }

    /// The plain form of what is stored at `place`.
    pub(crate) fn open<'a>(
        &self,
        place: &str,
        stored: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, SealingError> {
        let rules = self.0.load();
        match rules.as_ref().and_then(|rules| rules.of(place)) {
            None if stored.starts_with(SEALED) => Err(SealingError::NoKey(named(stored))),
            None => Ok(Cow::Borrowed(stored)),
            Some(providers) => open(providers, place, stored),
        }
    }

    /// What is to be stored at `place`.
    pub(crate) fn seal(&self, place: &str, plain: Vec<u8>) -> Result<Bytes, SealingError> {
        let rules = self.0.load();
        let first = rules.as_ref().and_then(|rules| rules.of(place)?.first());
        match first {
            None | Some(Provider::Identity) => Ok(plain.into()),
            Some(Provider::AesGcm(name, key)) => {
                let mut out = Vec::with_capacity(AES_GCM.len() + name.len() + plain.len() + 32);
                out.extend_from_slice(AES_GCM);
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                key.seal(place.as_bytes(), &plain, &mut out)?;
                Ok(out.into())
            }
        }
    }

    /// Whether a write of the same object would be stored in another form.
    pub(crate) fn is_stale(&self, place: &str, stored: &[u8]) -> bool {
        let rules = self.0.load();
        match rules.as_ref().and_then(|rules| rules.of(place)?.first()) {
            None => false,
            Some(Provider::Identity) => stored.starts_with(SEALED),
            Some(Provider::AesGcm(name, _)) => sealed_part(name, stored).is_none(),
        }
    }

    /// Begins of the keys that rules may cover.
    fn prefixes(&self) -> Vec<String> {
        let rules = self.0.load();
        let mut prefixes: Vec<String> = rules
            .iter()
            .flat_map(|rules| &rules.0)
            .flat_map(|rule| &rule.resources)
            .map(Pattern::prefix)
            .collect();
        prefixes.sort();
        prefixes.dedup();
        // What lies below another one is reached with it.
        let all = prefixes.clone();
        prefixes.retain(|p| {
            !all.iter()
                .any(|other| other != p && p.starts_with(other.as_str()))
        });
        prefixes
    }
}

fn open<'a>(
    providers: &[Provider],
    place: &str,
    stored: &'a [u8],
) -> Result<Cow<'a, [u8]>, SealingError> {
    let mut failed = None;
    for provider in providers {
        match provider {
            Provider::Identity if !stored.starts_with(SEALED) => return Ok(Cow::Borrowed(stored)),
            Provider::Identity => {}
            Provider::AesGcm(name, key) => {
                let Some(sealed) = sealed_part(name, stored) else {
                    continue;
                };
                match key.open(place.as_bytes(), sealed) {
                    Ok(plain) => return Ok(Cow::Owned(plain)),
                    Err(e) => failed = Some(SealingError::NotAuthentic(name.clone(), e)),
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| {
        if stored.starts_with(SEALED) {
            SealingError::NoKey(named(stored))
        } else {
            SealingError::Plain
        }
    }))
}

/// What follows the prefix of a key.
fn sealed_part<'a>(name: &str, stored: &'a [u8]) -> Option<&'a [u8]> {
    stored
        .strip_prefix(AES_GCM)?
        .strip_prefix(name.as_bytes())?
        .strip_prefix(b":")
}

/// Provider and key that the prefix of a sealed value names, for people.
fn named(stored: &[u8]) -> String {
    let rest = stored.strip_prefix(SEALED).unwrap_or_default();
    // provider ':' version ':' key ':'; a key's name is as short as a Kubernetes name.
    let head = &rest[..rest.len().min(300)];
    let mut parts = head.split(|b| *b == b':').map(String::from_utf8_lossy);
    let (provider, _, key) = (parts.next(), parts.next(), parts.next());
    format!(
        "the key {:?} of the provider {:?}",
        key.unwrap_or_default(),
        provider.unwrap_or_default()
    )
}

/// What an `EncryptionConfiguration` says.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    /// The providers of the first rule that covers a storage key.
    fn of(&self, place: &str) -> Option<&[Provider]> {
        let mut parts = place.strip_prefix('/')?.splitn(3, '/');
        self.of_group(parts.next()?, parts.next()?)
    }

    /// The providers of the first rule that covers a resource.
    fn of_group(&self, group: &str, resource: &str) -> Option<&[Provider]> {
        let covers = |rule: &&Rule| rule.resources.iter().any(|p| p.covers(group, resource));
        self.0
            .iter()
            .find(covers)
            .map(|rule| rule.providers.as_slice())
    }
}

#[derive(Debug)]
struct Rule {
    resources: Vec<Pattern>,
    providers: Vec<Provider>,
}

#[derive(Debug)]
enum Provider {
    Identity,
    /// Name of the key, and the key.
    AesGcm(String, SealingKey),
}

/// Which resources; groups are as in storage keys, where the core group is `core`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    All,
    Group(String),
    Resource { group: String, resource: String },
}

impl Pattern {
    fn covers(&self, group: &str, resource: &str) -> bool {
        match self {
            Pattern::All => true,
            Pattern::Group(own) => own == group,
            Pattern::Resource {
                group: own,
                resource: plural,
            } => own == group && plural == resource,
        }
    }

    /// As the file writes it.
    fn name(&self) -> String {
        match self {
            Pattern::All => "*.*".to_owned(),
            Pattern::Group(group) if group == "core" => "*.".to_owned(),
            Pattern::Group(group) => format!("*.{group}"),
            Pattern::Resource { group, resource } if group == "core" => resource.clone(),
            Pattern::Resource { group, resource } => format!("{resource}.{group}"),
        }
    }

    fn prefix(&self) -> String {
        match self {
            Pattern::All => "/".to_owned(),
            Pattern::Group(group) => format!("/{group}/"),
            Pattern::Resource { group, resource } => format!("/{group}/{resource}/"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
