//! An etcd for tests: Debian's `etcd-server` on free ports of the loopback, with a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a member may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// One member, running or not. Dropping it kills the process, and so does the end of the thread that started it.
#[derive(Debug)]
pub struct EtcdServer {
    name: String,
    directory: PathBuf,
    client_port: u16,
    peer_port: u16,
    /// `name=peer URL` of every member.
    members: Vec<String>,
    /// More arguments of the command line.
    arguments: Vec<String>,
    https: bool,
    child: Option<Child>,
}

/// The files of a server with TLS: its certificate, its key, and the CA of its clients.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM; clients must have a certificate of it.
    pub client_ca: PathBuf,
}

impl EtcdServer {
    /// Starts an etcd of one member with its data below a directory, and waits until it listens.
    #[must_use]
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_one(directory, arguments, None)
    }

    /// The same with TLS for clients.
    #[must_use]
    pub fn start_tls(directory: &Path, tls: &ServerTls) -> Self {
        Self::start_one(directory, &[], Some(tls))
    }

    fn start_one(directory: &Path, arguments: &[&str], tls: Option<&ServerTls>) -> Self {
        // A free port may be taken by somebody else before etcd has it: then it ends at once.
        for _ in 0..10 {
            let mut server = Self::new("m0", directory, arguments, tls);
            server.members = vec![server.member()];
            server.spawn();
            if server.listens() {
                return server;
            }
        }
        panic!("etcd does not start: {}", Self::log(directory));
    }

    /// Starts an etcd of several members.
    #[must_use]
    pub fn cluster(directory: &Path, members: usize) -> Vec<Self> {
        for attempt in 0..10 {
            let mut servers: Vec<_> = (0..members)
                .map(|n| {
                    let name = format!("m{n}");
                    let directory = directory.join(format!("{attempt}-{name}"));
                    Self::new(&name, &directory, &[], None)
                })
                .collect();
            let names: Vec<_> = servers.iter().map(Self::member).collect();
            for server in &mut servers {
                server.members.clone_from(&names);
                server.spawn();
            }
            if servers.iter_mut().all(Self::listens) {
                return servers;
            }
        }
        panic!("etcd does not start in {}", directory.display());
    }

    fn new(name: &str, directory: &Path, arguments: &[&str], tls: Option<&ServerTls>) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let mut arguments: Vec<_> = arguments.iter().map(|&a| a.to_owned()).collect();
        if let Some(tls) = tls {
            let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
            arguments.extend([
                file("cert-file", &tls.certificate),
                file("key-file", &tls.key),
                file("trusted-ca-file", &tls.client_ca),
                "--client-cert-auth=true".to_owned(),
            ]);
        }
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            client_port: free_port(),
            peer_port: free_port(),
            members: Vec::new(),
            arguments,
            https: tls.is_some(),
            child: None,
        }
    }

    fn member(&self) -> String {
        format!("{}=http://127.0.0.1:{}", self.name, self.peer_port)
    }

    /// Its URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    fn spawn(&mut self) {
        let log = self.directory.join("etcd.log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "etcd"])
            .args(["--name", &self.name, "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.directory.join("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.members.join(",")])
            // As much as the suite writes; the default is 1.5 MiB.
            .args(["--max-request-bytes", "16777216"])
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd and setpriv are installed (scripts/deps.sh test)");
        self.child = Some(child);
    }

    /// Waits until it accepts connections; `false` if it has ended instead.
    #[expect(
        clippy::disallowed_methods,
        reason = "a bounded wait for another process, outside of any runtime"
    )]
    fn listens(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.client_port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("etcd does not listen: {}", Self::log(&self.directory));
    }

    /// The end of its log.
    fn log(directory: &Path) -> String {
        let log = std::fs::read_to_string(directory.join("etcd.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way it is waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it from running, as a machine does that hangs, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        if let Some(child) = &self.child {
            let done = Command::new("kill")
                .arg(signal)
                .arg(child.id().to_string())
                .status();
            assert!(done.unwrap().success());
        }
    }

    /// Starts it again after [`Self::kill`], where it was and with what it has.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.spawn();
        assert!(self.listens(), "etcd ends: {}", Self::log(&self.directory));
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
