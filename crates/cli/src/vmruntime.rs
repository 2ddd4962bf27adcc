//! `enable`, `disable` and `check` of the VM runtime, with the documented behaviour of bmctl.
//!
//! What `disable` does, by G-22 (an existing VM is any VM in any namespace, running or not):
//!
//! | VMs | `--force` | annotation | [`Plan`] |
//! |---|---|---|---|
//! | none | any | any | `Disable` |
//! | some | true | any | `DeleteThenDisable` |
//! | some | false | true | `Ask`, then `DeleteThenDisable` |
//! | some | false | false | `Refuse` |

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::catalog::{Catalog, Resource, with_query};
use crate::duration;
use crate::error::Error;
use crate::limits::{DISABLE_EVERY, DISABLE_TIMEOUT, PAGE};
use crate::output::{print, scalar, visible};
use crate::session::Session;
use crate::until::{Until, Waited, until};

const PATH: &str = "/apis/vm.cluster.gke.io/v1/vmruntimes/vmruntime";
const TITLE: &str = "vmruntime.vm.cluster.gke.io/vmruntime";
/// The product's own spelling (G-24); it wins over the right one.
const FORCE: [&str; 2] = [
    "baremetal.cluster.gke.io/vmrumtime-force-disable",
    "baremetal.cluster.gke.io/vmruntime-force-disable",
];
/// Kinds that make up VMs; machines first, for they are deleted by name.
const MACHINES: [&str; 2] = [
    "virtualmachines.kubevirt.io",
    "virtualmachineinstances.kubevirt.io",
];
const RELATED: [&str; 3] = [
    "pods",
    "datavolumes.cdi.kubevirt.io",
    "persistentvolumeclaims",
];

/// What can be switched.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    /// The VM stack
    Vmruntime,
}

/// What can be checked.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Checkable {
    /// The prerequisites of VMs on every node
    #[value(alias = "vmruntime")]
    Vmruntimepfc,
}

/// Options of `enable`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt enable vmruntime\n  bmctl enable vmruntime --kubeconfig FILE\n  ferrovirt wait vmruntime vmruntime --for=jsonpath='{.status.ready}'=true"
)]
pub struct EnableOptions {
    /// What to switch on
    part: Part,
}

/// Options of `disable`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt disable vmruntime\n  bmctl disable vmruntime --kubeconfig FILE --force=true"
)]
pub struct DisableOptions {
    /// What to switch off
    part: Part,
    /// Delete all VMs and what belongs to them
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    force: bool,
}

/// Options of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt check vmruntimepfc\n  ferrovirt check vmruntimepfc --wait\n  bmctl check vmruntimepfc --kubeconfig FILE\n  kubectl get vmruntimepfc -n vm-system\n\nWithout --wait, the exit code says whether the check was started; with it, whether it passed."
)]
pub struct CheckOptions {
    /// What to check
    part: Checkable,
    /// Wait for the verdict, and show what failed
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration::parse, requires = "wait")]
    timeout: Duration,
}

async fn read(session: &Session, doing: &str) -> Result<Value, Error> {
    match session.get(doing, PATH).await {
        Err(error) if error.is_not_found() => Err(Error::Refused(format!(
            "{doing}: {} has no VMRuntime object: is it Ferrovirt, and is it ready?",
            session.server()
        ))),
        other => other,
    }
}

fn is_enabled(runtime: &Value) -> bool {
    runtime.pointer("/spec/enabled") == Some(&Value::Bool(true))
}

/// How often an object that changes under us is read again.
const TRIES: u32 = 10;

/// Sets `spec.enabled` of the object that was read, and of no later one.
async fn set(session: &Session, doing: &str, runtime: &Value, enabled: bool) -> Result<(), Error> {
    let version = runtime.pointer("/metadata/resourceVersion");
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"enabled": enabled}});
    let path = with_query(PATH, &[("fieldManager", "ferrovirt")]);
    let content_type = "application/merge-patch+json";
    session
        .send(doing, Method::PATCH, &path, content_type, &patch)
        .await?;
    Ok(())
}

