//! The gate of G-30: no VM is created or started while the newest preflight check has not passed.
//!
//! | asked by a user | refused |
//! |---|---|
//! | a new VirtualMachine or VirtualMachineInstance | always |
//! | another run strategy | when the VM would start by it |
//! | `start`, `restart` | always |
//!
//! Only while the runtime is enabled; otherwise nothing runs anyway. The platform's own components pass: they wait
//! with a condition. Machines that run are not touched.

use api::fields::Kind;
use api::preflight::{PLURAL, VMRuntimePreflightCheck, Verdict, newest, verdict};
use api::vmruntime::{GROUP, NAME, NAMESPACE, VMRuntime};
use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apiserver::Reader;
use serde_json::Value;

/// Run strategies by which a VM runs without being asked by hand.
const RUNNING: [&str; 3] = ["Always", "RerunOnFailure", "Once"];

/// Whether a creation (`old` is nothing) or change starts a machine.
pub(crate) fn starts(kind: Kind, object: &Value, old: Option<&Value>) -> bool {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return false;
    }
    match (kind, old) {
        (Kind::VirtualMachine | Kind::VirtualMachineInstance, None) => true,
        (Kind::VirtualMachine, Some(old)) => runs(object) && !runs(old),
        _ => false,
    }
}

fn runs(vm: &Value) -> bool {
    let strategy = vm.pointer("/spec/runStrategy").and_then(Value::as_str);
    let running = vm.pointer("/spec/running").and_then(Value::as_bool);
    strategy.is_some_and(|s| RUNNING.contains(&s)) || running == Some(true)
}

/// Refuses if the newest check has not passed. `resource` and `name` are of what is asked for.
pub(crate) async fn check(reader: &Reader, resource: &str, name: &str) -> Result<(), ApiError> {
    let Some(runtime) = reader.get(GROUP, "vmruntimes", "", NAME).await? else {
        return Ok(());
    };
    let runtime: VMRuntime = read(runtime)?;
    if !runtime.spec.is_enabled() {
        return Ok(());
    }
    let observed = runtime.status.as_ref().and_then(|s| s.observed_generation);
    let verdict = if observed == runtime.metadata.generation {
        let checks = reader.list(GROUP, PLURAL, NAMESPACE).await?;
        let checks: Vec<VMRuntimePreflightCheck> =
            checks.into_iter().map(read).collect::<Result<_, _>>()?;
        verdict(newest(&checks))
    } else {
        // The change may call for a check that nobody has started yet.
        verdict(None)
    };
    let why = match verdict {
        Verdict::Passed => return Ok(()),
        Verdict::Running(why) => format!("VMs cannot be created or started yet: {why}"),
        Verdict::Failed(why) => format!(
            "VMs cannot be created or started while the latest preflight check has failed: {why}"
        ),
    };
    let resource = GroupResource {
        group: api::kubevirt::GROUP.to_owned(),
        resource: resource.to_owned(),
    };
    Err(ApiError::forbidden(&resource, name, why))
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value)
        .map_err(|e| ApiError::internal(format!("reading what the preflight gate depends on: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vm(spec: &Value) -> Value {
        json!({"metadata": {}, "spec": spec})
    }

    #[test]
    fn creating_and_starting_are_gated_and_nothing_else() {
        let machine = Kind::VirtualMachine;
        let halted = vm(&json!({"runStrategy": "Halted"}));
        let manual = vm(&json!({"runStrategy": "Manual"}));
        let always = vm(&json!({"runStrategy": "Always"}));
        let running = vm(&json!({"running": true}));
        for new in [&halted, &manual, &always, &running] {
            assert!(starts(machine, new, None));
        }
        for (old, new, gated) in [
            (&halted, &always, true),
            (&halted, &running, true),
            (&manual, &always, true),
            (&always, &running, false),
            (&always, &halted, false),
            (&halted, &halted, false),
        ] {
            assert_eq!(starts(machine, new, Some(old)), gated, "{old} {new}");
        }
        assert!(starts(Kind::VirtualMachineInstance, &vm(&json!({})), None));
        assert!(!starts(
            Kind::VirtualMachineInstance,
            &vm(&json!({})),
            Some(&vm(&json!({})))
        ));
        assert!(!starts(Kind::DataVolume, &vm(&json!({})), None));
    }

    #[test]
    fn what_is_on_its_way_out_is_let_go() {
        let mut going = vm(&json!({"runStrategy": "Always"}));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let halted = vm(&json!({"runStrategy": "Halted"}));
        assert!(!starts(Kind::VirtualMachine, &going, Some(&halted)));
    }
}
