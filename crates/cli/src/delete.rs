//! `delete`: by type and name or by manifest, and wait until the objects are gone.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use http::Method;
use serde_json::{Value, json};

use crate::apply::resolve;
use crate::catalog::{Catalog, Resource, targets};
use crate::duration;
use crate::error::Error;
use crate::manifest;
use crate::output::print;
use crate::session::Session;
use crate::until::{Until, Waited, until};

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt delete vm vm1\n  ferrovirt delete -f vm.yaml --ignore-not-found\n  ferrovirt delete vm vm1 vm2 --wait=false"
)]
pub struct DeleteOptions {
    /// TYPE NAME..., or TYPE/NAME...
    #[arg(
        value_name = "TYPE NAME",
        required_unless_present = "files",
        conflicts_with = "files"
    )]
    target: Vec<String>,
    /// Delete what these manifests name
    #[arg(short = 'f', long = "filename", num_args = 1.., value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Wait until the objects are gone
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
    wait: bool,
    /// How long to wait for each
    #[arg(long, default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
    /// Absent objects are no failure
    #[arg(long)]
    ignore_not_found: bool,
    /// Seconds that the object has to end
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u32>,
}

struct Target {
    title: String,
    resource: Resource,
    namespace: String,
    name: String,
}

/// Does `delete`.
pub(crate) async fn run(session: &Session, options: &DeleteOptions) -> Result<(), Error> {
    let mut all = Vec::new();
    if options.files.is_empty() {
        let named = targets(&options.target)?;
        let catalog = Catalog::fetch(session).await?;
        for (kind, name) in named {
            let resource = catalog.by_type(&kind)?.clone();
            let name = name.ok_or_else(|| Error::Usage("a NAME is needed".to_owned()))?;
            all.push(Target {
                title: format!("deleting {}/{name}", resource.plural),
                namespace: session.namespace.clone(),
                resource,
                name,
            });
        }
    } else {
        let manifests = manifest::read(&options.files)?;
        let catalog = Catalog::fetch(session).await?;
        for manifest in manifests {
            all.push(Target {
                title: manifest.title(),
                resource: resolve(&catalog, &manifest)?.clone(),
                namespace: manifest
                    .namespace
                    .unwrap_or_else(|| session.namespace.clone()),
                name: manifest.name,
            });
        }
    }
    let mut failed = false;
    let mut gone = Vec::new();
    for target in all {
        match delete(session, &target, options).await {
            Ok(uid) => gone.push((target, uid)),
            Err(error) if error.is_not_found() && options.ignore_not_found => {}
            Err(error) => {
                eprintln!("error: {}", error.render());
                failed = true;
            }
        }
    }
    for (target, uid) in gone.into_iter().filter(|_| options.wait) {
        let waited = wait_gone(session, &target, uid, options.timeout).await;
        if let Err(error) = waited {
            eprintln!("error: {}", error.render());
            failed = true;
        }
    }
    if failed { Err(Error::Reported) } else { Ok(()) }
}

/// Asks for it; gives back the identity of what is to go.
async fn delete(
    session: &Session,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Option<String>, Error> {
    let path = target.resource.object(&target.namespace, &target.name);
    let object = session.get(&target.title, &path).await?;
    let mut body =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
    if let (Some(uid), Some(fields)) = (uid, body.as_object_mut()) {
        // What was looked at is deleted, not a successor of the same name.
        fields.insert("preconditions".to_owned(), json!({"uid": uid}));
        if let Some(seconds) = options.grace_period {
            fields.insert("gracePeriodSeconds".to_owned(), json!(seconds));
        }
    }
    session
        .send(
            &target.title,
            Method::DELETE,
            &path,
            "application/json",
            &body,
        )
        .await?;
    print(&format!(
        "{} {:?} deleted\n",
        target.resource.singular_name(),
        target.name
    ))?;
    Ok(uid.map(str::to_owned))
}

async fn wait_gone(
    session: &Session,
    target: &Target,
    uid: Option<String>,
    timeout: Duration,
) -> Result<(), Error> {
    let condition = Until::Gone { uid };
    let mut shown = String::new();
    let waited = until(
        session,
        &target.resource,
        (&target.namespace, &target.name),
        &condition,
        timeout,
        &mut |object| {
            let finalizers = object.pointer("/metadata/finalizers");
            let names = finalizers.and_then(Value::as_array).into_iter().flatten();
            let names: Vec<&str> = names.filter_map(Value::as_str).collect();
            let text = names.join(", ");
            if !text.is_empty() && text != shown {
                eprintln!("waiting for {}: finalizers {text}", target.name);
                shown = text;
            }
        },
    )
    .await?;
    match waited {
        Waited::Met => Ok(()),
        Waited::Absent | Waited::Vanished => Ok(()),
        Waited::TimedOut { last } => Err(Error::Refused(format!(
            "{}: still there after {timeout:?}{}",
            target.title,
            last.map(|l| format!(" ({l})")).unwrap_or_default()
        ))),
    }
}
