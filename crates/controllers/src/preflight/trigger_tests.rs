use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use proptest::prelude::*;

use super::*;
use api::preflight::VMRuntimePreflightCheckStatus;
use api::vmruntime::VMRuntimeStatus;

fn runtime(enabled: Option<bool>, use_emulation: Option<bool>) -> VMRuntime {
    let mut runtime = VMRuntime::new("vmruntime", api::vmruntime::VMRuntimeSpec::default());
    runtime.metadata.uid = Some("u1".to_owned());
    runtime.spec.enabled = enabled;
    runtime.spec.use_emulation = use_emulation;
    runtime
}

fn node(name: &str, skipped: bool) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        ready: true,
        skipped,
    }
}

/// Records what was decided, as the controller does.
fn record(runtime: &mut VMRuntime, due: &Due) {
    runtime
        .status
        .get_or_insert_with(VMRuntimeStatus::default)
        .preflight_basis = Some(due.basis.clone());
}

fn reason_of(due: &Due) -> Option<&str> {
    due.check
        .as_ref()
        .map(|c| c.labels()[TRIGGER_LABEL].as_str())
}

/// An enabled runtime, its check started and recorded; and that check.
fn settled(use_emulation: Option<bool>, nodes: &[NodeFacts]) -> (VMRuntime, Vec<Check>) {
    let mut runtime = runtime(Some(true), use_emulation);
    let first = due(&runtime, "1", nodes, &[]);
    record(&mut runtime, &first);
    (runtime, vec![first.check.unwrap()])
}

#[test]
fn nothing_is_checked_while_it_is_disabled() {
    for enabled in [None, Some(false)] {
        let found = due(&runtime(enabled, None), "1", &[node("a", true)], &[]);
        assert_eq!(found.check, None);
        assert_eq!(found.basis.skipped_nodes, ["a"]);
    }
}

#[test]
fn enabling_checks_once_and_again_after_disabling() {
    let (mut runtime, checks) = settled(None, &[node("a", false)]);
    assert!(checks[0].name_any().starts_with(NAME_PREFIX));
    let id = checks[0].name_any().split_off(NAME_PREFIX.len());
    assert_eq!(Uuid::parse_str(&id).unwrap().hyphenated().to_string(), id);
    assert_eq!(checks[0].namespace().as_deref(), Some("vm-system"));
    assert_eq!(due(&runtime, "1", &[node("a", false)], &checks).check, None);
    runtime.spec.enabled = Some(false);
    let off = due(&runtime, "1", &[], &checks);
    assert_eq!(off.check, None);
    record(&mut runtime, &off);
    runtime.spec.enabled = Some(true);
    let again = due(&runtime, "1", &[], &checks);
    assert_eq!(reason_of(&again), Some("enabled"));
    assert_ne!(again.check.unwrap().name_any(), checks[0].name_any());
}

#[test]
fn the_four_triggers_of_an_enabled_runtime() {
    let nodes = [node("a", false), node("b", true)];
    let (runtime, checks) = settled(Some(false), &nodes);
    assert_eq!(
        reason_of(&due(&runtime, "2", &nodes, &checks)),
        Some("upgraded")
    );
    for value in [Some(true), None] {
        let mut changed = runtime.clone();
        changed.spec.use_emulation = value;
        assert_eq!(
            reason_of(&due(&changed, "1", &nodes, &checks)),
            Some("feature")
        );
    }
    let unlabelled = [node("a", false), node("b", false)];
    assert_eq!(
        reason_of(&due(&runtime, "1", &unlabelled, &checks)),
        Some("node")
    );
    assert_eq!(reason_of(&due(&runtime, "1", &nodes, &[])), Some("missing"));
}

#[test]
fn a_feature_checks_when_it_is_turned_on_and_not_when_it_is_turned_off() {
    let nodes = [node("a", false)];
    let (mut runtime, checks) = settled(None, &nodes);
    let gate = |gate| Some([("EjectableCDROMs".to_owned(), gate)].into());
    for (value, found) in [
        (gate(FeatureGate::Disabled), None),
        (gate(FeatureGate::Enabled), Some("feature")),
        (gate(FeatureGate::Enabled), None),
        (None, None),
        (gate(FeatureGate::Enabled), Some("feature")),
    ] {
        runtime.spec.feature_gates = value;
        let now = due(&runtime, "1", &nodes, &checks);
        assert_eq!(reason_of(&now), found);
        record(&mut runtime, &now);
    }
}

#[test]
fn a_node_that_joins_checks_nothing() {
    let (runtime, checks) = settled(None, &[node("a", false)]);
    let joined = [node("a", false), node("b", false), node("c", true)];
    assert_eq!(due(&runtime, "1", &joined, &checks).check, None);
}

