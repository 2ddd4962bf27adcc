//! Where the VM stack is to be between off and on (G-21 to G-25). Pure.
//!
//! | `spec.enabled` | VMs | force annotation | phase |
//! |---|---|---|---|
//! | true | any | any | `Enabled` |
//! | else | none | any | `Disabling`, and `Disabled` when nothing runs any more |
//! | else | some | true | `Disabling`: they are deleted, with what they own |
//! | else | some | else | `VMsExist`: they are kept, and so is the runtime |
//!
//! An existing VM is any VirtualMachine in any namespace, running or not, and any instance without one.
//! While the stack is off, only what the platform has taken charge of counts (its finalizer tells, or a
//! Pod): a VM that was made meanwhile waits, it does not switch the runtime on.

use std::collections::BTreeMap;

use api::vmruntime::{FORCE_DISABLE, FORCE_DISABLE_CORRECT, RuntimePhase};

/// Names that are told in a message.
const NAMED: usize = 10;

/// A kind of what makes up VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Machine,
    /// An instance that no machine owns.
    Instance,
    /// A launcher or importer Pod, whoever owns what it runs.
    Workload,
}

/// Something that keeps the runtime from being off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Whether the platform has taken charge of it.
    pub charged: bool,
    /// Whether it is being deleted already.
    pub deleting: bool,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub phase: RuntimePhase,
    /// VMs to delete now.
    pub delete: Vec<Held>,
    /// What is waited for, for people: `3 VMs (ns/a, ns/b, ns/c)`.
    pub waits_for: String,
}

/// What the annotations ask for (G-24): whether VMs are to be deleted, and whether the two spellings disagree.
pub(super) fn force(annotations: &BTreeMap<String, String>) -> (bool, bool) {
    let of = |key| annotations.get(key).map(|v| v == "true");
    let (ours, correct) = (of(FORCE_DISABLE), of(FORCE_DISABLE_CORRECT));
    let force = ours.or(correct).unwrap_or(false);
    (force, ours.is_some() && correct.is_some())
}

/// Decides.
pub(super) fn decide(
    enabled: bool,
    before: Option<RuntimePhase>,
    force: bool,
    held: &[Held],
) -> Decision {
    if enabled {
        return Decision {
            phase: RuntimePhase::Enabled,
            delete: Vec::new(),
            waits_for: String::new(),
        };
    }
    let was_on = before.is_some_and(RuntimePhase::has_components);
    let is_charged = held.iter().any(|h| h.charged);
    if held.is_empty() || (!was_on && !is_charged) {
        // A controller may be making a Pod this very moment: it is told first, and looked at again.
        let phase = match before {
            Some(RuntimePhase::Enabled | RuntimePhase::VMsExist) => RuntimePhase::Disabling,
            _ => RuntimePhase::Disabled,
        };
        return Decision {
            phase,
            delete: Vec::new(),
            waits_for: "what has begun just now".to_owned(),
        };
    }
    let (machines, workloads): (Vec<&Held>, Vec<&Held>) =
        held.iter().partition(|h| h.kind != Kind::Workload);
    if machines.is_empty() {
        return Decision {
            phase: RuntimePhase::Disabling,
            delete: Vec::new(),
            waits_for: listed("Pod", &workloads),
        };
    }
    let delete = machines.iter().filter(|h| force && !h.deleting);
    Decision {
        phase: if force {
            RuntimePhase::Disabling
        } else {
            RuntimePhase::VMsExist
        },
        delete: delete.copied().cloned().collect(),
        waits_for: listed("VM", &machines),
    }
}