/// Does `enable` (G-10): not idempotent, as documented.
pub(crate) async fn enable(session: &Session) -> Result<(), Error> {
    let doing = "enabling vmruntime";
    let mut tries = TRIES;
    loop {
        let runtime = read(session, doing).await?;
        if is_enabled(&runtime) {
            return Err(Error::Refused("vmruntime is already enabled".to_owned()));
        }
        tries -= 1;
        match set(session, doing, &runtime, true).await {
            // Its controller wrote the status meanwhile: look again.
            Err(error) if error.is_conflict() && tries > 0 => {}
            other => {
                other?;
                return print(&format!("{TITLE} enabled\n"));
            }
        }
    }
}

/// What `disable` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Disable,
    DeleteThenDisable,
    Ask,
    Refuse,
}

/// The table of G-22.
fn plan(vms_exist: bool, force: bool, annotation: bool) -> Plan {
    match (vms_exist, force, annotation) {
        (false, _, _) => Plan::Disable,
        (true, true, _) => Plan::DeleteThenDisable,
        (true, false, true) => Plan::Ask,
        (true, false, false) => Plan::Refuse,
    }
}

/// The value of the annotation; the misspelled key wins where both are set (G-24).
fn annotation(runtime: &Value) -> bool {
    let all = runtime.pointer("/metadata/annotations");
    FORCE
        .iter()
        .find_map(|key| all?.get(key))
        .is_some_and(|v| v == "true")
}

/// Whether an answer to `[y/N]` agrees.
fn agrees(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// An object that goes with the VMs.
struct Found {
    resource: Resource,
    object: Value,
}

impl Found {
    fn text(&self, pointer: &str) -> String {
        self.object.pointer(pointer).map(scalar).unwrap_or_default()
    }

    fn line(&self) -> String {
        let kind = &self.resource.kind;
        let (namespace, name) = (
            self.text("/metadata/namespace"),
            self.text("/metadata/name"),
        );
        visible(&format!("  {kind} {namespace}/{name}"))
    }
}

async fn list(session: &Session, resource: &Resource) -> Result<Vec<Found>, Error> {
    let doing = format!("listing {}", resource.plural);
    let limit = PAGE.to_string();
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let mut query = vec![("limit", limit.as_str())];
        if !token.is_empty() {
            query.push(("continue", token.as_str()));
        }
        let path = with_query(&resource.collection(None), &query);
        let mut page = session.get(&doing, &path).await?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            found.extend(items.into_iter().map(|object| Found {
                resource: resource.clone(),
                object,
            }));
        }
        let next = page.pointer("/metadata/continue").and_then(Value::as_str);
        token = next.unwrap_or_default().to_owned();
        if token.is_empty() {
            return Ok(found);
        }
    }
}

fn uids_of_owners(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object.pointer("/metadata/ownerReferences");
    let owners = owners.and_then(Value::as_array).into_iter().flatten();
    owners.filter_map(|o| o.get("uid").and_then(Value::as_str))
}

/// Machines that nothing owns, and what they own, directly or not.
async fn existing(session: &Session) -> Result<(Vec<Found>, Vec<Found>), Error> {
    let catalog = Catalog::fetch(session).await?;
    let mut machines = Vec::new();
    let mut related = Vec::new();
    let mut going = BTreeSet::new();
    for kind in MACHINES.iter().chain(&RELATED) {
        // A kind that is not served has no objects.
        let Ok(resource) = catalog.by_type(kind) else {
            continue;
        };
        for found in list(session, resource).await? {
            let owned = uids_of_owners(&found.object).any(|u| going.contains(u));
            let is_machine = MACHINES.contains(kind);
            if owned || is_machine {
                going.insert(found.text("/metadata/uid"));
                if owned { &mut related } else { &mut machines }.push(found);
            }
        }
    }
    Ok((machines, related))
}

