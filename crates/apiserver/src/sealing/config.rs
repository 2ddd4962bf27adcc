//! Reading an `EncryptionConfiguration`.
//!
//! | | |
//! |---|---|
//! | `secrets`, `configmaps` | a resource of the core group |
//! | `widgets.example.com` | a resource of another group |
//! | `*.example.com`, `*.` | a group, the core group |
//! | `*.*` | everything |
//!
//! The first rule that covers a resource counts; a rule that an earlier one hides is refused, as upstream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::SealingKey;
use serde::Deserialize;

use super::{Pattern, Provider, Rule, Rules};

/// Largest file.
pub(super) const MAX_FILE: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<ResourcesOf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourcesOf {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<ProviderOf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderOf {
    aesgcm: Option<Keys>,
    identity: Option<serde_json::Value>,
    aescbc: Option<serde_json::Value>,
    secretbox: Option<serde_json::Value>,
    kms: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

/// Reads the text of a file, YAML or JSON.
///
/// Errors name the place in the file, and never show a key.
pub(crate) fn parse(text: &str) -> Result<Rules, String> {
    if text.len() > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    // The parser's message could quote a line with a key; the place alone is enough.
    let file: File = serde_saphyr::from_str(text).map_err(|e| match e.location() {
        Some(at) => format!(
            "line {}, column {}: it is not an EncryptionConfiguration",
            at.line(),
            at.column()
        ),
        None => "it is not an EncryptionConfiguration".to_owned(),
    })?;
    if file.kind != "EncryptionConfiguration"
        || !matches!(
            file.api_version.as_str(),
            "apiserver.config.k8s.io/v1" | "apiserver.config.k8s.io/v1beta1"
        )
    {
        return Err(format!(
            "it is a {:?} of {:?}, not an EncryptionConfiguration of apiserver.config.k8s.io/v1",
            file.kind, file.api_version
        ));
    }
    if file.resources.is_empty() {
        return Err("resources: at least one rule is required".to_owned());
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (index, rule) in file.resources.iter().enumerate() {
        let at = format!("resources[{index}]");
        if rule.resources.is_empty() {
            return Err(format!("{at}.resources: at least one resource is required"));
        }
        let mut patterns: Vec<Pattern> = Vec::new();
        for (number, name) in rule.resources.iter().enumerate() {
            let at = format!("{at}.resources[{number}]");
            let pattern = pattern(name).map_err(|why| format!("{at}: {name:?} {why}"))?;
            let earlier = rules.iter().flat_map(|r| &r.resources).chain(&patterns);
            if let Some(hiding) = earlier.into_iter().find(|p| hides(p, &pattern)) {
                return Err(format!(
                    "{at}: {name:?} is covered by {:?} before it",
                    hiding.prefix()
                ));
            }
            patterns.push(pattern);
        }
        rules.push(Rule {
            resources: patterns,
            providers: providers(&rule.providers, &at)?,
        });
    }
    Ok(Rules(rules))
}

pub(super) fn pattern(name: &str) -> Result<Pattern, &'static str> {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    let group_key = if group.is_empty() { "core" } else { group };
    match (resource, group) {
        ("*", "*") => Ok(Pattern::All),
        ("*", _) if !name.contains('.') => {
            Err("is not allowed: write `*.*`, or `*.` for the core group")
        }
        ("", _) => Err("names no resource"),
        (_, "*") => Err("is not allowed: a resource belongs to one group"),
        ("*", _) => Ok(Pattern::Group(group_key.to_owned())),
        _ if name.contains(['/', ' ']) => {
            Err("is not a resource: subresources are stored with their objects")
        }
        ("events", "events.k8s.io") => Err("is stored as `events` of the core group"),
        _ => Ok(Pattern::Resource {
            group: group_key.to_owned(),
            resource: resource.to_owned(),
        }),
    }
}

fn hides(earlier: &Pattern, later: &Pattern) -> bool {
    match later {
        Pattern::All => *earlier == Pattern::All,
        Pattern::Group(group) => match earlier {
            Pattern::All => true,
            Pattern::Group(own) => own == group,
            Pattern::Resource { .. } => false,
        },
        Pattern::Resource { group, resource } => earlier.covers(group, resource),
    }
}

fn providers(list: &[ProviderOf], at: &str) -> Result<Vec<Provider>, String> {
    if list.is_empty() {
        return Err(format!("{at}.providers: at least one provider is required"));
    }
    let mut providers = Vec::new();
    for (index, provider) in list.iter().enumerate() {
        let at = format!("{at}.providers[{index}]");
        match provider {
            ProviderOf {
                aesgcm: Some(keys),
                identity: None,
                aescbc: None,
                secretbox: None,
                kms: None,
            } => aes_gcm(keys, &format!("{at}.aesgcm"), &mut providers)?,
            ProviderOf {
                aesgcm: None,
                identity: Some(_),
                aescbc: None,
                secretbox: None,
                kms: None,
            } => providers.push(Provider::Identity),
            ProviderOf {
                aescbc: Some(_), ..
            } => {
                return Err(format!(
                    "{at}.aescbc: not supported, since it does not notice changed values; use aesgcm"
                ));
            }
            ProviderOf {
                secretbox: Some(_), ..
            } => {
                return Err(format!(
                    "{at}.secretbox: not supported, since it does not notice moved values; use aesgcm"
                ));
            }
            ProviderOf { kms: Some(_), .. } => {
                return Err(format!("{at}.kms: not supported; use aesgcm"));
            }
            _ => {
                return Err(format!(
                    "{at}: exactly one of aesgcm and identity is required (`identity: {{}}`)"
                ));
            }
        }
    }
    Ok(providers)
}

fn aes_gcm(keys: &Keys, at: &str, providers: &mut Vec<Provider>) -> Result<(), String> {
    if keys.keys.is_empty() {
        return Err(format!("{at}.keys: at least one key is required"));
    }
    for (index, key) in keys.keys.iter().enumerate() {
        let at = format!("{at}.keys[{index}]");
        if key.name.is_empty() {
            return Err(format!("{at}.name: required"));
        }
        if key.name.contains(':') || key.name.len() > 253 {
            return Err(format!("{at}.name: no colon, and at most 253 bytes"));
        }
        let taken = |p: &Provider| matches!(p, Provider::AesGcm(name, _) if *name == key.name);
        if providers.iter().any(taken) {
            return Err(format!(
                "{at}.name: {:?} is the name of another key",
                key.name
            ));
        }
        let secret = STANDARD
            .decode(key.secret.trim())
            .map_err(|_| format!("{at}.secret: it is not base64"))?;
        let sealing = SealingKey::aes_gcm(&secret).map_err(|_| {
            format!(
                "{at}.secret: a key of {} bytes; AES keys have 16, 24 or 32",
                secret.len()
            )
        })?;
        providers.push(Provider::AesGcm(key.name.clone(), sealing));
    }
    Ok(())
}
