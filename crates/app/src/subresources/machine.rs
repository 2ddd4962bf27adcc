//! What is asked of a VM: `start`, `stop`, `restart`. Decided by run strategy, in pure code, and
//! written to the VM; the controller does the rest.

use api::kubevirt::{
    RunStrategy, StateChangeAction, StateChangeRequest, VirtualMachine as Vm,
    VirtualMachineInstance as Vmi, VmiPhase,
};
use apimachinery::status::ApiError;
use apiserver::{Response, Subresource, SubresourceRequest};
use async_trait::async_trait;
use http::StatusCode;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::instance::is_dry_run;
use super::{LateClient, conflict, object, typed};

const RESOURCE: &str = "virtualmachines";
/// A VM whose status keeps changing under us is given up on after so many tries.
const TRIES: usize = 10;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    Stop,
    Restart,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::Start, Self::Stop, Self::Restart];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// What to write.
#[derive(Debug, PartialEq)]
enum Change {
    /// Another run strategy.
    Strategy(RunStrategy),
    /// Requests for the controller.
    Requests(Vec<StateChangeRequest>),
}

/// Decides; the error says why the state does not allow it.
fn decide(action: Action, vm: &Vm, vmi: Option<&Vmi>) -> Result<Change, String> {
    use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
    let strategy = vm.spec.effective_run_strategy();
    let phase = vmi.map(|v| {
        v.status
            .as_ref()
            .and_then(|s| s.phase)
            .unwrap_or(VmiPhase::Pending)
    });
    let runs = phase.is_some_and(|p| !p.is_final());
    let stop = |vmi: &Vmi| StateChangeRequest {
        action: StateChangeAction::Stop,
        uid: vmi.metadata.uid.clone(),
    };
    let start = StateChangeRequest {
        action: StateChangeAction::Start,
        uid: None,
    };
    match (action, strategy, vmi) {
        (Action::Start, Always | Once, _) => {
            Err(format!("{strategy} does not support manual start requests"))
        }
        (Action::Start, _, _) if runs => Err("VM is already running".to_owned()),
        (Action::Start, Halted, _) => Ok(Change::Strategy(Always)),
        (Action::Start, Manual | RerunOnFailure, _) => Ok(Change::Requests(vec![start])),
        (Action::Stop, Halted, None) => Err("VM is not running".to_owned()),
        (Action::Stop, Manual, None) => Err("VM is not running".to_owned()),
        (Action::Stop, Manual, Some(vmi)) => Ok(Change::Requests(vec![stop(vmi)])),
        (Action::Stop, Halted, Some(_)) => Err("VM is not running: it is being stopped".to_owned()),
        (Action::Stop, Always | RerunOnFailure | Once, _) => Ok(Change::Strategy(Halted)),
        (Action::Restart, Halted, _) => Err(format!(
            "{strategy} does not support manual restart requests"
        )),
        (Action::Restart, _, None) => Err("VM is not running".to_owned()),
        (Action::Restart, _, Some(vmi)) => Ok(Change::Requests(vec![stop(vmi), start])),
    }
}

pub(super) struct Ask {
    client: LateClient,
    action: Action,
}

impl Ask {
    pub(super) fn new(client: LateClient, action: Action) -> Self {
        Self { client, action }
    }

    fn client(&self) -> Result<Client, ApiError> {
        self.client
            .get()
            .cloned()
            .ok_or_else(|| ApiError::service_unavailable("the platform is still starting"))
    }

    /// Options that would be ignored are refused instead.
    fn check_options(&self, options: &Value) -> Result<(), ApiError> {
        let number = |key: &str| options.get(key).and_then(Value::as_i64);
        let unhonoured = match self.action {
            Action::Start if options.get("paused").and_then(Value::as_bool) == Some(true) => {
                "paused: a VM cannot be started paused yet; start it, then pause it"
            }
            Action::Restart if number("gracePeriodSeconds").is_some_and(|s| s != 0) => {
                "gracePeriodSeconds: only 0 is supported"
            }
            Action::Stop if number("gracePeriod").is_some_and(|s| s < 0) => {
                "gracePeriod: must not be negative"
            }
            _ => return Ok(()),
        };
        Err(ApiError::bad_request(unhonoured))
    }
}

/// The grace period that the options ask for.
fn grace_period(options: &Value) -> Option<i64> {
    ["gracePeriod", "gracePeriodSeconds"]
        .iter()
        .find_map(|key| options.get(key).and_then(Value::as_i64))
}

/// Gives the instance another grace period, before it is asked to end.
async fn set_grace_period(client: Client, vmi: &Vmi, seconds: i64) -> Result<(), ApiError> {
    let namespace = vmi.metadata.namespace.as_deref().unwrap_or_default();
    let name = vmi.metadata.name.as_deref().unwrap_or_default();
    let vmis: Api<Vmi> = Api::namespaced(client, namespace);
    let patch = json!({
        "metadata": {"uid": vmi.metadata.uid},
        "spec": {"terminationGracePeriodSeconds": seconds},
    });
    match vmis
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        // It has ended by itself.
        Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
        Err(error) => Err(answered(error)),
    }
}

