//! What the runtime says of itself. Where it stands is tested in [`switch`].

use super::*;
use crate::vmruntime::switch::Kind;
use api::vmruntime::VMRuntimeSpec;

fn facts(enabled: Option<bool>, use_emulation: Option<bool>, kvm: Option<bool>) -> Facts {
    let spec = VMRuntimeSpec {
        enabled,
        use_emulation,
        ..VMRuntimeSpec::default()
    };
    let component = |name: &str| ComponentFacts {
        component: name.into(),
        node: "n1".into(),
        ready: true,
        why: String::new(),
    };
    let (runtime, checks) = checked(VMRuntime::new("vmruntime", spec), Some(true));
    Facts {
        runtime: Arc::new(runtime),
        checks,
        checked: vec![],
        nodes: vec![NodeFacts {
            name: "n1".into(),
            schedulable: true,
            kvm,
            finding: "3,000 times too slow".into(),
        }],
        components: ["virt-controller", "cdi-deployment", "virt-handler"]
            .map(component)
            .into(),
        classes: vec![],
        held: vec![],
    }
}

/// The runtime after the check that it calls for, and that check.
fn checked(mut runtime: VMRuntime, pass: Option<bool>) -> (VMRuntime, Vec<Check>) {
    let due = trigger::due(&runtime, trigger::VERSION, &[], &[]);
    runtime.status.get_or_insert_default().preflight_basis = Some(due.basis);
    let mut checks: Vec<Check> = due.check.into_iter().collect();
    for check in &mut checks {
        check.status.get_or_insert_default().pass = pass;
    }
    (runtime, checks)
}

fn condition(facts: &Facts, type_: &str) -> (String, String, String) {
    let status = decide(facts, Timestamp::UNIX_EPOCH).status;
    let c = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
    (c.status.clone(), c.reason.clone(), c.message.clone())
}

fn is_ready(facts: &Facts) -> bool {
    decide(facts, Timestamp::UNIX_EPOCH).status.ready
}

fn with_status(facts: &mut Facts, phase: RuntimePhase) {
    let mut runtime = (*facts.runtime).clone();
    runtime.status.get_or_insert_default().phase = Some(phase);
    facts.runtime = Arc::new(runtime);
}

#[test]
fn disabled_until_enabled() {
    let off = facts(None, None, Some(true));
    assert!(!is_ready(&off));
    assert_eq!(condition(&off, "Ready").1, "Disabled");
    assert!(is_ready(&facts(Some(true), None, Some(true))));
}

#[test]
fn it_is_ready_when_its_components_are() {
    for gone in 0..3 {
        let mut some = facts(Some(true), None, Some(true));
        some.components.remove(gone);
        assert!(!is_ready(&some), "{gone}");
    }
    let mut broken = facts(Some(true), None, Some(true));
    broken.components[0].ready = false;
    broken.components[0].why = "CrashLoopBackOff: it panicked".into();
    let (_, reason, message) = condition(&broken, "Ready");
    assert_eq!(reason, "ComponentsNotReady");
    assert_eq!(message, "virt-controller: CrashLoopBackOff: it panicked");
}

#[test]
fn vms_that_keep_it_on_are_named_and_it_is_not_ready() {
    let mut kept = facts(Some(false), None, Some(true));
    with_status(&mut kept, RuntimePhase::Enabled);
    kept.held.push(Held {
        kind: Kind::Machine,
        namespace: "default".into(),
        name: "vm1".into(),
        uid: "u".into(),
        charged: true,
        deleting: false,
    });
    let plan = decide(&kept, Timestamp::UNIX_EPOCH);
    assert_eq!(plan.phase, RuntimePhase::VMsExist);
    assert!(!plan.status.ready);
    assert_eq!(plan.notes.len(), 1);
    let (_, reason, message) = condition(&kept, "Ready");
    assert_eq!(reason, "VMsExist");
    assert!(message.contains("1 VM (default/vm1)"), "{message}");
    assert!(message.contains("vmrumtime-force-disable"), "{message}");
    // Said once, at the change.
    with_status(&mut kept, RuntimePhase::VMsExist);
    assert!(decide(&kept, Timestamp::UNIX_EPOCH).notes.is_empty());
}

