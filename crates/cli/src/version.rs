//! `version`: of this program and of the server.

use clap::Args;
use serde_json::Value;

use crate::GlobalOptions;
use crate::error::Error;
use crate::output::{print, visible};
use crate::session::Session;

/// Options of `version`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrovirt version\n  ferrovirt version --client")]
pub struct VersionOptions {
    /// Of this program only; asks no server
    #[arg(short, long)]
    client: bool,
}

/// Does `version`.
pub(crate) async fn run(options: &VersionOptions, global: &GlobalOptions) -> Result<(), Error> {
    print(concat!(
        "Client Version: v",
        env!("CARGO_PKG_VERSION"),
        "\n"
    ))?;
    if options.client {
        return Ok(());
    }
    let session = Session::open(global).await?;
    let version = session
        .get("asking the server for its version", "/version")
        .await?;
    let text = |key: &str| {
        version
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or("unknown")
    };
    print(&format!(
        "Server Version: {} ({}, {})\n",
        visible(text("gitVersion")),
        visible(text("platform")),
        session.server()
    ))
}
