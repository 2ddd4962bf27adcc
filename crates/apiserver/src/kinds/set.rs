//! All kinds at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Kind;

/// A version of a group and its kinds.
pub(crate) type Version = (String, Vec<Arc<Kind>>);

/// An immutable set of kinds; a change of a CRD makes a new one.
#[derive(Debug, Default)]
pub(crate) struct KindSet {
    /// group -> versions, best first -> kinds by plural.
    groups: BTreeMap<String, Vec<Version>>,
}

impl KindSet {
    pub(crate) fn new(kinds: impl IntoIterator<Item = Arc<Kind>>) -> Self {
        let mut set = KindSet::default();
        for kind in kinds {
            // The first of a name stays: built-in kinds come first.
            if set.get(&kind.group, &kind.version, &kind.plural).is_some() {
                continue;
            }
            let versions = set.groups.entry(kind.group.clone()).or_default();
            match versions.iter_mut().find(|(v, _)| *v == kind.version) {
                Some((_, kinds)) => kinds.push(kind),
                None => versions.push((kind.version.clone(), vec![kind])),
            }
        }
        for versions in set.groups.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(version_order(&version.0)));
            for (_, kinds) in versions {
                kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
            }
        }
        set
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.groups
            .get(group)?
            .iter()
            .find(|(v, _)| v == version)?
            .1
            .iter()
            .find(|k| k.plural == plural)
    }

    /// A resource in its best version.
    pub(crate) fn resource(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.groups
            .get(group)?
            .iter()
            .find_map(|(_, kinds)| kinds.iter().find(|k| k.plural == plural))
    }

    /// Groups with their versions, best first, and kinds.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, &[Version])> {
        self.groups.iter().map(|(g, v)| (g.as_str(), v.as_slice()))
    }

    pub(crate) fn versions(&self, group: &str) -> Option<&[Version]> {
        self.groups.get(group).map(Vec::as_slice)
    }
}

/// Kubernetes' order of versions: `v2 > v1 > v2beta1 > v1beta2 > v1alpha1 > others (by name, reversed)`.
pub(crate) fn version_order(version: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let parsed = (|| {
        let rest = version.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (major, stage) = rest.split_at(digits);
        let major: u32 = major.parse().ok()?;
        if stage.is_empty() {
            return Some((3, major, 0));
        }
        if let Some(minor) = stage.strip_prefix("beta") {
            return Some((2, major, minor.parse().ok()?));
        }
        Some((1, major, stage.strip_prefix("alpha")?.parse().ok()?))
    })();
    match parsed {
        Some((stage, major, minor)) => (stage, major, minor, std::cmp::Reverse(String::new())),
        None => (0, 0, 0, std::cmp::Reverse(version.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::version_order;

    #[test]
    fn versions_sort_as_kubernetes_sorts_them() {
        let mut versions = [
            "foo1", "v1alpha1", "v10", "v1beta1", "v2", "v1", "v11beta2", "foo10", "v3beta1",
        ];
        versions.sort_by_key(|version| std::cmp::Reverse(version_order(version)));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v11beta2", "v3beta1", "v1beta1", "v1alpha1", "foo1", "foo10"
            ]
        );
    }
}