/// `2 VMs (ns/a, ns/b)`, with so many names at most.
pub(super) fn listed(what: &str, all: &[&Held]) -> String {
    let names: Vec<String> = all
        .iter()
        .take(NAMED)
        .map(|h| format!("{}/{}", h.namespace, h.name))
        .collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let s = if all.len() == 1 { "" } else { "s" };
    format!("{} {what}{s} ({}{more})", all.len(), names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use RuntimePhase::{Disabled, Disabling, Enabled, VMsExist};

    fn held(kind: Kind, name: &str) -> Held {
        Held {
            kind,
            namespace: "default".into(),
            name: name.into(),
            uid: format!("{name}-uid"),
            charged: true,
            deleting: false,
        }
    }

    #[test]
    fn enabled_is_enabled_whatever_there_is() {
        for before in [None, Some(Disabled), Some(VMsExist), Some(Disabling)] {
            let vms = [held(Kind::Machine, "vm1")];
            assert_eq!(decide(true, before, true, &vms).phase, Enabled);
            assert!(decide(true, before, true, &vms).delete.is_empty());
        }
    }

    #[test]
    fn without_vms_it_ends_what_runs_and_is_then_off() {
        let importer = [held(Kind::Workload, "importer-root")];
        let ending = decide(false, Some(Enabled), false, &importer);
        assert_eq!(ending.phase, Disabling);
        assert_eq!(ending.waits_for, "1 Pod (default/importer-root)");
        assert_eq!(decide(false, Some(Enabled), false, &[]).phase, Disabling);
        assert_eq!(decide(false, Some(Disabling), false, &[]).phase, Disabled);
        assert_eq!(decide(false, None, false, &[]).phase, Disabled);
    }

    #[test]
    fn vms_are_kept_unless_the_annotation_says_delete() {
        let mut going = held(Kind::Instance, "alone");
        going.deleting = true;
        let all = [held(Kind::Machine, "vm1"), going];
        let kept = decide(false, Some(Enabled), false, &all);
        assert_eq!((kept.phase, kept.delete.len()), (VMsExist, 0));
        assert_eq!(kept.waits_for, "2 VMs (default/vm1, default/alone)");
        let forced = decide(false, Some(VMsExist), true, &all);
        assert_eq!(forced.phase, Disabling);
        // What is being deleted is not deleted again.
        assert_eq!(forced.delete, [all[0].clone()]);
    }

    #[test]
    fn a_vm_made_while_it_is_off_waits_and_one_in_our_charge_is_never_left_alone() {
        let mut waiting = held(Kind::Machine, "vm1");
        waiting.charged = false;
        let waiting = [waiting];
        for before in [None, Some(Disabled)] {
            for force in [true, false] {
                let off = decide(false, before, force, &waiting);
                assert_eq!((off.phase, off.delete.len()), (Disabled, 0));
            }
        }
        // Made in the moment of the disable: an existing VM like any other.
        assert_eq!(
            decide(false, Some(Enabled), false, &waiting).phase,
            VMsExist
        );
        // The switch was deleted and made again, a guest runs.
        let running = [held(Kind::Machine, "vm1")];
        assert_eq!(decide(false, None, false, &running).phase, VMsExist);
        assert_eq!(
            decide(false, Some(Disabled), false, &running).phase,
            VMsExist
        );
    }

    #[test]
    fn messages_name_ten_at_most() {
        let all: Vec<Held> = (0..13)
            .map(|n| held(Kind::Machine, &format!("vm{n}")))
            .collect();
        let text = decide(false, Some(Enabled), false, &all).waits_for;
        assert!(text.starts_with("13 VMs (default/vm0, "), "{text}");
        assert!(text.ends_with("default/vm9 and 3 more)"), "{text}");
    }

    #[test]
    fn the_misspelled_annotation_wins() {
        let of = |pairs: &[(&str, &str)]| {
            let map = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            force(&map.collect())
        };
        assert_eq!(of(&[]), (false, false));
        assert_eq!(of(&[(FORCE_DISABLE, "true")]), (true, false));
        assert_eq!(of(&[(FORCE_DISABLE, "yes")]), (false, false));
        assert_eq!(of(&[(FORCE_DISABLE_CORRECT, "true")]), (true, false));
        assert_eq!(
            of(&[(FORCE_DISABLE, "false"), (FORCE_DISABLE_CORRECT, "true")]),
            (false, true)
        );
    }
}
