//! The command line: which verb, by which name.

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::backup::{self, BackupOptions, CheckOptions, RestoreOptions};
use crate::up::UpOptions;
use crate::{up, workload};

/// Virtual machines as Kubernetes objects, in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "ferrovirt",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  ferrovirt up --data-dir /var/lib/ferrovirt\n  ferrovirt enable vmruntime\n  ferrovirt apply -f vm.yaml\n  ferrovirt console vm1\n\nExit codes: 0 done, 1 failed, 2 the command line is wrong."
)]
struct Cli {
    #[command(flatten)]
    global: cli::GlobalOptions,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the platform on this host, in the foreground.
    Up(Box<UpOptions>),
    /// Save every object of the platform in one file, or check such a file
    Backup(BackupOptions),
    /// Make a data directory's store from a backup
    Restore(RestoreOptions),
    /// Look through the store of a platform that is down for damage
    CheckStore(CheckOptions),
    /// Run one virtual machine; started by the node runtime in a Pod.
    #[command(hide = true)]
    Launcher,
    /// Fill one disk; started by the node runtime in a Pod.
    #[command(hide = true)]
    Importer(Box<importer::Arguments>),
    /// Write the guest's serial console to standard output; a container of launcher Pods.
    #[command(hide = true)]
    GuestConsoleLog,
    /// Look at one aspect of this host for a preflight check; started by the node agent.
    #[command(hide = true)]
    PreflightProbe(workload::ProbeArguments),
    #[command(flatten)]
    Client(cli::Verb),
}

/// See [`crate::main`].
pub(crate) fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let name = args
        .first()
        .and_then(|a| Path::new(a).file_name())
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    match name.as_str() {
        "virtctl" | "kubectl-virt" => return cli::virtctl::main(args),
        "bmctl" => return cli::bmctl::main(args),
        _ => {}
    }
    let parsed = Cli::parse_from(args);
    match parsed.verb {
        Verb::Up(options) => up::main(*options),
        Verb::Backup(options) => backup::backup(&options, &parsed.global),
        Verb::Restore(options) => backup::restore(&options),
        Verb::CheckStore(options) => backup::check(&options),
        Verb::Launcher => workload::launcher(),
        Verb::Importer(arguments) => workload::importer(*arguments),
        Verb::GuestConsoleLog => workload::guest_console_log(),
        Verb::PreflightProbe(arguments) => workload::preflight_probe(&arguments),
        Verb::Client(verb) => cli::main_of(verb, parsed.global, Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
