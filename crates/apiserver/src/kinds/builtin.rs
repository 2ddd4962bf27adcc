//! Reads the tables into kinds.

use std::sync::Arc;

use super::model::{Behaviour, Kind, SchemaSource, SubresourceInfo, Verbs, store_prefix};
use super::tables::{TABLES, Table};

/// Verbs of an ordinary resource.
pub(crate) const ALL_VERBS: Verbs = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const NO_COLLECTION: Verbs = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];
const CREATE_ONLY: Verbs = &["create"];

/// All built-in kinds.
pub(crate) fn builtin() -> Vec<Arc<Kind>> {
    TABLES
        .iter()
        .flat_map(|table| table.lines.lines().filter_map(|line| parse(table, line)))
        .map(Arc::new)
        .collect()
}

fn list(field: &str) -> Vec<String> {
    if field == "-" {
        Vec::new()
    } else {
        field.split(',').map(str::to_owned).collect()
    }
}

fn parse(table: &Table, line: &str) -> Option<Kind> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [
        plural,
        singular,
        kind,
        scope,
        flags,
        short,
        categories,
        subresources,
    ] = fields.as_slice()
    else {
        return None;
    };
    let flag = |c: char| flags.contains(c);
    let mut subs: Vec<SubresourceInfo> = list(subresources)
        .iter()
        .filter_map(|text| subresource(text))
        .collect();
    if flag('s') {
        subs.push(SubresourceInfo {
            name: "status".to_owned(),
            group: String::new(),
            version: String::new(),
            kind: (*kind).to_owned(),
            verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
        });
    }
    subs.sort_by(|a, b| a.name.cmp(&b.name));
    let verbs = if flag('v') {
        CREATE_ONLY
    } else if flag('n') {
        NO_COLLECTION
    } else {
        ALL_VERBS
    };
    Some(Kind {
        group: table.group.to_owned(),
        version: table.version.to_owned(),
        kind: (*kind).to_owned(),
        list_kind: format!("{kind}List"),
        plural: (*plural).to_owned(),
        singular: (*singular).to_owned(),
        short_names: list(short),
        categories: list(categories),
        namespaced: *scope == "N",
        verbs,
        subresources: subs,
        prefix: if flag('e') {
            store_prefix("", "events")
        } else {
            store_prefix(table.group, plural)
        },
        storage_version: table.version.to_owned(),
        schema: SchemaSource::Builtin,
        behaviour: Behaviour {
            status: flag('s'),
            generation: flag('g'),
            create_on_update: flag('c'),
            unconditional_update: !flag('u'),
            graceful: flag('d'),
            is_virtual: flag('v'),
            new_event: flag('e'),
        },
        crd: None,
    })
}

fn subresource(text: &str) -> Option<SubresourceInfo> {
    let mut parts = text.split(':');
    let (name, kind, verbs) = (parts.next()?, parts.next()?, parts.next()?);
    let (group, version) = parts
        .next()
        .and_then(|gv| gv.split_once('/'))
        .unwrap_or_default();
    Some(SubresourceInfo {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        verbs: verbs
            .chars()
            .filter_map(|c| match c {
                'c' => Some("create"),
                'd' => Some("delete"),
                'g' => Some("get"),
                'p' => Some("patch"),
                'u' => Some("update"),
                _ => None,
            })
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_read() {
        let lines: usize = TABLES
            .iter()
            .map(|t| t.lines.lines().filter(|l| !l.is_empty()).count())
            .sum();
        let kinds = builtin();
        assert_eq!(kinds.len(), lines);
        let pod = kinds.iter().find(|k| k.plural == "pods").unwrap();
        assert_eq!(pod.key("ns", "p"), "/core/pods/ns/p");
        assert!(pod.behaviour.graceful && pod.behaviour.status);
        assert_eq!(
            pod.subresources
                .iter()
                .map(|s| s.name.as_str())
                .collect::<Vec<_>>(),
            [
                "attach",
                "binding",
                "ephemeralcontainers",
                "eviction",
                "exec",
                "log",
                "portforward",
                "proxy",
                "resize",
                "status"
            ]
        );
    }
}
