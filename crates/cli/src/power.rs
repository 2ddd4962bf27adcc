//! `start`, `stop`, `restart`, `pause`, `unpause`: KubeVirt's subresources, with virtctl's words.

use clap::{ArgAction, Args};
use http::Method;
use serde_json::{Map, Value, json};

use crate::catalog::encode;
use crate::error::Error;
use crate::output::print;
use crate::session::Session;

/// The kind that a subresource belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// `virtualmachines`.
    Vm,
    /// `virtualmachineinstances`.
    Vmi,
}

impl Machine {
    fn plural(self) -> &'static str {
        match self {
            Self::Vm => "virtualmachines",
            Self::Vmi => "virtualmachineinstances",
        }
    }
}

/// The path of a subresource.
pub(crate) fn path(machine: Machine, namespace: &str, name: &str, subresource: &str) -> String {
    format!(
        "/apis/subresources.kubevirt.io/v1/namespaces/{}/{}/{}/{subresource}",
        encode(namespace),
        machine.plural(),
        encode(name)
    )
}

/// Options of `start`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt start vm1\n  ferrovirt start vm1 --paused\n  virtctl start vm1 -n web"
)]
pub struct StartOptions {
    /// The VirtualMachine
    name: String,
    /// Start it frozen
    #[arg(long)]
    paused: bool,
    /// Let the server check it and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Options of `stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt stop vm1\n  ferrovirt stop vm1 --grace-period 30\n  ferrovirt stop vm1 --force --grace-period 0"
)]
pub struct StopOptions {
    /// The VirtualMachine
    name: String,
    /// Do not wait for the guest to shut down
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    force: bool,
    /// Seconds that the guest has to shut down; -1 is the VM's own [with --force: 0]
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "SECONDS")]
    grace_period: i64,
    /// Let the server check it and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Options of `restart`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt restart vm1\n  ferrovirt restart vm1 --force --grace-period 0"
)]
pub struct RestartOptions {
    /// The VirtualMachine
    name: String,
    /// Do not wait for the guest to shut down
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    force: bool,
    /// Seconds that the guest has to shut down; -1 is the VM's own [with --force: 0]
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "SECONDS")]
    grace_period: i64,
    /// Let the server check it and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What to freeze.
#[derive(Debug, Args)]
pub struct PauseTarget {
    /// [vm|vmi] NAME; without a type a VirtualMachine, else an instance of that name
    #[arg(required = true, num_args = 1..=2, value_name = "[vm|vmi] NAME")]
    target: Vec<String>,
    /// Let the server check it and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Options of `pause`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt pause vm1\n  ferrovirt pause vmi vm1\n  virtctl pause vm vm1"
)]
pub struct PauseOptions {
    #[command(flatten)]
    pub(crate) target: PauseTarget,
}

/// Options of `unpause`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt unpause vm1\n  ferrovirt unpause vmi vm1\n  virtctl unpause vm vm1"
)]
pub struct UnpauseOptions {
    #[command(flatten)]
    pub(crate) target: PauseTarget,
}

fn options(dry_run: bool, fields: &[(&str, Option<Value>)]) -> Value {
    let mut body = Map::new();
    if dry_run {
        body.insert("dryRun".to_owned(), json!(["All"]));
    }
    for (name, value) in fields {
        if let Some(value) = value {
            body.insert((*name).to_owned(), value.clone());
        }
    }
    Value::Object(body)
}

/// The grace period to send; `None` leaves it to the VM.
fn grace(force: bool, seconds: i64) -> Result<Option<i64>, Error> {
    match seconds {
        -1 => Ok(force.then_some(0)),
        0.. => Ok(Some(seconds)),
        _ => Err(Error::Usage(format!(
            "--grace-period {seconds}: a number of seconds, or -1 for the VM's own"
        ))),
    }
}

async fn put(
    session: &Session,
    (machine, name): (Machine, &str),
    action: &str,
    body: &Value,
) -> Result<(), Error> {
    let doing = match machine {
        Machine::Vm => format!("{action} of VirtualMachine {name}"),
        Machine::Vmi => format!("{action} of VirtualMachineInstance {name}"),
    };
    let path = path(machine, &session.namespace, name, action);
    session
        .send(&doing, Method::PUT, &path, "application/json", body)
        .await?;
    Ok(())
}

fn scheduled(kind: &str, name: &str, action: &str, dry_run: bool) -> Result<(), Error> {
    if dry_run {
        print("Dry Run execution\n")?;
    }
    print(&format!("{kind} {name} was scheduled to {action}\n"))
}

