//! The command line of `bmctl`: the switch of the VM runtime (G-10, G-20, G-34).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{CompletionOptions, GlobalOptions, Verb, main_of, version, vmruntime};

/// Switches the VM runtime of a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "bmctl",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  bmctl enable vmruntime --kubeconfig FILE\n  bmctl disable vmruntime --kubeconfig FILE --force=true\n  bmctl check vmruntimepfc --kubeconfig FILE"
)]
struct Bmctl {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    verb: BmctlVerb,
}

#[derive(Debug, Subcommand)]
enum BmctlVerb {
    /// Switch a part of the cluster on
    Enable(vmruntime::EnableOptions),
    /// Switch a part of the cluster off
    Disable(vmruntime::DisableOptions),
    /// Check prerequisites
    Check(vmruntime::CheckOptions),
    /// Print the versions of this program and of the server
    Version(version::VersionOptions),
    /// Write a completion script for a shell
    Completion(CompletionOptions),
}

/// Parses the arguments, the program's name first, and does what they say.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let parsed = Bmctl::parse_from(args);
    let verb = match parsed.verb {
        BmctlVerb::Enable(o) => Verb::Enable(o),
        BmctlVerb::Disable(o) => Verb::Disable(o),
        BmctlVerb::Check(o) => Verb::Check(o),
        BmctlVerb::Version(o) => Verb::Version(o),
        BmctlVerb::Completion(o) => Verb::Completion(o),
    };
    main_of(verb, parsed.global, Bmctl::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_are_taken() {
        Bmctl::command().debug_assert();
        for line in [
            "bmctl enable vmruntime --kubeconfig /k",
            "bmctl disable vmruntime --kubeconfig /k --force",
            "bmctl disable vmruntime --kubeconfig /k --force=false",
            "bmctl check vmruntimepfc --kubeconfig /k",
            "bmctl check vmruntime --kubeconfig /k",
            "bmctl check vmruntimepfc --wait --timeout=10s",
        ] {
            let parsed = Bmctl::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
        assert!(Bmctl::try_parse_from(["bmctl", "enable", "other"]).is_err());
    }
}
