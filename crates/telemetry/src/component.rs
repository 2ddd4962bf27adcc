//! A log of its own for each component of the process, for `kubectl logs`.
//!
//! ```text
//!  event in the span `component{name=X}` ─► line ─► <dir>/X.log ──full──► <dir>/X.log.1
//! ```
//!
//! Events outside such a span go to standard error only, and those of components too. A log is bounded:
//! at most [`FILE`] bytes, and as much again in the file before it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Name of the span that makes events a component's. Its field `name` is the component's name.
pub const SPAN: &str = "component";
/// Longest log file, in bytes; the one before it is kept too.
pub const FILE: u64 = 1024 * 1024;
/// Longest line, in bytes; the rest of a longer one is left out.
const LINE: usize = 16 * 1024;

/// The logs that are being written.
#[derive(Debug, Clone, Default)]
pub struct ComponentLogs(Arc<Mutex<HashMap<String, Log>>>);

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    written: u64,
}

impl Log {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)?;
        let written = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            written,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.written.saturating_add(line.len() as u64) > FILE {
            fs::rename(&self.path, before(&self.path))?;
            *self = Self::open(self.path.clone())?;
        }
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        Ok(())
    }
}

/// The file that a full log becomes.
fn before(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// The log of a component.
#[must_use]
pub fn path(dir: &Path, component: &str) -> PathBuf {
    dir.join(format!("{component}.log"))
}

impl ComponentLogs {
    /// Begins to write a component's log, or goes on with it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(&self, dir: &Path, component: &str) -> io::Result<()> {
        let log = Log::open(path(dir, component))?;
        self.logs().insert(component.to_owned(), log);
        Ok(())
    }

    /// Ends a component's log and removes it; one that is not there is removed.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove(&self, dir: &Path, component: &str) -> io::Result<()> {
        self.logs().remove(component);
        let path = path(dir, component);
        for file in [before(&path), path] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Log>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, component: &str, line: &[u8]) {
        if let Some(log) = self.logs().get_mut(component) {
            // A full disk must not end the component; standard error has the line too.
            let _ = log.write(line);
        }
    }
}

/// The component that a span belongs to, kept with the span.
struct Name(String);

struct FindName(Option<String>);

impl Visit for FindName {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S> Layer<S> for ComponentLogs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != SPAN {
            return;
        }
        let mut found = FindName(None);
        attributes.record(&mut found);
        if let (Some(name), Some(span)) = (found.0, context.span(id)) {
            span.extensions_mut().insert(Name(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(scope) = context.event_scope(event) else {
            return;
        };
        for span in scope {
            let extensions = span.extensions();
            if let Some(Name(name)) = extensions.get::<Name>() {
                self.write(name, line(event).as_bytes());
                return;
            }
        }
    }
}

/// `2026-11-21T12:00:00.000000Z  INFO what happened key=value`, with the end of the line.
fn line(event: &Event<'_>) -> String {
    let mut line = String::new();
    let mut writer = Writer::new(&mut line);
    // Writing into a String does not fail, and a line without its time is better than none.
    let _ = SystemTime.format_time(&mut writer);
    let _ = write!(writer, " {:>5} ", event.metadata().level());
    event.record(&mut DefaultVisitor::new(writer, true));
    // One event is one line, whatever is in it.
    let mut line = line.replace('\n', "\\n");
    if line.len() > LINE {
        line.truncate(line.floor_char_boundary(LINE));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{error_span, info, info_span};
    use tracing_subscriber::layer::SubscriberExt;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn an_event_is_in_the_log_of_its_component_and_in_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let logs = ComponentLogs::default();
        for name in ["a", "b"] {
            logs.open(dir.path(), name).unwrap();
        }
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(logs.clone()),
            || {
                info!("outside");
                error_span!("component", name = "a").in_scope(|| {
                    info_span!("inner").in_scope(|| info!(n = 1, "first\nsecond"));
                });
            },
        );
        let a = read(&path(dir.path(), "a"));
        assert!(a.ends_with("INFO first\\nsecond n=1\n"), "{a:?}");
        assert_eq!(a.lines().count(), 1);
        assert_eq!(read(&path(dir.path(), "b")), "");
        logs.remove(dir.path(), "a").unwrap();
        logs.remove(dir.path(), "a").unwrap();
        assert!(!path(dir.path(), "a").exists());
    }

    #[test]
    fn a_log_is_bounded_and_what_is_new_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let logs = ComponentLogs::default();
        logs.open(dir.path(), "a").unwrap();
        let line = vec![b'x'; 64 * 1024];
        for _ in 0..40 {
            logs.write("a", &line);
        }
        logs.write("a", b"the last\n");
        let path = path(dir.path(), "a");
        let sizes = [&path, &before(&path)].map(|p| fs::metadata(p).unwrap().len());
        assert!(sizes.iter().all(|s| *s <= FILE), "{sizes:?}");
        assert!(read(&path).ends_with("the last\n"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // Opened again, as after a crash, it goes on where it was.
        let again = ComponentLogs::default();
        again.open(dir.path(), "a").unwrap();
        again.write("a", b"and on\n");
        assert!(read(&path).ends_with("the last\nand on\n"));
    }
}
