//! Completion scripts for shells.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

use crate::error::Error;

/// Options of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt completion bash > /etc/bash_completion.d/ferrovirt\n  ferrovirt completion zsh > ~/.zfunc/_ferrovirt\n  ferrovirt completion fish > ~/.config/fish/completions/ferrovirt.fish"
)]
pub struct CompletionOptions {
    /// The shell
    shell: Shell,
}

/// Writes the script for `command`.
pub(crate) fn write(options: &CompletionOptions, mut command: clap::Command) -> Result<(), Error> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(Error::io("writing the completion script"))
}
