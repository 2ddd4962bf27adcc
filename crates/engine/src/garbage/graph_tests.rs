//! The rules of ownership, one by one.

use super::*;

fn node(uid: &str, owners: &[&str]) -> Node {
    Node {
        identity: Identity {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: Some("ns".into()),
            name: uid.into(),
            uid: uid.into(),
            resource_version: "1".into(),
        },
        owners: owners
            .iter()
            .map(|o| Owner {
                reference: OwnerReference {
                    uid: (*o).into(),
                    name: (*o).into(),
                    kind: "ConfigMap".into(),
                    api_version: "v1".into(),
                    ..OwnerReference::default()
                },
                block: true,
            })
            .collect(),
        deleting: false,
        finalizers: vec![],
    }
}

fn graph(nodes: Vec<Node>) -> Graph {
    let mut graph = Graph::default();
    for node in nodes {
        graph.apply(Change::Seen(node));
    }
    graph
}

fn absent(uids: &[&str]) -> HashMap<Uid, bool> {
    uids.iter().map(|u| ((*u).to_owned(), true)).collect()
}

#[test]
fn an_object_without_owners_is_left_alone() {
    assert_eq!(
        graph(vec![node("a", &[])]).decide(&"a".into(), &absent(&[])),
        []
    );
}

#[test]
fn an_unknown_owner_is_asked_for_before_anything_is_deleted() {
    let g = graph(vec![node("child", &["owner"])]);
    assert_eq!(g.unknown_owners(&"child".into())[0].uid, "owner");
    assert_eq!(g.decide(&"child".into(), &HashMap::new()), []);
}

#[test]
fn the_dependent_goes_when_its_last_owner_is_gone() {
    let mut g = graph(vec![node("owner", &[]), node("child", &["owner"])]);
    assert_eq!(g.decide(&"child".into(), &absent(&[])), []);
    let touched = g.apply(Change::Gone("owner".into()));
    assert_eq!(touched, ["child"]);
    assert!(matches!(
        g.decide(&"child".into(), &absent(&["owner"]))[..],
        [Action::Delete {
            policy: PropagationPolicy::Background,
            ..
        }]
    ));
}

#[test]
fn a_dangling_reference_is_removed_while_another_owner_lives() {
    let g = graph(vec![node("alive", &[]), node("child", &["gone", "alive"])]);
    let actions = g.decide(&"child".into(), &absent(&["gone"]));
    let [Action::SetOwners { owners, .. }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].uid, "alive");
}

#[test]
fn foreground_deletion_waits_for_blocking_dependents() {
    let mut owner = node("owner", &[]);
    owner.deleting = true;
    owner.finalizers = vec![FOREGROUND.into()];
    let mut g = graph(vec![owner, node("child", &["owner"])]);
    assert!(matches!(
        g.decide(&"owner".into(), &absent(&[]))[..],
        [Action::Delete { .. }]
    ));
    let mut going = node("child", &["owner"]);
    going.deleting = true;
    g.apply(Change::Seen(going));
    assert_eq!(g.decide(&"owner".into(), &absent(&[])), []);
    assert_eq!(g.apply(Change::Gone("child".into())), ["owner"]);
    assert!(matches!(
        &g.decide(&"owner".into(), &absent(&[]))[..],
        [Action::SetFinalizers { finalizers, .. }] if finalizers.is_empty()
    ));
}

#[test]
fn orphaning_takes_the_reference_first_and_the_finalizer_last() {
    let mut owner = node("owner", &[]);
    owner.deleting = true;
    owner.finalizers = vec![ORPHAN.into(), "other".into()];
    let mut g = graph(vec![owner, node("child", &["owner"])]);
    assert!(matches!(
        &g.decide(&"owner".into(), &absent(&[]))[..],
        [Action::SetOwners { owners, .. }] if owners.is_empty()
    ));
    assert_eq!(g.apply(Change::Seen(node("child", &[]))), ["owner"]);
    assert!(matches!(
        &g.decide(&"owner".into(), &absent(&[]))[..],
        [Action::SetFinalizers { finalizers, .. }] if finalizers == &["other"]
    ));
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let mut g = graph(vec![node("owner", &[]), node("child", &["owner"])]);
    g.apply(Change::Gone("child".into()));
    g.apply(Change::Gone("owner".into()));
    assert!(g.nodes.is_empty());
    assert!(g.dependents.is_empty());
}
