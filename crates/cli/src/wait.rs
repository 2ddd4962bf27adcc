//! `wait`: until objects are in a state, saying meanwhile what they are waiting for.

use std::time::Duration;

use clap::Args;

use crate::catalog::{Catalog, Resource, targets};
use crate::duration;
use crate::error::Error;
use crate::output::print;
use crate::progress::{Display, follow};
use crate::session::Session;
use crate::until::{Until, Waited, gist, reason, until};

/// Options of `wait`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt wait vm/vm1 --for=condition=Ready --timeout=5m\n  ferrovirt wait dv/disk --for=jsonpath={.status.phase}=Succeeded\n  ferrovirt wait vmruntime vmruntime --for=jsonpath='{.status.ready}'=true --timeout=300s\n  ferrovirt wait vmi/vm1 --for=delete"
)]
pub struct WaitOptions {
    /// TYPE/NAME..., or TYPE NAME...
    #[arg(required = true, value_name = "TYPE/NAME")]
    target: Vec<String>,
    /// condition=TYPE[=STATUS], jsonpath={PATH}[=VALUE], create or delete
    #[arg(long = "for", value_name = "STATE")]
    state: Until,
    /// How long to wait, for all objects together
    #[arg(long, default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
}

/// Does `wait`.
pub(crate) async fn run(session: &Session, options: &WaitOptions) -> Result<(), Error> {
    let targets = targets(&options.target)?;
    let catalog = Catalog::fetch(session).await?;
    let deadline = tokio::time::Instant::now() + options.timeout;
    for (kind, name) in targets {
        let resource = catalog.by_type(&kind)?;
        let name = name.ok_or_else(|| Error::Usage("a NAME is needed".to_owned()))?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        one(session, resource, &name, options, left).await?;
    }
    Ok(())
}

async fn one(
    session: &Session,
    resource: &Resource,
    name: &str,
    options: &WaitOptions,
    left: Duration,
) -> Result<(), Error> {
    let display = Display::new();
    let mut said = String::new();
    let mut seen = |object: &serde_json::Value| {
        display.learn(resource, object);
        let now = reason(object, &options.state);
        if gist(&now) != said && !options.state.is_met(Some(object)) {
            display.say(&format!("waiting for {}/{name}: {now}", resource.plural));
            said = gist(&now);
        }
    };
    let place = (session.namespace.as_str(), name);
    let waited = tokio::select! {
        waited = until(session, resource, place, &options.state, left, &mut seen) => waited,
        () = follow(session, &session.namespace, &display) => return Ok(()),
    };
    display.finish();
    let title = format!("{}/{name}", resource.plural);
    match waited? {
        Waited::Met => print(&format!(
            "{}/{name} condition met\n",
            resource.singular_name()
        )),
        Waited::Absent => Err(Error::Refused(format!(
            "{} {name:?} not found; --for=create waits for it to appear",
            resource.plural_name()
        ))),
        Waited::Vanished => Err(Error::Refused(format!("{title} was deleted meanwhile"))),
        Waited::TimedOut { last } => Err(Error::Refused(format!(
            "timed out waiting for the condition on {title}: {}",
            last.unwrap_or_else(|| "it does not exist".to_owned())
        ))),
    }
}
