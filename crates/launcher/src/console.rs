//! The first serial port: the launcher holds QEMU's one connection, and lends it to one session at a time.
//!
//! ```text
//!  QEMU ──serial0.sock──> output ──> session (at most one; a new one takes over, the old one gets its end)
//!    │  <──────────────── input  <──
//!    └─> serial0.log (written by QEMU itself, so nothing is lost while no launcher runs; cut here when it grows)
//! ```
//!
//! Invariants: the port is always read, so a guest never waits for a reader; a session that reads too slowly loses
//! the oldest output, never the newest; input is taken from a session only when QEMU has taken the input before.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;

use launcher_api::SERIAL_LOG;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::limits;

/// The older part of the serial log.
const OLD_LOG: &str = "serial0.log.1";

/// A client that wants the console, and what it typed ahead.
#[derive(Debug)]
pub(crate) struct Session {
    pub stream: UnixStream,
    pub typed: Vec<u8>,
}

/// The console of the running machine.
#[derive(Debug)]
pub(crate) struct Console {
    sessions: mpsc::Sender<Session>,
    task: JoinHandle<()>,
}

impl Console {
    /// Serves the port until QEMU closes it.
    pub(crate) fn new(serial: UnixStream) -> Self {
        let (sessions, receiver) = mpsc::channel(1);
        let task = tokio::spawn(Port::new(serial).serve(receiver));
        Self { sessions, task }
    }

    /// Where a session is handed in.
    pub(crate) fn entrance(&self) -> mpsc::Sender<Session> {
        self.sessions.clone()
    }

    /// Waits until the last output went to the session; QEMU must be gone.
    pub(crate) async fn finish(self) {
        drop(self.sessions);
        if tokio::time::timeout(limits::FAREWELL, self.task)
            .await
            .is_err()
        {
            tracing::warn!("the last console session did not take its output");
        }
    }
}

struct Port {
    serial: UnixStream,
    session: Option<UnixStream>,
    /// Guest to session.
    output: VecDeque<u8>,
    /// Session to guest.
    input: VecDeque<u8>,
    /// Whether the session may still send.
    session_sends: bool,
    /// Bytes of output since the log's size was looked at.
    unchecked: u64,
}

impl Port {
    fn new(serial: UnixStream) -> Self {
        Self {
            serial,
            session: None,
            output: VecDeque::new(),
            input: VecDeque::new(),
            session_sends: false,
            unchecked: 0,
        }
    }

    async fn serve(mut self, mut sessions: mpsc::Receiver<Session>) {
        let mut open = true;
        loop {
            let serial_interest = match self.input.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let session_interest = self.session_interest();
            tokio::select! {
                ready = self.serial.ready(serial_interest) => {
                    let Ok(ready) = ready else { break };
                    if ready.is_writable() && flush(&self.serial, &mut self.input).is_err() {
                        break;
                    }
                    if ready.is_readable() && !self.take_output() {
                        break;
                    }
                }
                ready = ready(self.session.as_ref(), session_interest) => match ready {
                    Ok(ready) => self.serve_session(ready),
                    Err(_) => self.end_session(),
                },
                next = sessions.recv(), if open => match next {
                    Some(Session { stream, typed }) => {
                        // Dropping the former one is its end of stream.
                        self.session = Some(stream);
                        self.session_sends = true;
                        self.output.clear();
                        self.input = typed.into();
                    }
                    None => open = false,
                },
            }
        }
        tracing::debug!("the serial port is closed");
        self.farewell().await;
    }

    fn session_interest(&self) -> Option<Interest> {
        let takes_input = self.session_sends && self.input.is_empty();
        match (takes_input, self.output.is_empty()) {
            (true, true) => Some(Interest::READABLE),
            (true, false) => Some(Interest::READABLE | Interest::WRITABLE),
            (false, false) => Some(Interest::WRITABLE),
            (false, true) => None,
        }
    }

    /// Reads the port once; `false` when it is closed.
    fn take_output(&mut self) -> bool {
        let mut chunk = [0; limits::CONSOLE_CHUNK];
        let count = match self.serial.try_read(&mut chunk) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        };
        self.unchecked += count as u64;
        if self.unchecked >= limits::SERIAL_LOG_CHECK {
            self.unchecked = 0;
            if let Err(error) = cut_log() {
                tracing::warn!(%error, "cutting the serial log");
            }
        }
        if self.session.is_some() {
            let surplus = (self.output.len() + count).saturating_sub(limits::CONSOLE_BYTES);
            self.output.drain(..surplus.min(self.output.len()));
            self.output.extend(&chunk[..count]);
        }
        true
    }

    fn serve_session(&mut self, ready: tokio::io::Ready) {
        let Some(session) = &self.session else { return };
        if ready.is_writable()
            && !self.output.is_empty()
            && flush(session, &mut self.output).is_err()
        {
            return self.end_session();
        }
        if ready.is_readable() && self.session_sends && self.input.is_empty() {
            let mut chunk = [0; limits::CONSOLE_CHUNK];
            match session.try_read(&mut chunk) {
                // It may still read: `echo reboot | ferrovirt console vm` wants to see what comes.
                Ok(0) => self.session_sends = false,
                Ok(count) => self.input.extend(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.end_session(),
            }
        }
    }

    fn end_session(&mut self) {
        self.session = None;
        self.session_sends = false;
        self.output.clear();
    }

    /// Gives the session what is left; the caller bounds the time.
    async fn farewell(mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        while !self.output.is_empty() {
            if session.writable().await.is_err() || flush(&session, &mut self.output).is_err() {
                return;
            }
        }
    }
}

async fn ready(
    session: Option<&UnixStream>,
    interest: Option<Interest>,
) -> io::Result<tokio::io::Ready> {
    match (session, interest) {
        (Some(session), Some(interest)) => session.ready(interest).await,
        _ => std::future::pending().await,
    }
}

/// Writes as much as the stream takes now.
fn flush(stream: &UnixStream, bytes: &mut VecDeque<u8>) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes.as_slices().0) {
            Ok(count) => drop(bytes.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    if bytes.capacity() > limits::CONSOLE_CHUNK * 4 {
        *bytes = VecDeque::new();
    }
    Ok(())
}

/// Puts a log that has grown too large aside and begins anew. QEMU appends to the same file, so it is emptied, not
/// replaced; what the guest writes in that instant may be lost to the log.
fn cut_log() -> io::Result<()> {
    let log = OpenOptions::new().read(true).write(true).open(SERIAL_LOG)?;
    if log.metadata()?.len() < limits::SERIAL_LOG_BYTES {
        return Ok(());
    }
    let new = ".serial0.log.1.new";
    io::copy(&mut &log, &mut File::create(new)?)?;
    std::fs::rename(new, OLD_LOG)?;
    log.set_len(0)
}

#[cfg(test)]
mod tests;
