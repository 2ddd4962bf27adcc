//! Whether two servers over one store can open what the other one seals.
//!
//! ```text
//! rules ─► summary ─► (the other server's record) ─► disagreements with the other one's rules
//! ```
//! A summary names resources, providers and keys as the file does. In place of a key's secret it has a probe: nothing,
//! sealed with it. Who has the same secret can open that; who has not learns no more than from any sealed object.
//!
//! Two sets of rules agree about a resource when what either writes (its first provider) is among what the other reads
//! (all of its providers). That is what a rotation keeps to at each of its steps.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Pattern, Provider, Rules, config};

/// What a probe is bound to, in place of a storage key.
const PROBE: &[u8] = b"/~control-plane/replicas";
/// Stored in plain where no rule covers a resource.
const PLAIN: &[Provider] = &[Provider::Identity];

/// Rules without their secrets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Summary(Vec<RuleOf>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RuleOf {
    resources: Vec<String>,
    providers: Vec<ProviderOf>,
}

/// A provider: `identity`, or a key of `aesgcm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProviderOf {
    Identity,
    AesGcm { name: String, probe: String },
}

impl Provider {
    fn summary(&self) -> Result<ProviderOf, String> {
        let Self::AesGcm(name, key) = self else {
            return Ok(ProviderOf::Identity);
        };
        let mut probe = Vec::new();
        key.seal(PROBE, &[], &mut probe)
            .map_err(|e| e.to_string())?;
        Ok(ProviderOf::AesGcm {
            name: name.clone(),
            probe: STANDARD.encode(probe),
        })
    }

    /// Whether it is that one; an error if they have a name alike and not the secret.
    fn is(&self, other: &ProviderOf) -> Result<bool, String> {
        match (self, other) {
            (Self::Identity, ProviderOf::Identity) => Ok(true),
            (
                Self::AesGcm(name, key),
                ProviderOf::AesGcm {
                    name: theirs,
                    probe,
                },
            ) if name == theirs => {
                let opened = STANDARD.decode(probe).map(|probe| key.open(PROBE, &probe));
                match opened {
                    Ok(Ok(_)) => Ok(true),
                    _ => Err(format!("the key {name:?} has another secret there")),
                }
            }
            _ => Ok(false),
        }
    }
}

impl Summary {
    fn of(&self, group: &str, resource: &str) -> &[ProviderOf] {
        let covers = |rule: &&RuleOf| {
            let mut patterns = rule.resources.iter().map(|name| config::pattern(name));
            patterns.any(|pattern| pattern.is_ok_and(|p| p.covers(group, resource)))
        };
        self.0
            .iter()
            .find(covers)
            .map_or(&[ProviderOf::Identity], |rule| rule.providers.as_slice())
    }

    fn patterns(&self) -> impl Iterator<Item = Pattern> {
        let names = self.0.iter().flat_map(|rule| &rule.resources);
        names.filter_map(|name| config::pattern(name).ok())
    }
}

impl Rules {
    /// What others may know of them.
    ///
    /// # Errors
    /// When the provider of keys has no random numbers to give.
    pub(crate) fn summary(&self) -> Result<Summary, String> {
        let rules = self.0.iter().map(|rule| {
            let providers = rule.providers.iter().map(Provider::summary);
            Ok(RuleOf {
                resources: rule.resources.iter().map(Pattern::name).collect(),
                providers: providers.collect::<Result<_, String>>()?,
            })
        });
        rules.collect::<Result<_, _>>().map(Summary)
    }

    /// Whether a summary is of these rules.
    pub(crate) fn is_described_by(&self, summary: &Summary) -> bool {
        let same = |ours: &[Provider], theirs: &[ProviderOf]| {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(o, t)| o.is(t) == Ok(true))
        };
        self.0.len() == summary.0.len()
            && self.0.iter().zip(&summary.0).all(|(ours, theirs)| {
                let names: Vec<_> = ours.resources.iter().map(Pattern::name).collect();
                names == theirs.resources && same(&ours.providers, &theirs.providers)
            })
    }

    /// What one of two servers would write and the other could not read, in words; none if they agree.
    pub(crate) fn disagreements(&self, theirs: &Summary) -> Vec<String> {
        let ours = self
            .0
            .iter()
            .flat_map(|rule| rule.resources.iter().cloned());
        // A pattern stands for a resource that is named nowhere else.
        let all: BTreeSet<_> = ours.chain(theirs.patterns()).map(|p| p.name()).collect();
        let mut found = Vec::new();
        for name in all {
            let Ok(pattern) = config::pattern(&name) else {
                continue;
            };
            let (group, resource) = match &pattern {
                Pattern::All => ("*", "*"),
                Pattern::Group(group) => (group.as_str(), "*"),
                Pattern::Resource { group, resource } => (group.as_str(), resource.as_str()),
            };
            let ours = self.of_group(group, resource).unwrap_or(PLAIN);
            if let Some(why) = compare(ours, theirs.of(group, resource)) {
                found.push(format!("{name}: {why}"));
            }
        }
        found
    }
}