fn answered(error: kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => serde_json::to_value(&status)
            .ok()
            .and_then(|v| serde_json::from_value(v).ok())
            .map_or_else(
                || ApiError::internal(&status.message),
                |s| ApiError(Box::new(s)),
            ),
        other => ApiError::internal(other),
    }
}

#[async_trait]
impl Subresource for Ask {
    async fn call(&self, mut request: SubresourceRequest) -> Result<Response, ApiError> {
        let options = request.object().await?.unwrap_or_default();
        self.check_options(&options)?;
        let client = self.client()?;
        let (reader, info) = (request.reader, request.info);
        let vms: Api<Vm> = Api::namespaced(client.clone(), &info.namespace);
        for _ in 0..TRIES {
            let vm: Vm = typed(object(&reader, &info, "kubevirt.io", RESOURCE).await?)?;
            let vmi = reader
                .get(
                    "kubevirt.io",
                    "virtualmachineinstances",
                    &info.namespace,
                    &info.name,
                )
                .await?;
            let vmi: Option<Vmi> = vmi.map(typed).transpose()?;
            let change = decide(self.action, &vm, vmi.as_ref())
                .map_err(|why| conflict(RESOURCE, &info.name, &why))?;
            if matches!(self.action, Action::Start | Action::Restart) {
                crate::preflight_gate::check(&reader, RESOURCE, &info.name).await?;
            }
            if is_dry_run(&options) {
                break;
            }
            if let (Some(seconds), Some(vmi), Action::Stop | Action::Restart) =
                (grace_period(&options), vmi.as_ref(), self.action)
            {
                set_grace_period(client.clone(), vmi, seconds).await?;
            }
            let written = match change {
                Change::Strategy(strategy) => {
                    let version = vm.metadata.resource_version.clone();
                    let patch = json!({
                        "metadata": {"resourceVersion": version},
                        "spec": {"runStrategy": strategy.as_str(), "running": null},
                    });
                    vms.patch(&info.name, &PatchParams::default(), &Patch::Merge(patch))
                        .await
                }
                Change::Requests(requests) => {
                    let mut new = vm.clone();
                    new.status.get_or_insert_default().state_change_requests = requests;
                    vms.replace_status(&info.name, &PostParams::default(), &new)
                        .await
                }
            };
            match written {
                Ok(_) => break,
                // The controller wrote at the same time: look again.
                Err(kube::Error::Api(s)) if s.code == 409 => {}
                Err(error) => return Err(answered(error)),
            }
        }
        Ok(SubresourceRequest::text(StatusCode::ACCEPTED, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(strategy: RunStrategy) -> Vm {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "vm1"},
            "spec": {"runStrategy": strategy.as_str(), "template": {"spec": {"domain": {"devices": {}}}}}
        }))
        .unwrap()
    }

    fn vmi(phase: &str) -> Vmi {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "vm1", "uid": "u"}, "spec": {"domain": {"devices": {}}},
            "status": {"phase": phase}
        }))
        .unwrap()
    }

    #[test]
    fn start_by_run_strategy() {
        let start = |s, i: Option<&Vmi>| decide(Action::Start, &vm(s), i);
        assert_eq!(
            start(RunStrategy::Halted, None),
            Ok(Change::Strategy(RunStrategy::Always))
        );
        assert!(
            matches!(start(RunStrategy::Manual, None), Ok(Change::Requests(r)) if r.len() == 1)
        );
        assert!(
            start(RunStrategy::Always, None)
                .unwrap_err()
                .contains("Always")
        );
        assert!(start(RunStrategy::Manual, Some(&vmi("Running"))).is_err());
        assert!(start(RunStrategy::Manual, Some(&vmi("Succeeded"))).is_ok());
    }

    #[test]
    fn stop_by_run_strategy() {
        let stop = |s, i: Option<&Vmi>| decide(Action::Stop, &vm(s), i);
        assert_eq!(
            stop(RunStrategy::Always, Some(&vmi("Running"))),
            Ok(Change::Strategy(RunStrategy::Halted))
        );
        assert!(stop(RunStrategy::Halted, None).is_err());
        assert!(stop(RunStrategy::Manual, None).is_err());
        let Ok(Change::Requests(requests)) = stop(RunStrategy::Manual, Some(&vmi("Running")))
        else {
            panic!()
        };
        assert_eq!(requests[0].uid.as_deref(), Some("u"));
    }

    #[test]
    fn restart_stops_this_instance_and_starts_another() {
        let restart = |s, i: Option<&Vmi>| decide(Action::Restart, &vm(s), i);
        assert!(restart(RunStrategy::Halted, None).is_err());
        assert!(restart(RunStrategy::Always, None).is_err());
        assert!(matches!(
            restart(RunStrategy::Always, Some(&vmi("Running"))),
            Ok(Change::Requests(r)) if r.len() == 2
        ));
    }
}
