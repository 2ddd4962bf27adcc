//! What to say when the store cannot be opened: which file, where, what is lost, what to do.

use std::path::Path;

use store::OpenError;

/// The end of every report of damage.
pub(crate) const WHAT_TO_DO: &str = "  nothing was changed. Keep a copy of the directory and look at the device it is on; then move it away and\n  restore the newest backup (docs/backup.md): ferrovirt restore FILE --data-dir DIR";

/// Explains damage; other errors say enough.
pub(crate) fn explain(directory: &Path, error: OpenError) -> anyhow::Error {
    let doing = format!("opening the store in {}", directory.display());
    if !matches!(error, OpenError::Corrupt { .. }) {
        return anyhow::Error::new(error).context(doing);
    }
    let found = match store::log::check(directory) {
        Ok(report) => report.damage().fold(String::new(), |mut text, line| {
            text.push_str("  ");
            text.push_str(&line);
            text.push('\n');
            text
        }),
        Err(error) => format!("  looking closer failed: {error}\n"),
    };
    anyhow::anyhow!("{doing}: {error}\n{found}{WHAT_TO_DO}")
}
