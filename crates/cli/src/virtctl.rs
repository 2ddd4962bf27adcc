//! The command line of `virtctl` and `kubectl virt`: KubeVirt's verbs, as far as they are built.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{CompletionOptions, GlobalOptions, Verb, console, main_of, power, version};

/// Controls virtual machines.
#[derive(Debug, Parser)]
#[command(
    name = "virtctl",
    arg_required_else_help = true,
    after_help = "Examples:\n  virtctl start vm1\n  virtctl console vm1 -n web\n  virtctl pause vm vm1"
)]
struct Virtctl {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    verb: VirtctlVerb,
}

#[derive(Debug, Subcommand)]
enum VirtctlVerb {
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
    /// Connect to a console of a virtual machine instance
    Console(console::ConsoleOptions),
    /// Print the client and server version information
    Version(version::VersionOptions),
    /// Write a completion script for a shell
    Completion(CompletionOptions),
}

/// Parses the arguments, the program's name first, and does what they say.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let parsed = Virtctl::parse_from(args);
    let verb = match parsed.verb {
        VirtctlVerb::Start(o) => Verb::Start(o),
        VirtctlVerb::Stop(o) => Verb::Stop(o),
        VirtctlVerb::Restart(o) => Verb::Restart(o),
        VirtctlVerb::Pause(o) => Verb::Pause(o),
        VirtctlVerb::Unpause(o) => Verb::Unpause(o),
        VirtctlVerb::Console(o) => Verb::Console(o),
        VirtctlVerb::Version(o) => Verb::Version(o),
        VirtctlVerb::Completion(o) => Verb::Completion(o),
    };
    main_of(verb, parsed.global, Virtctl::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_virtctl_are_taken() {
        Virtctl::command().debug_assert();
        for line in [
            "virtctl start vm1 --paused",
            "virtctl stop vm1 --force --grace-period=0 -n web",
            "virtctl stop vm1 --grace-period -1",
            "virtctl restart --force=true --grace-period 0 vm1",
            "virtctl pause vm vm1 --dry-run",
            "virtctl unpause vmi vm1",
            "virtctl console vm1 --timeout=10 --context c",
            "virtctl version -c",
        ] {
            let parsed = Virtctl::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
        assert!(Virtctl::try_parse_from(["virtctl", "migrate", "vm1"]).is_err());
    }
}
