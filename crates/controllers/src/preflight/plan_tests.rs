use proptest::prelude::*;

use super::*;

fn node(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        ready: true,
        skipped: false,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn facts(status: Option<Status>, nodes: &[NodeFacts]) -> Facts {
    let mut check = Check::new("c", api::preflight::VMRuntimePreflightCheckSpec {});
    check.status = status;
    Facts {
        check: Arc::new(check),
        nodes: nodes.to_vec(),
        use_emulation: None,
        since: at(0),
        patience: SignedDuration::from_secs(120),
    }
}

fn answer(passes: bool) -> NodeChecks {
    let result = if passes {
        CheckResult::passed("KVM")
    } else {
        CheckResult::failed("KVM", "no device")
    };
    NodeChecks::of(vec![CheckResult::passed("CPU"), result])
}

/// A check that began at 0.
fn begun(nodes: &[&str]) -> Status {
    Status {
        start_time: Some(MicroTime(at(0))),
        nodes: nodes.iter().map(|n| (*n).to_owned()).collect(),
        ..Status::default()
    }
}

#[test]
fn it_begins_with_the_ready_nodes_that_are_not_left_out() {
    let mut nodes = [node("b"), node("a"), node("unready"), node("labelled")];
    nodes[2].ready = false;
    nodes[3].skipped = true;
    let mut facts = facts(None, &nodes);
    facts.use_emulation = Some(false);
    let plan = decide(&facts, at(5));
    let status = plan.status.unwrap();
    assert_eq!(status.nodes, ["a", "b"]);
    assert_eq!(status.use_emulation, Some(false));
    assert_eq!(status.start_time, Some(MicroTime(at(5))));
    assert_eq!((status.pass, plan.event), (None, None));
    assert_eq!(plan.again_at, Some(at(125)));
    let message = status.message.unwrap();
    assert!(
        message.contains("0 of 2") && message.contains("a, b"),
        "{message}"
    );
}

#[test]
fn it_passes_when_the_last_node_has_passed() {
    let nodes = [node("a"), node("b")];
    let mut status = begun(&["a", "b"]);
    status.checks.insert("a".into(), answer(true));
    assert_eq!(
        decide(&facts(Some(status.clone()), &nodes), at(1))
            .status
            .unwrap()
            .pass,
        None
    );
    status.checks.insert("b".into(), answer(true));
    let plan = decide(&facts(Some(status), &nodes), at(2));
    let status = plan.status.unwrap();
    assert_eq!(status.pass, Some(true));
    assert_eq!(status.completion_time, Some(MicroTime(at(2))));
    assert_eq!(plan.event.unwrap().reason, "PreflightCheckPassed");
    assert!(status.message.unwrap().contains("will not run again"));
}

#[test]
fn one_failure_fails_it_and_is_named() {
    let nodes = [node("a"), node("b")];
    let mut status = begun(&["a", "b"]);
    status.checks.insert("a".into(), answer(true));
    status.checks.insert("b".into(), answer(false));
    let plan = decide(&facts(Some(status), &nodes), at(2));
    let status = plan.status.unwrap();
    assert_eq!(status.pass, Some(false));
    assert_eq!(status.failures.keys().collect::<Vec<_>>(), ["b"]);
    let note = plan.event.unwrap();
    assert_eq!(note.kind, reconcile::EventKind::Warning);
    assert!(
        note.message.contains("node b: KVM: no device"),
        "{}",
        note.message
    );
}

#[test]
fn a_node_without_a_live_agent_fails_at_the_deadline() {
    let nodes = [node("a"), node("b")];
    let mut status = begun(&["a", "b"]);
    status.checks.insert("a".into(), answer(true));
    let facts = facts(Some(status), &nodes);
    assert_eq!(decide(&facts, at(119)).status.unwrap().pass, None);
    let status = decide(&facts, at(120)).status.unwrap();
    assert_eq!(status.pass, Some(false));
    let result = &status.checks["b"].results[0];
    assert_eq!(result.check_name, NO_ANSWER);
    assert!(
        result
            .message
            .as_ref()
            .unwrap()
            .contains("has not answered within 120 s")
    );
}

#[test]
fn the_time_that_the_controller_was_away_does_not_count() {
    let mut facts = facts(Some(begun(&["a"])), &[node("a")]);
    facts.since = at(1000);
    let plan = decide(&facts, at(1010));
    assert_eq!(plan.status.unwrap().pass, None);
    assert_eq!(plan.again_at, Some(at(1120)));
}

#[test]
fn a_node_that_is_deleted_meanwhile_is_not_waited_for() {
    let mut status = begun(&["a", "b"]);
    status.checks.insert("a".into(), answer(true));
    let plan = decide(&facts(Some(status), &[node("a")]), at(1));
    assert_eq!(plan.status.unwrap().pass, Some(true));
}

#[test]
fn no_node_is_no_pass() {
    let mut skipped = node("a");
    skipped.skipped = true;
    let waits = decide(&facts(Some(begun(&[])), &[skipped.clone()]), at(1));
    assert_eq!(waits.status.unwrap().pass, None);
    let ends = decide(&facts(Some(begun(&[])), &[skipped]), at(120))
        .status
        .unwrap();
    assert_eq!(ends.pass, Some(false));
    assert!(ends.message.unwrap().contains(SKIP_LABEL));
}

#[test]
fn a_verdict_is_never_changed() {
    let over = Status {
        pass: Some(false),
        ..begun(&["gone"])
    };
    let plan = decide(&facts(Some(over.clone()), &[node("a")]), at(10_000));
    assert_eq!(
        (plan.status, plan.event, plan.again_at),
        (Some(over), None, None)
    );
}

proptest! {
    /// Whatever nodes answer, are silent, come and go: it ends by the deadline, passes only if every node that is
    /// still there and was asked has passed, and a second pass over the outcome changes nothing.
    #[test]
    fn it_ends_and_passes_only_on_evidence(
        nodes in proptest::collection::btree_map("[a-e]", (any::<bool>(), any::<bool>(), proptest::option::of(any::<bool>())), 0..6),
        second in 0..300_i64,
    ) {
        let asked: Vec<&str> = nodes.keys().map(String::as_str).collect();
        let mut status = begun(&asked);
        for (name, (_, _, says)) in &nodes {
            if let Some(passes) = says {
                status.checks.insert(name.clone(), answer(*passes));
            }
        }
        let there: Vec<NodeFacts> = nodes.iter().filter(|(_, (here, ..))| *here)
            .map(|(name, (_, ready, _))| NodeFacts { ready: *ready, ..node(name) }).collect();
        let mut facts = facts(Some(status), &there);
        let plan = decide(&facts, at(second));
        let status = plan.status.unwrap();
        if second >= 120 {
            prop_assert!(status.pass.is_some());
        }
        if status.pass == Some(true) {
            prop_assert!(!there.is_empty());
            for n in &there {
                prop_assert_eq!(nodes[&n.name].2, Some(true));
            }
        }
        if status.pass.is_some() {
            let mut check = (*facts.check).clone();
            check.status = Some(status.clone());
            facts.check = Arc::new(check);
            prop_assert_eq!(decide(&facts, at(second + 1000)).status, Some(status));
        }
    }
}