/// Does `disable` (G-20, G-22).
pub(crate) async fn disable(session: &Session, options: &DisableOptions) -> Result<(), Error> {
    let doing = "disabling vmruntime";
    let runtime = read(session, doing).await?;
    let (machines, related) = existing(session).await?;
    let list = || {
        for found in machines.iter().chain(&related) {
            eprintln!("{}", found.line());
        }
    };
    match plan(!machines.is_empty(), options.force, annotation(&runtime)) {
        Plan::Disable => {}
        Plan::Refuse => {
            list();
            return Err(Error::Refused(format!(
                "{doing}: VMs exist ({}); nothing was changed\n  delete them first, or pass --force=true to delete them and what belongs to them",
                machines.len()
            )));
        }
        Plan::Ask => {
            list();
            if !std::io::stdin().is_terminal() {
                return Err(Error::Refused(format!(
                    "{doing}: deleting these needs to be confirmed on a terminal, or --force=true; nothing was changed"
                )));
            }
            eprint!(
                "Delete these {} objects and disable vmruntime? [y/N] ",
                machines.len() + related.len()
            );
            let mut answer = String::new();
            let read = std::io::stdin().lock().read_line(&mut answer);
            read.map_err(Error::io("reading the answer"))?;
            if !agrees(&answer) {
                return Err(Error::Refused(
                    "not confirmed; nothing was changed".to_owned(),
                ));
            }
            delete_all(session, &machines).await?;
        }
        Plan::DeleteThenDisable => {
            eprintln!("deleting:");
            list();
            delete_all(session, &machines).await?;
        }
    }
    let mut tries = TRIES;
    loop {
        let runtime = read(session, doing).await?;
        if !is_enabled(&runtime) {
            return print(&format!("{TITLE} is not enabled\n"));
        }
        tries -= 1;
        match set(session, doing, &runtime, false).await {
            // Its controller wrote the status meanwhile: look again.
            Err(error) if error.is_conflict() && tries > 0 => {}
            other => {
                other?;
                break;
            }
        }
    }
    settle(session, doing, options.force).await?;
    print(&format!("{TITLE} disabled\n"))
}

/// What a runtime that was told to be off says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// Its components stop, or have stopped.
    Off,
    /// It has not come to it.
    Waits,
    /// VMs were made meanwhile, and it goes on for them.
    VmsExist,
    /// Somebody has enabled it again.
    EnabledAgain,
}

fn course(runtime: &Value) -> Course {
    if is_enabled(runtime) {
        return Course::EnabledAgain;
    }
    match runtime.pointer("/status/phase").and_then(Value::as_str) {
        // A server without phases has nothing to wait for.
        None | Some("Disabled") => Course::Off,
        Some("VMsExist") => Course::VmsExist,
        Some(_) => Course::Waits,
    }
}

/// Waits until the VM stack has stopped: then only the switch itself runs (G-21).
async fn settle(session: &Session, doing: &str, force: bool) -> Result<(), Error> {
    let deadline = Instant::now() + DISABLE_TIMEOUT;
    loop {
        let runtime = read(session, doing).await?;
        match course(&runtime) {
            Course::Off if components(session).await? == 0 => return Ok(()),
            Course::Off | Course::Waits => {}
            Course::VmsExist if force => {
                let (machines, _) = existing(session).await?;
                delete_all(session, &machines).await?;
            }
            Course::VmsExist => {
                return Err(Error::Refused(format!(
                    "{doing}: VMs were made meanwhile; vmruntime is disabled when they are gone\n  delete them, or pass --force=true to delete them and what belongs to them"
                )));
            }
            Course::EnabledAgain => {
                return Err(Error::Refused(format!(
                    "{doing}: somebody has enabled it again meanwhile"
                )));
            }
        }
        if Instant::now() >= deadline {
            return Err(Error::Refused(format!(
                "{doing}: its components have not stopped after {} s\n  `ferrovirt describe vmruntime vmruntime` shows what it waits for",
                DISABLE_TIMEOUT.as_secs()
            )));
        }
        tokio::time::sleep(DISABLE_EVERY).await;
    }
}