/// Does `start`.
pub(crate) async fn start(session: &Session, o: &StartOptions) -> Result<(), Error> {
    let body = options(o.dry_run, &[("paused", o.paused.then_some(json!(true)))]);
    put(session, (Machine::Vm, &o.name), "start", &body).await?;
    scheduled("VM", &o.name, "start", o.dry_run)
}

/// Does `stop`.
pub(crate) async fn stop(session: &Session, o: &StopOptions) -> Result<(), Error> {
    let seconds = grace(o.force, o.grace_period)?;
    let body = options(o.dry_run, &[("gracePeriod", seconds.map(|s| json!(s)))]);
    put(session, (Machine::Vm, &o.name), "stop", &body).await?;
    scheduled("VM", &o.name, "stop", o.dry_run)
}

/// Does `restart`.
pub(crate) async fn restart(session: &Session, o: &RestartOptions) -> Result<(), Error> {
    let seconds = grace(o.force, o.grace_period)?;
    let body = options(
        o.dry_run,
        &[("gracePeriodSeconds", seconds.map(|s| json!(s)))],
    );
    put(session, (Machine::Vm, &o.name), "restart", &body).await?;
    scheduled("VM", &o.name, "restart", o.dry_run)
}

/// Whether the target is said to be a VM; `None` where only a name is given.
fn machine_of(target: &[String]) -> Result<(Option<Machine>, &str), Error> {
    match target {
        [name] => Ok((None, name)),
        [kind, name] => match kind.to_lowercase().as_str() {
            "vm" | "vms" | "virtualmachine" | "virtualmachines" => Ok((Some(Machine::Vm), name)),
            "vmi" | "vmis" | "virtualmachineinstance" | "virtualmachineinstances" => {
                Ok((Some(Machine::Vmi), name))
            }
            _ => Err(Error::Usage(format!(
                "{kind:?} cannot be paused: expected vm or vmi"
            ))),
        },
        _ => Err(Error::Usage("expected [vm|vmi] NAME".to_owned())),
    }
}

/// Does `pause` and `unpause`: the instance of a VM has its name.
pub(crate) async fn pause(
    session: &Session,
    target: &PauseTarget,
    action: &str,
) -> Result<(), Error> {
    let (machine, name) = machine_of(&target.target)?;
    let body = options(target.dry_run, &[]);
    let asked = put(session, (Machine::Vmi, name), action, &body).await;
    if let Err(error) = asked {
        // "VMI not found" does not tell that the VM is there but does not run.
        if error.is_not_found() && machine != Some(Machine::Vmi) {
            let vm = format!(
                "/apis/kubevirt.io/v1/namespaces/{}/virtualmachines/{}",
                encode(&session.namespace),
                encode(name)
            );
            let doing = format!("{action} of VirtualMachine {name}");
            let vm = session.get(&doing, &vm).await?;
            let status = vm
                .pointer("/status/printableStatus")
                .and_then(Value::as_str);
            return Err(Error::Refused(format!(
                "{action} of VirtualMachine {name}: it is not running (status {})\n  start it with `ferrovirt start {name}`",
                status.unwrap_or("unknown")
            )));
        }
        return Err(error);
    }
    scheduled("VMI", name, action, target.dry_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_virtctl() {
        assert_eq!(
            path(Machine::Vm, "default", "vm1", "start"),
            "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/vm1/start"
        );
        assert_eq!(
            path(Machine::Vmi, "web", "a/b", "console"),
            "/apis/subresources.kubevirt.io/v1/namespaces/web/virtualmachineinstances/a%2Fb/console"
        );
    }

    #[test]
    fn force_means_no_grace() {
        assert_eq!(grace(false, -1).unwrap(), None);
        assert_eq!(grace(true, -1).unwrap(), Some(0));
        assert_eq!(grace(true, 5).unwrap(), Some(5));
        assert_eq!(grace(false, 30).unwrap(), Some(30));
        assert_eq!(grace(false, -2).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn targets_have_a_type_or_not() {
        let own = |all: &[&str]| all.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        assert_eq!(machine_of(&own(&["a"])).unwrap(), (None, "a"));
        assert_eq!(
            machine_of(&own(&["vmi", "a"])).unwrap(),
            (Some(Machine::Vmi), "a")
        );
        assert_eq!(
            machine_of(&own(&["VM", "a"])).unwrap(),
            (Some(Machine::Vm), "a")
        );
        assert!(machine_of(&own(&["pod", "a"])).is_err());
    }

    #[test]
    fn bodies_say_only_what_was_asked() {
        assert_eq!(options(false, &[("paused", None)]), json!({}));
        assert_eq!(
            options(true, &[("gracePeriod", Some(json!(0)))]),
            json!({"dryRun": ["All"], "gracePeriod": 0})
        );
    }
}
