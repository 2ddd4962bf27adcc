//! One launcher's life: waiting for a machine, starting or adopting it, owning it (`own`), and its answers.

use std::future::Future;
use std::path::{Path, PathBuf};

use host::sandbox::{self, Enforcement, Keep};
use jiff::Timestamp;
use launcher_api::{
    EndReason, LauncherState, MachineIdentity, Phase, Process, Refusal, RefusalReason, Reply, Start,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::adopt::adopt;
use crate::console::Console;
use crate::directory::{Directory, DirectoryError, causes};
use crate::limits;
use crate::observe;
use crate::publisher::{End, Publisher};
use crate::requests::{Action, Verdict, decide};
use crate::server::{Answer, Inbound, Server};
use crate::startup::{Machine, NotStarted, StartError};

/// Why a launcher could not even begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("{0}")]
    Begin(&'static str, #[source] std::io::Error),
    #[error("state.json speaks of a machine, but machine.json is missing")]
    NoMachine,
}

/// One launcher's life in `dir`.
pub(crate) async fn live(dir: &Path) -> Result<End, LiveError> {
    let directory = Directory::enter(dir)?;
    let own = host::process::Identity::own()
        .map_err(|e| LiveError::Begin("finding out who this process is", e))?;
    let former = directory.state()?;
    if let Some(LauncherState {
        phase: Phase::Ended {
            outcome, message, ..
        },
        ..
    }) = former
    {
        return Ok(End { outcome, message });
    }
    let start = directory.start()?;
    let own = Process {
        pid: own.pid,
        start_time: own.start_time,
    };
    let publisher = Publisher::new(directory, own, former);
    let (sender, inbox) = mpsc::channel(limits::INBOX);
    let server = Server::listen(sender, publisher.subscribe())
        .map_err(|e| LiveError::Begin("listening on launcher.sock", e))?;
    let terminate = signal(SignalKind::terminate())
        .map_err(|e| LiveError::Begin("listening for SIGTERM", e))?;
    let mut launcher = Launcher {
        publisher,
        inbox,
        terminate,
        start,
        console: None,
    };
    let end = Box::pin(launcher.whole_life()).await;
    let Launcher { console, inbox, .. } = launcher;
    if let Ok(end) = &end {
        tracing::debug!(message = end.message, "over");
    }
    drop(inbox);
    if let Some(console) = console {
        console.finish().await;
    }
    server.farewell().await;
    end
}

pub(crate) struct Launcher {
    pub publisher: Publisher,
    pub inbox: mpsc::Receiver<Inbound>,
    pub terminate: Signal,
    pub start: Option<Start>,
    pub console: Option<Console>,
}

impl Launcher {
    async fn whole_life(&mut self) -> Result<End, LiveError> {
        let adopting = self.publisher.state().phase != Phase::Idle;
        let machine = if adopting {
            let start = self.start.clone().ok_or(LiveError::NoMachine)?;
            self.adopt(&start).await
        } else {
            self.publisher.update(|_| {});
            match self.idle().await {
                Ok(start) => self.start(&start).await,
                Err(end) => Err(end),
            }
        };
        Ok(match machine {
            Ok(machine) => self.own(machine).await,
            Err(end) => end,
        })
    }

    /// Waits for `Start`.
    async fn idle(&mut self) -> Result<Start, End> {
        loop {
            tokio::select! {
                Some(inbound) = self.inbox.recv() => match self.judge(inbound) {
                    None => {}
                    Some((Action::Start(start), answer)) => {
                        let identity =
                            MachineIdentity { name: start.machine.name.clone(), uuid: start.machine.uuid.clone() };
                        if let Err(error) = self.publisher.directory().write_start(&start) {
                            let end = self.publisher.end(EndReason::StartFailed, causes(&error));
                            self.answer(answer);
                            return Err(end);
                        }
                        self.publisher.update(|state| {
                            state.phase = Phase::Starting;
                            state.machine = Some(identity);
                            state.times.accepted = Some(Timestamp::now());
                        });
                        self.start = Some((*start).clone());
                        self.answer(answer);
                        return Ok(*start);
                    }
                    Some((_, answer)) => return Err(self.never_started(Some(answer))),
                },
                _ = self.terminate.recv() => return Err(self.never_started(None)),
            }
        }
    }

    fn never_started(&mut self, answer: Option<oneshot::Sender<Answer>>) -> End {
        let reason = EndReason::NeverStarted;
        let end = self.publisher.end(reason, observe::words(reason).into());
        if let Some(answer) = answer {
            self.answer(answer);
        }
        end
    }

    /// The typestates, published one by one; a request to end pre-empts them.
    async fn start(&mut self, start: &Start) -> Result<Machine, End> {
        confine(start);
        match self.try_start(start).await {
            Ok(machine) => machine,
            Err(error) => Err(self.publisher.end(EndReason::StartFailed, causes(&error))),
        }
    }

    async fn try_start(&mut self, start: &Start) -> Result<Result<Machine, End>, StartError> {
        let spawned = NotStarted::new(start).spawn(self.publisher.directory())?;
        let qemu = spawned.identity().map(|id| Process {
            pid: id.pid,
            start_time: id.start_time,
        });
        self.publisher.update(|state| {
            state.qemu = qemu;
            state.times.spawned = Some(Timestamp::now());
        });
        let directory = self.publisher.directory().clone();
        let ready = match self.unless_ended(spawned.connect(&directory)).await {
            Ok(ready) => ready?,
            Err(end) => return Ok(Err(end)),
        };
        self.publisher.update(|state| {
            state.qemu_version = Some(ready.version().to_string());
            state.vcpu_threads = ready.vcpu_threads().to_vec();
            state.times.qmp_ready = Some(Timestamp::now());
        });
        let machine = match self.unless_ended(ready.run()).await {
            Ok(machine) => machine?,
            Err(end) => return Ok(Err(end)),
        };
        self.publisher.update(|state| {
            state.phase = match start.paused {
                true => Phase::Paused {
                    reason: "User".into(),
                },
                false => Phase::Running,
            };
            state.times.running = (!start.paused).then(Timestamp::now);
        });
        Ok(Ok(machine))
    }

    /// Drives a step of the start while requests are answered; dropping the step ends its QEMU.
    async fn unless_ended<T>(&mut self, step: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(step);
        loop {
            tokio::select! {
                done = &mut step => return Ok(done),
                Some(inbound) = self.inbox.recv() => {
                    // In phase Starting only the end is carried out; the table says so.
                    if let Some((_, answer)) = self.judge(inbound) {
                        return Err(self.never_started(Some(answer)));
                    }
                }
                _ = self.terminate.recv() => return Err(self.never_started(None)),
            }
        }
    }

    async fn adopt(&mut self, start: &Start) -> Result<Machine, End> {
        confine(start);
        match adopt(self.publisher.state(), start).await {
            Ok((machine, vcpu_threads)) => {
                let id = machine.process.identity();
                self.publisher.update(|state| {
                    state.adoptions += 1;
                    state.qemu = Some(Process {
                        pid: id.pid,
                        start_time: id.start_time,
                    });
                    state.qemu_version = Some(machine.channels.qmp.version().to_string());
                    state.vcpu_threads = vcpu_threads;
                });
                tracing::info!(pid = id.pid, "adopted the QEMU of a former launcher");
                Ok(machine)
            }
            Err(error) => {
                let words = self.publisher.directory().qemu_last_words();
                Err(self
                    .publisher
                    .end(error.reason(), with_last_words(causes(&error), &words)))
            }
        }
    }

    /// Answers what needs no action; returns what does.
    pub(crate) fn judge(&mut self, inbound: Inbound) -> Option<(Action, oneshot::Sender<Answer>)> {
        let Inbound { request, answer } = inbound;
        match decide(
            &self.publisher.state().phase,
            self.start.as_ref(),
            request,
            Timestamp::now(),
        ) {
            Verdict::Do(action) => return Some((action, answer)),
            Verdict::Nothing => self.answer(answer),
            Verdict::Refuse(refusal) => {
                let _ = answer.send(Answer {
                    reply: Reply::Refused(refusal),
                    console: None,
                });
            }
        }
        None
    }

    /// Answers with the present state. Who asked may be gone.
    pub(crate) fn answer(&self, answer: oneshot::Sender<Answer>) {
        let _ = answer.send(Answer {
            reply: Reply::State(Box::new(self.publisher.state().clone())),
            console: None,
        });
    }

    pub(crate) fn answer_console(&self, answer: oneshot::Sender<Answer>) {
        let Some(console) = &self.console else {
            return refuse(
                answer,
                RefusalReason::NotAllowed,
                "the machine has no serial console".into(),
            );
        };
        let reply = Reply::State(Box::new(self.publisher.state().clone()));
        let _ = answer.send(Answer {
            reply,
            console: Some(console.entrance()),
        });
    }
}

pub(crate) fn refuse(answer: oneshot::Sender<Answer>, reason: RefusalReason, message: String) {
    let _ = answer.send(Answer {
        reply: Reply::Refused(Refusal { reason, message }),
        console: None,
    });
}

pub(crate) fn with_last_words(message: String, last_words: &str) -> String {
    match last_words {
        "" => message,
        words => format!("{message}; its log ends with: {words}"),
    }
}

/// Gives up all files but the system's, this directory, and the machine's disks: for the launcher and for QEMU.
fn confine(start: &Start) {
    let devices = ["/dev/kvm", "/dev/null", "/dev/urandom"].map(PathBuf::from);
    let disks = start
        .machine
        .disks
        .iter()
        .filter_map(|disk| std::fs::canonicalize(&disk.path).ok());
    let keep = Keep {
        read: sandbox::system_files(),
        write: std::iter::once(PathBuf::from("."))
            .chain(devices)
            .chain(disks)
            .collect(),
    };
    match sandbox::confine(&keep) {
        Ok(Enforcement::Full) => {}
        Ok(enforcement) => tracing::info!(?enforcement, "the sandbox of files"),
        Err(error) => tracing::warn!(error = causes(&error), "the sandbox of files"),
    }
}
