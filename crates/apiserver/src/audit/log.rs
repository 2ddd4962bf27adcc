//! Where events go: a bounded queue, and one thread that writes lines.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::policy::Level;
use super::rotate::{RotatingFile, Rotation};
use crate::limits;
use crate::metrics::text::Page;

/// Whether requests wait for their events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// A request waits until its event is written; when that fails, it goes on.
    #[default]
    Blocking,
    /// As `Blocking`, but a request whose first event cannot be written is refused.
    BlockingStrict,
    /// No request waits; events that find the queue full are dropped.
    Batch,
}

impl std::str::FromStr for AuditMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "blocking" => Ok(AuditMode::Blocking),
            "blocking-strict" => Ok(AuditMode::BlockingStrict),
            "batch" => Ok(AuditMode::Batch),
            _ => Err("must be blocking, blocking-strict or batch".to_owned()),
        }
    }
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct AuditLogOptions {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Whether requests wait for it.
    pub mode: AuditMode,
    /// Mebibytes of a file before it is put aside; 0 is no bound.
    pub max_size: u64,
    /// Files that are kept beside the current one; 0 keeps all.
    pub max_backups: usize,
}

#[derive(Debug, Default)]
struct Stats {
    events: AtomicU64,
    levels: [AtomicU64; 4],
    errors: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
}

struct Line {
    text: Vec<u8>,
    /// Told whether the line was written.
    written: Option<oneshot::Sender<bool>>,
    _room: OwnedSemaphorePermit,
}

/// The log. Cheap to clone; the thread ends when the last is dropped and everything is written.
#[derive(Clone, Debug)]
pub struct AuditLog {
    queue: mpsc::Sender<Line>,
    room: Arc<Semaphore>,
    mode: AuditMode,
    stats: Arc<Stats>,
}

enum Sink {
    File(RotatingFile),
    Stdout,
}

impl Sink {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Sink::File(file) => file.append(lines),
            Sink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
        }
    }
}

/// Bytes that one write takes together.
const BATCH: usize = 256 * 1024;

/// How often a log that cannot be written is complained about.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

fn write_lines(mut queue: mpsc::Receiver<Line>, mut sink: Sink, stats: &Stats) {
    let mut complained: Option<Instant> = None;
    while let Some(first) = queue.blocking_recv() {
        let mut first = first;
        let mut text = std::mem::take(&mut first.text);
        // A flush is a line without text.
        let mut events = u64::from(!text.is_empty());
        let mut lines = vec![first];
        while text.len() < BATCH
            && let Ok(mut line) = queue.try_recv()
        {
            events += u64::from(!line.text.is_empty());
            text.append(&mut line.text);
            lines.push(line);
        }
        let written = match sink.append(&text) {
            Ok(()) => true,
            Err(e) => {
                stats.errors.fetch_add(events, Relaxed);
                if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    complained = Some(Instant::now());
                    tracing::error!(error = %e, events, "the audit log cannot be written; events are lost");
                }
                false
            }
        };
        for waiter in lines.into_iter().filter_map(|line| line.written) {
            // Whoever waited may have gone.
            let _ = waiter.send(written);
        }
    }
}

