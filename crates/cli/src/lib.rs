//! The client side of the command line: everything a person does to a running Ferrovirt.
//!
//! ```text
//!   ferrovirt VERB ...   app: server verbs + Verb ──┐
//!   virtctl VERB ...     virtctl::main ─────────────┼─► run(verb, global) ─► Session (kube::Client) ─► API server
//!   bmctl VERB ...       bmctl::main ───────────────┘
//! ```
//!
//! Every verb works against any server that speaks the Kubernetes API: kinds are discovered, objects are
//! JSON values, and tables are made by the server. So the same binary serves a standalone host and a cluster.
//!
//! Invariants: answers go to standard output, everything else (progress, prompts, reasons) to standard
//! error. Every wait is bounded. Exit codes: 0 done, 1 failed, 2 the command line is wrong.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod apply;
pub mod bmctl;
mod catalog;
mod completion;
mod console;
mod delete;
mod describe;
mod download;
mod duration;
mod error;
mod get;
mod limits;
mod logs;
mod manifest;
mod output;
mod power;
mod progress;
mod session;
mod table;
mod terminal;
mod until;
mod version;
pub mod virtctl;
mod vmruntime;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use completion::CompletionOptions;
pub use download::download;

use error::Error;
use session::Session;

/// Which server, as whom, and where in it.
#[derive(Clone, Debug, Default, Args)]
pub struct GlobalOptions {
    /// Kubeconfig file [default: $KUBECONFIG, else /var/lib/ferrovirt/admin.kubeconfig, else ~/.kube/config]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub context: Option<String>,
    /// Namespace [default: the context's, else `default`]
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub namespace: Option<String>,
}

/// What a client can ask for.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create or change objects as manifests say (server-side apply)
    Apply(apply::ApplyOptions),
    /// Show objects
    Get(get::GetOptions),
    /// Show one object with its conditions and events
    Describe(describe::DescribeOptions),
    /// Delete objects
    Delete(delete::DeleteOptions),
    /// Wait until objects are in a state
    Wait(wait::WaitOptions),
    /// Print what a Pod wrote
    Logs(logs::LogsOptions),
    /// Start a virtual machine
    Start(power::StartOptions),
    /// Stop a virtual machine
    Stop(power::StopOptions),
    /// Restart a virtual machine
    Restart(power::RestartOptions),
    /// Freeze a virtual machine; its state is kept in memory
    Pause(power::PauseOptions),
    /// Let a frozen virtual machine run again
    Unpause(power::UnpauseOptions),
    /// Connect to the serial console of a virtual machine
    Console(console::ConsoleOptions),
    /// Switch a part of the platform on
    Enable(vmruntime::EnableOptions),
    /// Switch a part of the platform off
    Disable(vmruntime::DisableOptions),
    /// Check the prerequisites of the platform
    Check(vmruntime::CheckOptions),
    /// Print the versions of this program and of the server
    Version(version::VersionOptions),
    /// Write a completion script for a shell
    Completion(CompletionOptions),
}

/// The client verbs alone, for completion where the caller has no larger command.
#[derive(Debug, Parser)]
#[command(name = "ferrovirt")]
struct ClientCommand {
    #[command(flatten)]
    _global: GlobalOptions,
    #[command(subcommand)]
    _verb: Verb,
}

/// Does what was asked, on a runtime of its own.
pub fn main(verb: Verb, global: GlobalOptions) -> ExitCode {
    main_of(verb, global, ClientCommand::command())
}

/// As [`main`]; `command` is the whole command line that completion is written for.
pub fn main_of(verb: Verb, global: GlobalOptions, command: clap::Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: starting: {error}");
            return ExitCode::from(1);
        }
    };
    let code = runtime.block_on(run_of(verb, global, command));
    // Nothing that still runs is waited for.
    runtime.shutdown_background();
    code
}

/// Does what was asked, and says on standard error what went wrong.
pub async fn run(verb: Verb, global: GlobalOptions) -> ExitCode {
    run_of(verb, global, ClientCommand::command()).await
}

async fn run_of(verb: Verb, global: GlobalOptions, command: clap::Command) -> ExitCode {
    match Box::pin(dispatch(verb, &global, command)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                eprintln!("error: {}", error.render());
            }
            ExitCode::from(error.exit_code())
        }
    }
}

async fn dispatch(verb: Verb, global: &GlobalOptions, command: clap::Command) -> Result<(), Error> {
    match verb {
        Verb::Completion(options) => return completion::write(&options, command),
        Verb::Version(options) => return version::run(&options, global).await,
        _ => {}
    }
    let session = Session::open(global).await?;
    match verb {
        Verb::Completion(_) | Verb::Version(_) => Ok(()),
        Verb::Apply(options) => apply::run(&session, &options).await,
        Verb::Get(options) => get::run(&session, &options).await,
        Verb::Describe(options) => describe::run(&session, &options).await,
        Verb::Delete(options) => delete::run(&session, &options).await,
        Verb::Wait(options) => wait::run(&session, &options).await,
        Verb::Logs(options) => logs::run(&session, &options).await,
        Verb::Start(options) => power::start(&session, &options).await,
        Verb::Stop(options) => power::stop(&session, &options).await,
        Verb::Restart(options) => power::restart(&session, &options).await,
        Verb::Pause(options) => power::pause(&session, &options.target, "pause").await,
        Verb::Unpause(options) => power::pause(&session, &options.target, "unpause").await,
        Verb::Console(options) => console::run(&session, &options).await,
        Verb::Enable(_) => vmruntime::enable(&session).await,
        Verb::Disable(options) => vmruntime::disable(&session, &options).await,
        Verb::Check(options) => vmruntime::check(&session, &options).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        ClientCommand::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_examples() {
        for verb in ClientCommand::command().get_subcommands() {
            let help = verb.clone().render_help().to_string();
            assert!(help.contains("Examples:"), "{}: {help}", verb.get_name());
        }
    }
}