#[test]
fn two_spellings_of_the_annotation_are_warned_of() {
    let mut both = facts(Some(false), None, Some(true));
    let mut runtime = (*both.runtime).clone();
    for key in [FORCE_DISABLE, api::vmruntime::FORCE_DISABLE_CORRECT] {
        runtime.annotations_mut().insert(key.into(), "true".into());
    }
    both.runtime = Arc::new(runtime);
    let notes = decide(&both, Timestamp::UNIX_EPOCH).notes;
    assert_eq!(notes[0].reason, "ConflictingAnnotations");
    assert_eq!(notes[0].kind, EventKind::Warning);
}

#[test]
fn unset_emulation_follows_the_probe_and_says_what_it_found() {
    let slow = condition(&facts(Some(true), None, Some(false)), "SoftwareEmulation");
    assert_eq!((slow.0.as_str(), slow.1.as_str()), ("True", "KvmUnusable"));
    assert!(slow.2.contains("n1: 3,000 times too slow"));
    let fast = condition(&facts(Some(true), None, Some(true)), "SoftwareEmulation");
    assert_eq!(fast.0, "False");
}

#[test]
fn a_format_that_cannot_be_honoured_is_said() {
    let mut qcow2 = facts(Some(true), None, Some(true));
    let mut runtime = (*qcow2.runtime).clone();
    runtime.spec.vm_image_format = Some(VmImageFormat::Qcow2);
    qcow2.runtime = Arc::new(runtime);
    let found = decide(&qcow2, Timestamp::UNIX_EPOCH).status;
    assert_eq!(found.effective_vm_image_format, Some(VmImageFormat::Raw));
    assert_eq!(condition(&qcow2, "ImageFormatHonoured").0, "False");
}

#[test]
fn demanded_hardware_that_is_not_there_is_not_ready() {
    let never = facts(Some(true), Some(false), Some(false));
    assert!(!is_ready(&never));
    let (_, reason, message) = condition(&never, "Ready");
    assert_eq!(reason, "NoHardwareVirtualization");
    assert!(message.contains("3,000 times too slow"));
}

#[test]
fn not_ready_before_the_newest_check_has_passed() {
    for (pass, reason) in [(None, PREFLIGHT_RUNNING), (Some(false), PREFLIGHT_FAILED)] {
        let mut facts = facts(Some(true), None, Some(true));
        let spec = facts.runtime.spec.clone();
        let (runtime, checks) = checked(VMRuntime::new("vmruntime", spec), pass);
        (facts.runtime, facts.checks) = (Arc::new(runtime), checks);
        assert!(!is_ready(&facts));
        assert_eq!(condition(&facts, "Ready").1, reason);
    }
}

#[test]
fn enabling_starts_a_check_and_says_so_in_the_same_pass() {
    let mut facts = facts(Some(true), None, Some(true));
    let spec = facts.runtime.spec.clone();
    facts.runtime = Arc::new(VMRuntime::new("vmruntime", spec));
    facts.checks = vec![];
    let plan = decide(&facts, Timestamp::UNIX_EPOCH);
    let name = plan.check.map(|c| c.name_any());
    assert!(name.is_some());
    let summary = plan.status.preflight_check_summary.unwrap();
    assert_eq!(summary.preflight_check_name, name);
    assert_eq!(summary.preflight_check_passed, None);
    assert!(plan.status.preflight_basis.unwrap().enabled);
}

#[test]
fn a_node_that_is_left_out_of_checks_takes_no_vms() {
    let mut facts = facts(Some(true), None, Some(true));
    facts.checked = vec![preflight::NodeFacts {
        name: "n1".into(),
        ready: true,
        skipped: true,
    }];
    assert_eq!(condition(&facts, "Ready").1, "NoNodes");
}