/// How many components of the VM stack run, the switch itself left out.
async fn components(session: &Session) -> Result<usize, Error> {
    let label = "ferrovirt.io/component";
    let path = with_query(
        "/api/v1/namespaces/vm-system/pods",
        &[("labelSelector", label)],
    );
    let list = session.get("listing the components", &path).await?;
    let all = list.pointer("/items").and_then(Value::as_array);
    let name = |p: &&Value| {
        p.pointer("/metadata/labels/ferrovirt.io~1component")
            .cloned()
    };
    let stack = all.into_iter().flatten();
    Ok(stack
        .filter(|p| name(p) != Some(json!("vmruntime-controller-manager")))
        .count())
}

/// Deletes all machines, then waits until each is gone.
async fn delete_all(session: &Session, machines: &[Found]) -> Result<(), Error> {
    let deadline = Instant::now() + DISABLE_TIMEOUT;
    for machine in machines {
        let (namespace, name) = (
            machine.text("/metadata/namespace"),
            machine.text("/metadata/name"),
        );
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground",
            "preconditions": {"uid": machine.text("/metadata/uid")},
        });
        let path = machine.resource.object(&namespace, &name);
        let doing = format!("deleting {} {namespace}/{name}", machine.resource.kind);
        let deleted = session.send(&doing, Method::DELETE, &path, "application/json", &body);
        match deleted.await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    for machine in machines {
        let (namespace, name) = (
            machine.text("/metadata/namespace"),
            machine.text("/metadata/name"),
        );
        let gone = Until::Gone {
            uid: Some(machine.text("/metadata/uid")),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let place = (namespace.as_str(), name.as_str());
        let waited = until(session, &machine.resource, place, &gone, left, &mut |_| {}).await?;
        if let Waited::TimedOut { last } = waited {
            return Err(Error::Refused(format!(
                "{} {namespace}/{name} is still there after {} s ({}); vmruntime was not disabled",
                machine.resource.kind,
                DISABLE_TIMEOUT.as_secs(),
                last.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// Does `check` (G-34): one run is one object.
pub(crate) async fn check(session: &Session, options: &CheckOptions) -> Result<(), Error> {
    let catalog = Catalog::fetch(session).await?;
    let (api_version, kind) = ("vm.cluster.gke.io/v1", "VMRuntimePreflightCheck");
    let Some(resource) = catalog.by_kind(api_version, kind) else {
        return Err(Error::Refused(format!(
            "{} does not have preflight checks ({kind} of {api_version})\n  `ferrovirt describe vmruntime vmruntime` shows what it knows of its host",
            session.server()
        )));
    };
    let body = json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"generateName": "vmruntime-preflight-check-", "namespace": "vm-system"},
        "spec": {},
    });
    let path = resource.collection(Some("vm-system"));
    let doing = "starting a preflight check";
    let answer = session
        .send(doing, Method::POST, &path, "application/json", &body)
        .await?;
    let created: Value = serde_json::from_str(&answer)
        .map_err(|e| Error::Refused(format!("{doing}: the answer is not JSON: {e}")))?;
    let name = created
        .pointer("/metadata/name")
        .map(scalar)
        .unwrap_or_default();
    print(&format!(
        "{}/{} created\n",
        resource.singular_name(),
        visible(&name)
    ))?;
    if options.wait {
        verdict(session, resource, &name, options.timeout).await?;
    }
    Ok(())
}

/// Waits until a check is over; one that failed is an error that tells what failed where.
async fn verdict(
    session: &Session,
    resource: &Resource,
    name: &str,
    timeout: Duration,
) -> Result<(), Error> {
    let title = format!("{}/{}", resource.singular_name(), visible(name));
    let over: Until = "jsonpath={.status.pass}".parse().map_err(Error::Usage)?;
    let mut last = Value::Null;
    let mut said = String::new();
    let mut seen = |object: &Value| {
        last = object.clone();
        let message = object.pointer("/status/message").map(scalar);
        let message = message.unwrap_or_default();
        if object.pointer("/status/pass").is_none() && message != said {
            eprintln!("{}", visible(&message));
            said = message;
        }
    };
    let place = ("vm-system", name);
    match until(session, resource, place, &over, timeout, &mut seen).await? {
        Waited::Met => {}
        Waited::Absent | Waited::Vanished => {
            return Err(Error::Refused(format!("{title} was deleted meanwhile")));
        }
        Waited::TimedOut { last } => {
            return Err(Error::Refused(format!(
                "{title} has no verdict after {} s ({})",
                timeout.as_secs(),
                last.unwrap_or_default()
            )));
        }
    }
    if last.pointer("/status/pass") == Some(&Value::Bool(true)) {
        return print(&format!("{title} passed\n"));
    }
    let lines = failures(&last);
    let lines = if lines.is_empty() {
        last.pointer("/status/message")
            .map(scalar)
            .unwrap_or_default()
    } else {
        lines.join("\n  ")
    };
    Err(Error::Refused(format!("{title} failed\n  {lines}")))
}

/// One line for each line of each failed result.
fn failures(check: &Value) -> Vec<String> {
    let text = |v: &Value, key: &str| v.get(key).map(scalar).unwrap_or_default();
    let nodes = check.pointer("/status/checks").and_then(Value::as_object);
    let mut lines = Vec::new();
    for (node, checks) in nodes.into_iter().flatten() {
        let results = checks.get("results").and_then(Value::as_array);
        let failed = results
            .into_iter()
            .flatten()
            .filter(|r| r.get("passed") != Some(&Value::Bool(true)));
        for result in failed {
            let name = text(result, "checkName");
            for line in text(result, "message").lines() {
                lines.push(visible(&format!("{node}: {name}: {line}")));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_rows_of_g_22() {
        assert_eq!(plan(false, false, false), Plan::Disable);
        assert_eq!(plan(true, true, true), Plan::DeleteThenDisable);
        assert_eq!(plan(true, true, false), Plan::DeleteThenDisable);
        assert_eq!(plan(true, false, true), Plan::Ask);
        assert_eq!(plan(true, false, false), Plan::Refuse);
    }

    #[test]
    fn the_misspelled_annotation_wins() {
        let of =
            |annotations: Value| annotation(&json!({"metadata": {"annotations": annotations}}));
        assert!(of(json!({(FORCE[0]): "true"})));
        assert!(of(json!({(FORCE[1]): "true"})));
        assert!(!of(json!({(FORCE[0]): "false", (FORCE[1]): "true"})));
        assert!(!of(json!({(FORCE[0]): "yes"})));
        assert!(!annotation(&json!({})));
    }

    #[test]
    fn a_disable_is_followed_to_its_end() {
        let of = |enabled: bool, phase: Value| {
            course(&json!({"spec": {"enabled": enabled}, "status": {"phase": phase}}))
        };
        assert_eq!(of(false, json!("Enabled")), Course::Waits);
        assert_eq!(of(false, json!("Disabling")), Course::Waits);
        assert_eq!(of(false, json!("Disabled")), Course::Off);
        assert_eq!(of(false, json!(null)), Course::Off);
        assert_eq!(of(false, json!("VMsExist")), Course::VmsExist);
        assert_eq!(of(true, json!("Disabled")), Course::EnabledAgain);
    }

    #[test]
    fn what_failed_is_told_by_node_and_line() {
        let check = json!({"status": {"pass": false, "checks": {
            "n1": {"passed": true, "results": [{"checkName": "CPU", "passed": true}]},
            "n2": {"passed": false, "results": [
                {"checkName": "CPU", "passed": true, "message": "a note"},
                {"checkName": "KVM", "passed": false, "message": "exit code 1\nls: no\u{1b}[0m\n"}]},
        }}});
        let lines = failures(&check);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "n2: KVM: exit code 1");
        assert!(lines[1].starts_with("n2: KVM: ls: no") && !lines[1].contains('\u{1b}'));
        assert!(failures(&json!({})).is_empty());
    }

    #[test]
    fn only_yes_agrees() {
        assert!(agrees("y\n") && agrees(" Yes "));
        assert!(!agrees("") && !agrees("\n") && !agrees("n") && !agrees("yep"));
    }
}