fn compare(ours: &[Provider], theirs: &[ProviderOf]) -> Option<String> {
    for (one, other) in ours.iter().flat_map(|o| theirs.iter().map(move |t| (o, t))) {
        if let Err(why) = one.is(other) {
            return Some(why);
        }
    }
    let alike = |one: &Provider, other: &ProviderOf| one.is(other) == Ok(true);
    if let Some(written) = theirs.first()
        && !ours.iter().any(|one| alike(one, written))
    {
        return Some(match written {
            ProviderOf::Identity => "stored in plain there, which is not read here".to_owned(),
            ProviderOf::AesGcm { name, .. } => {
                format!("sealed with the key {name:?} there, which is not known here")
            }
        });
    }
    if let Some(written) = ours.first()
        && !theirs.iter().any(|other| alike(written, other))
    {
        return Some(match written {
            Provider::Identity => "stored in plain here, which is not read there".to_owned(),
            Provider::AesGcm(name, _) => {
                format!("sealed with the key {name:?} here, which is not known there")
            }
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, rules};
    use super::*;

    const IDENTITY: &str = "{identity: {}}";

    fn disagreements(ours: &Rules, theirs: &Rules) -> String {
        ours.disagreements(&theirs.summary().unwrap()).join("; ")
    }

    fn secrets(providers: &str) -> Rules {
        rules("secrets", providers).unwrap()
    }

    #[test]
    fn every_step_of_a_rotation_agrees_with_the_next() {
        let (old, new) = (key("old", 1), key("new", 2));
        let steps = [
            Rules::default(),
            secrets(&format!("{IDENTITY}, {old}")),
            secrets(&format!("{old}, {IDENTITY}")),
            secrets(&old),
            secrets(&format!("{old}, {new}")),
            secrets(&format!("{new}, {old}")),
            secrets(&new),
        ];
        for (n, pair) in steps.windows(2).enumerate() {
            assert_eq!(disagreements(&pair[0], &pair[1]), "", "{n}");
            assert_eq!(disagreements(&pair[1], &pair[0]), "", "{n}");
        }
        // And none of them may be left out.
        for pair in steps.windows(3) {
            let (one, other) = (&pair[0], &pair[2]);
            let first = disagreements(one, other);
            let second = disagreements(other, one);
            assert_eq!(first.is_empty(), second.is_empty());
        }
        assert_ne!(disagreements(&steps[0], &steps[2]), "");
        assert_ne!(disagreements(&steps[3], &steps[5]), "");
    }

    #[test]
    fn what_differs_is_said() {
        let (one, other) = (secrets(&key("k1", 1)), secrets(&key("k1", 2)));
        assert_eq!(
            disagreements(&one, &other),
            "secrets: the key \"k1\" has another secret there"
        );
        assert_eq!(
            disagreements(&Rules::default(), &one),
            "secrets: sealed with the key \"k1\" there, which is not known here"
        );
        assert_eq!(
            disagreements(&one, &Rules::default()),
            "secrets: stored in plain there, which is not read here"
        );
        let both = rules("secrets, configmaps", &key("k1", 1)).unwrap();
        assert_eq!(
            disagreements(&both, &one),
            "configmaps: stored in plain there, which is not read here"
        );
    }

    #[test]
    fn patterns_are_compared_by_what_they_cover() {
        let (all, group) = (
            rules("\"*.*\"", &key("k", 1)).unwrap(),
            rules("\"*.example.com\"", &key("k", 1)).unwrap(),
        );
        assert_eq!(disagreements(&all, &all), "");
        assert_eq!(
            disagreements(&group, &all),
            "*.*: sealed with the key \"k\" there, which is not known here"
        );
        let one = rules("widgets.example.com", &key("k", 1)).unwrap();
        assert_eq!(
            disagreements(&one, &group),
            "*.example.com: sealed with the key \"k\" there, which is not known here"
        );
    }

    #[test]
    fn a_summary_is_recognized_and_has_no_secret() {
        let one = secrets(&format!("{}, {IDENTITY}", key("k1", 1)));
        let summary = one.summary().unwrap();
        assert!(one.is_described_by(&summary));
        let text = serde_json::to_string(&summary).unwrap();
        assert!(!text.contains(&STANDARD.encode([1; 32])), "{text}");
        let read: Summary = serde_json::from_str(&text).unwrap();
        assert!(one.is_described_by(&read));
        for other in [
            Rules::default(),
            secrets(&format!("{IDENTITY}, {}", key("k1", 1))),
            secrets(&format!("{}, {IDENTITY}", key("k1", 2))),
            rules("configmaps", &format!("{}, {IDENTITY}", key("k1", 1))).unwrap(),
        ] {
            assert!(!other.is_described_by(&summary));
        }
    }
}