impl AuditLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// When the file cannot be opened or there is no thread to have.
    pub fn open(options: &AuditLogOptions) -> io::Result<Self> {
        let sink = if options.path.as_os_str() == "-" {
            Sink::Stdout
        } else {
            let rotation = Rotation {
                max_bytes: options.max_size.saturating_mul(1024 * 1024),
                backups: options.max_backups,
            };
            Sink::File(RotatingFile::open(&options.path, rotation)?)
        };
        let (sender, receiver) = mpsc::channel(limits::AUDIT_QUEUE);
        let stats = Arc::new(Stats::default());
        let counted = Arc::clone(&stats);
        std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || write_lines(receiver, sink, &counted))?;
        Ok(AuditLog {
            queue: sender,
            room: Arc::new(Semaphore::new(limits::AUDIT_QUEUE_BYTES)),
            mode: options.mode,
            stats,
        })
    }

    fn weight(text: &[u8]) -> u32 {
        u32::try_from(text.len().min(limits::AUDIT_QUEUE_BYTES)).unwrap_or(u32::MAX)
    }

    fn count(&self, level: Level) {
        self.stats.events.fetch_add(1, Relaxed);
        if let Some(count) = self.stats.levels.get(level as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Writes an event as the mode says. False when it is known that it was not written and the request must not go on.
    pub(super) async fn emit(&self, level: Level, text: Vec<u8>, is_first: bool) -> bool {
        self.count(level);
        if self.mode == AuditMode::Batch {
            self.offer(text);
            return true;
        }
        let (sender, written) = oneshot::channel();
        let room = Arc::clone(&self.room).acquire_many_owned(Self::weight(&text));
        let ok = match room.await {
            Ok(room) => {
                let line = Line {
                    text,
                    written: Some(sender),
                    _room: room,
                };
                self.queue.send(line).await.is_ok() && written.await.unwrap_or(false)
            }
            Err(_) => false,
        };
        let strict = self.mode == AuditMode::BlockingStrict && is_first;
        if strict && !ok {
            self.stats.refused.fetch_add(1, Relaxed);
        }
        ok || !strict
    }

    /// Writes an event whose request is over already: nobody is there to wait.
    pub(super) fn emit_late(&self, level: Level, text: Vec<u8>) {
        self.count(level);
        self.offer(text);
    }

    fn offer(&self, text: Vec<u8>) {
        let room = Arc::clone(&self.room).try_acquire_many_owned(Self::weight(&text));
        let sent = room.is_ok_and(|room| {
            let line = Line {
                text,
                written: None,
                _room: room,
            };
            self.queue.try_send(line).is_ok()
        });
        if !sent {
            let dropped = self.stats.dropped.fetch_add(1, Relaxed);
            // The first, and then now and then: the counter has them all.
            if dropped.is_power_of_two() || dropped == 0 {
                tracing::error!(
                    dropped = dropped + 1,
                    "the audit log is behind; events are dropped"
                );
            }
        }
    }

    /// Waits until everything that was logged before is written.
    pub async fn flush(&self) {
        let (sender, written) = oneshot::channel();
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(1).await else {
            return;
        };
        let line = Line {
            text: Vec::new(),
            written: Some(sender),
            _room: room,
        };
        if self.queue.send(line).await.is_ok() {
            let _ = written.await;
        }
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let value = |count: &AtomicU64| count.load(Relaxed);
        page.single(
            "apiserver_audit_event_total",
            "counter",
            "Audit events made and sent to the log.",
            value(&self.stats.events),
        );
        let levels = "apiserver_audit_level_total";
        page.family(levels, "counter", "Audit events by level.");
        let names = [
            Level::None,
            Level::Metadata,
            Level::Request,
            Level::RequestResponse,
        ];
        for (level, count) in names.into_iter().zip(&self.stats.levels) {
            page.sample(levels, &[("level", level.name())], value(count));
        }
        let errors = "apiserver_audit_error_total";
        page.family(errors, "counter", "Audit events that were not written.");
        let lost = value(&self.stats.errors) + value(&self.stats.dropped);
        page.sample(errors, &[("plugin", "log")], lost);
        page.single(
            "apiserver_audit_requests_rejected_total",
            "counter",
            "Requests refused because their first event could not be written.",
            value(&self.stats.refused),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_that_cannot_be_written_is_said_and_only_strict_mode_refuses() {
        for (mode, goes_on) in [
            (AuditMode::Blocking, true),
            (AuditMode::BlockingStrict, false),
            (AuditMode::Batch, true),
        ] {
            let log = AuditLog::open(&AuditLogOptions {
                path: "/dev/full".into(),
                mode,
                max_size: 0,
                max_backups: 0,
            })
            .unwrap();
            let went_on = log.emit(Level::Metadata, b"{}\n".to_vec(), true).await;
            assert_eq!(went_on, goes_on, "{mode:?}");
            assert!(log.emit(Level::Metadata, b"{}\n".to_vec(), false).await);
            log.flush().await;
            let mut page = Page::default();
            log.render(&mut page);
            let text = page.into_text();
            // The flush, an empty line, is no event and no error on a full device.
            assert!(
                text.contains("apiserver_audit_error_total{plugin=\"log\"} 2"),
                "{text}"
            );
            let refused = i32::from(!goes_on);
            assert!(
                text.contains(&format!("rejected_total {refused}\n")),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn what_no_thread_takes_is_bounded() {
        let (queue, _receiver) = mpsc::channel(limits::AUDIT_QUEUE);
        let log = AuditLog {
            queue,
            room: Arc::new(Semaphore::new(limits::AUDIT_QUEUE_BYTES)),
            mode: AuditMode::Batch,
            stats: Arc::default(),
        };
        for _ in 0..limits::AUDIT_QUEUE + 5 {
            assert!(log.emit(Level::Metadata, b"{}\n".to_vec(), true).await);
        }
        assert_eq!(log.stats.dropped.load(Relaxed), 5);
    }
}