#[test]
fn labelling_or_deleting_a_node_checks_nothing() {
    let nodes = [node("a", false), node("b", true)];
    let (runtime, checks) = settled(None, &nodes);
    let labelled = [node("a", true), node("b", true)];
    let found = due(&runtime, "1", &labelled, &checks);
    assert_eq!(found.check, None);
    assert_eq!(found.basis.skipped_nodes, ["a", "b"]);
    assert_eq!(due(&runtime, "1", &[node("a", false)], &checks).check, None);
}

#[test]
fn a_crash_between_creating_and_recording_does_not_check_twice() {
    let unrecorded = runtime(Some(true), None);
    let first = due(&unrecorded, "1", &[node("a", false)], &[])
        .check
        .unwrap();
    let checks = [first.clone()];
    let second = due(&unrecorded, "1", &[node("a", false)], &checks)
        .check
        .unwrap();
    assert_eq!(first.name_any(), second.name_any());
    // What changed while nobody was there is another reason, and another check.
    let mut changed = unrecorded.clone();
    changed.spec.use_emulation = Some(true);
    let other = due(&changed, "1", &[node("a", false)], &checks)
        .check
        .unwrap();
    assert_ne!(first.name_any(), other.name_any());
}

fn finished(runtime: &VMRuntime, name: &str, second: i64) -> Check {
    let mut check = Check::new(name, VMRuntimePreflightCheckSpec {});
    check.metadata.owner_references = Some(vec![controlled_by(runtime)]);
    let at = Timestamp::from_second(second).unwrap();
    check.metadata.creation_timestamp = Some(Time(at));
    check.status = Some(VMRuntimePreflightCheckStatus {
        pass: Some(true),
        start_time: Some(MicroTime(at)),
        ..VMRuntimePreflightCheckStatus::default()
    });
    check
}

#[test]
fn the_newest_ten_automatic_checks_are_kept_and_all_others_people_made() {
    let runtime = runtime(Some(true), None);
    let mut checks: Vec<Check> = (0..14)
        .map(|i| finished(&runtime, &format!("c{i:02}"), i))
        .collect();
    checks[0].metadata.owner_references = None;
    checks[2].status = None;
    let names: Vec<String> = surplus(&runtime, &checks)
        .iter()
        .map(|c| c.name_any())
        .collect();
    // c00 was made by a person; c02 still runs; c04 to c13 are the newest ten.
    assert_eq!(names, ["c03", "c01"]);
}

#[derive(Debug, Clone)]
enum Step {
    Enable(bool),
    Emulate(Option<bool>),
    Upgrade(u8),
    Label(usize, bool),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Enable),
        any::<Option<bool>>().prop_map(Step::Emulate),
        (0..3_u8).prop_map(Step::Upgrade),
        (0..3_usize, any::<bool>()).prop_map(|(n, on)| Step::Label(n, on)),
        Just(Step::Crash),
    ]
}

proptest! {
    /// Whatever happens in whatever order: after a pass nothing more is due, a recorded check never gets its name a
    /// second time, and what a crash repeats has the same name.
    #[test]
    fn every_difference_is_checked_exactly_once(steps in proptest::collection::vec(step(), 1..40)) {
        let mut runtime = runtime(None, None);
        let mut nodes = [node("a", false), node("b", false), node("c", false)];
        let mut version = 0;
        let mut checks: Vec<Check> = Vec::new();
        for step in steps {
            let mut crash = false;
            match step {
                Step::Enable(on) => runtime.spec.enabled = Some(on),
                Step::Emulate(value) => runtime.spec.use_emulation = value,
                Step::Upgrade(to) => version = to,
                Step::Label(n, on) => nodes[n].skipped = on,
                Step::Crash => crash = true,
            }
            let version = version.to_string();
            let found = due(&runtime, &version, &nodes, &checks);
            if let Some(check) = &found.check {
                prop_assert!(runtime.spec.is_enabled());
                if checks.iter().any(|c| c.name_any() == check.name_any()) {
                    prop_assert!(false, "{} was started before", check.name_any());
                }
                checks.push(check.clone());
                if crash {
                    let again = due(&runtime, &version, &nodes, &checks);
                    prop_assert_eq!(again.check.map(|c| c.name_any()), Some(check.name_any()));
                }
            }
            record(&mut runtime, &found);
            prop_assert_eq!(due(&runtime, &version, &nodes, &checks).check, None);
            prop_assert!(!runtime.spec.is_enabled() || !checks.is_empty());
        }
    }
}
