//! Launchers as processes of their own, with a real QEMU and a real, very small guest.
//!
//! The launcher's process is this test program again, with the name of the first test and a directory.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(
    clippy::zombie_processes,
    reason = "a launcher is waited for where its end matters, and killed with its fixture"
)]

mod guest;

use std::future::Future;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use launcher_api::{
    Client, ClientError, EndReason, LauncherState, Outcome, Phase, RefusalReason, SERIAL_LOG,
    Start, Watch, console, read_state, watch,
};
use machine::{
    Accelerator, CacheMode, CpuSpec, DiskBacking, DiskBus, DiskSpec, Firmware, ImageFormat,
    MachineSpec,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const DIRECTORY: &str = "FERROVIRT_TEST_LAUNCHER";
const BOUND: Duration = Duration::from_secs(60);

/// Not a test: the launcher's process.
#[test]
fn launcher_process() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        let code = ferrovirt_launcher::run(Path::new(&dir));
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    launcher: Child,
    qemu: Option<host::process::Identity>,
}

impl Fixture {
    fn new(hears_power_button: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("disk.img"), guest::disk(hears_power_button)).unwrap();
        let launcher = launch(dir.path());
        Self {
            dir,
            launcher,
            qemu: None,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn client(&self) -> Client {
        eventually("the launcher listens", async || {
            Client::connect(self.path()).await.ok()
        })
        .await
    }

    async fn watch(&self) -> Watch {
        eventually("the launcher listens", async || {
            watch(self.path()).await.ok()
        })
        .await
    }

    /// Starts the machine and waits until its guest is there; returns the console.
    async fn boot(&mut self, start: Start) -> UnixStream {
        self.client().await.start(start).await.unwrap();
        let state = self.reach("Running").await;
        self.remember(&state);
        let mut console = console(self.path()).await.unwrap();
        // The guest may have printed before: it echoes in any case.
        hear(&mut console, b"a").await;
        console
    }

    fn remember(&mut self, state: &LauncherState) {
        self.qemu = state.qemu.map(|q| host::process::Identity {
            pid: q.pid,
            start_time: q.start_time,
        });
    }

    async fn reach(&self, phase: &str) -> LauncherState {
        let mut watch = self.watch().await;
        bounded(phase, async {
            while let Some(state) = watch.next().await.unwrap() {
                if state.phase.name() == phase {
                    return state;
                }
                assert!(!state.phase.is_ended(), "{:?}", state.phase);
            }
            panic!(
                "the launcher ended before {phase}: {:?}",
                read_state(self.path())
            );
        })
        .await
    }

    /// Waits for the end of the launcher's process; the machine must have left nothing.
    async fn ended(&mut self) -> (ExitStatus, Outcome, EndReason, String) {
        let status = eventually("the launcher ends", async || {
            self.launcher.try_wait().unwrap()
        })
        .await;
        if let Some(qemu) = self.qemu {
            assert!(!qemu.is_alive(), "QEMU is gone");
        }
        match read_state(self.path()).unwrap().unwrap().phase {
            Phase::Ended {
                outcome,
                reason,
                message,
            } => (status, outcome, reason, message),
            phase => panic!("the launcher ended in {phase:?}"),
        }
    }

    fn kill_launcher(&mut self) {
        self.launcher.kill().unwrap();
        self.launcher.wait().unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
        // A test that failed may leave a QEMU: the state knows which.
        if let Ok(Some(LauncherState {
            qemu: Some(qemu), ..
        })) = read_state(self.path())
        {
            let identity = host::process::Identity {
                pid: qemu.pid,
                start_time: qemu.start_time,
            };
            if identity.is_alive() {
                let _ = Command::new("kill")
                    .args(["-9", &qemu.pid.to_string()])
                    .status();
            }
        }
    }
}

fn launch(dir: &Path) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("launcher.log"))
        .unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["launcher_process", "--exact", "--nocapture"])
        .env(DIRECTORY, dir)
        .env(
            ferrovirt_launcher::TERMINATION_LOG,
            dir.join("termination-log"),
        )
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn start(dir: &Path) -> Start {
    let disk = DiskSpec {
        name: "boot".into(),
        path: dir.join("disk.img").to_str().unwrap().into(),
        format: ImageFormat::Raw,
        backing: DiskBacking::File,
        bus: DiskBus::Virtio,
        serial: None,
        boot_index: Some(1),
        read_only: false,
        cdrom: false,
        cache: CacheMode::WriteBack,
    };
    let machine = MachineSpec {
        name: "default_tiny".into(),
        uid: "1f2d".into(),
        uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".into(),
        serial: None,
        cpu: CpuSpec {
            model: "qemu64".into(),
            features: vec![],
            sockets: 1,
            cores: 1,
            threads: 1,
        },
        memory_bytes: 32 << 20,
        machine_type: "q35".into(),
        accelerator: Accelerator::Tcg,
        firmware: Firmware::Bios,
        acpi: true,
        disks: vec![disk],
        serial_console: true,
        graphics: false,
        rng: false,
        balloon: false,
        guest_agent: false,
    };
    Start {
        machine,
        grace_seconds: 30,
        paused: false,
    }
}

async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(BOUND, future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + BOUND;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends `bytes` until the guest echoes them: one that boots may lose what comes too early.
async fn hear(console: &mut UnixStream, bytes: &[u8]) {
    let mut heard = Vec::new();
    bounded("an echo", async {
        while !heard.windows(bytes.len()).any(|w| w == bytes) {
            console.write_all(bytes).await.unwrap();
            let mut chunk = [0; 1024];
            if let Ok(count) = timeout(Duration::from_millis(200), console.read(&mut chunk)).await {
                let count = count.unwrap();
                assert!(count > 0, "the console ended after {heard:?}");
                heard.extend_from_slice(&chunk[..count]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_machine_starts_and_its_guest_powers_off() {
    let mut fixture = Fixture::new(true);
    let mut watch = fixture.watch().await;
    assert_eq!(watch.next().await.unwrap().unwrap().phase, Phase::Idle);
    let idle = fixture
        .client()
        .await
        .request(&launcher_api::Request::Pause)
        .await
        .unwrap_err();
    assert!(
        matches!(idle, ClientError::Refused(refusal) if refusal.reason == RefusalReason::NotAllowed)
    );

    let mut console = fixture.boot(start(fixture.path())).await;
    let state = fixture.client().await.state().await.unwrap();
    let times = &state.times;
    assert!(
        times.accepted <= times.spawned
            && times.spawned <= times.qmp_ready
            && times.qmp_ready <= times.running
    );
    assert_eq!(state.vcpu_threads.len(), 1);
    let pss = host::memory::pss(fixture.launcher.id()).unwrap() >> 10;
    println!(
        "accepted to running: {:?}; PSS of the launcher: {pss} KiB",
        times
            .running
            .unwrap()
            .duration_since(times.accepted.unwrap())
    );
    fixture
        .client()
        .await
        .start(start(fixture.path()))
        .await
        .unwrap();

    console.write_all(b"!").await.unwrap();
    bounded("the console ends", console.read_to_end(&mut Vec::new()))
        .await
        .unwrap();
    let mut last = None;
    while let Some(state) = bounded("the last state", watch.next()).await.unwrap() {
        last = Some(state);
    }
    assert!(last.unwrap().phase.is_ended());
    let (status, outcome, reason, message) = fixture.ended().await;
    assert_eq!(
        (status.code(), outcome, reason),
        (Some(0), Outcome::Succeeded, EndReason::GuestShutdown)
    );
    assert_eq!(
        std::fs::read_to_string(fixture.path().join("termination-log")).unwrap(),
        message
    );
    let log = std::fs::read(fixture.path().join(SERIAL_LOG)).unwrap();
    assert!(log.windows(7).any(|w| w == b"ready\r\n"));
    assert!(matches!(
        Client::connect(fixture.path()).await,
        Err(ClientError::NotListening { .. })
    ));
}

#[tokio::test]
async fn a_console_session_takes_over_and_a_flood_holds_up_nobody() {
    let mut fixture = Fixture::new(true);
    let mut first = fixture.boot(start(fixture.path())).await;
    let mut second = console(fixture.path()).await.unwrap();
    bounded("the first session ends", first.read_to_end(&mut Vec::new()))
        .await
        .unwrap();
    hear(&mut second, b"xyz").await;
    // From now on nobody reads, and the guest writes all the time.
    second.write_all(b"*").await.unwrap();
    eventually("the log grows", async || {
        (std::fs::metadata(fixture.path().join(SERIAL_LOG))
            .unwrap()
            .len()
            > 256 << 10)
            .then_some(())
    })
    .await;
    fixture.client().await.kill().await.unwrap();
    let (_, outcome, reason, _) = fixture.ended().await;
    assert_eq!((outcome, reason), (Outcome::Succeeded, EndReason::Killed));
}

#[tokio::test]
async fn a_guest_that_hears_the_power_button_shuts_down() {
    let mut fixture = Fixture::new(true);
    let _console = fixture.boot(start(fixture.path())).await;
    let state = fixture.client().await.shutdown(300).await.unwrap();
    assert_eq!(state.phase.name(), "ShuttingDown");
    let (status, _, reason, _) = fixture.ended().await;
    assert_eq!(
        (status.code(), reason),
        (Some(0), EndReason::GracefulShutdown)
    );
}

#[tokio::test]
async fn sigterm_is_a_shutdown_and_a_paused_guest_is_woken_for_it() {
    let mut fixture = Fixture::new(true);
    let _console = fixture.boot(start(fixture.path())).await;
    let mut client = fixture.client().await;
    let paused = client.request(&launcher_api::Request::Pause).await.unwrap();
    assert_eq!(
        paused.phase,
        Phase::Paused {
            reason: "User".into()
        }
    );
    let pid = fixture.launcher.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let (_, _, reason, _) = fixture.ended().await;
    assert_eq!(reason, EndReason::GracefulShutdown);
}

#[tokio::test]
async fn a_deaf_guest_is_ended_when_its_grace_is_over() {
    let mut fixture = Fixture::new(false);
    let _console = fixture.boot(start(fixture.path())).await;
    let mut client = fixture.client().await;
    let long = client.shutdown(1000).await.unwrap();
    let short = client.shutdown(1).await.unwrap();
    let (Phase::ShuttingDown { deadline: long }, Phase::ShuttingDown { deadline: short }) =
        (long.phase, short.phase)
    else {
        panic!("not shutting down");
    };
    assert!(short < long);
    let (status, outcome, reason, _) = fixture.ended().await;
    assert_eq!(
        (status.code(), outcome, reason),
        (Some(0), Outcome::Succeeded, EndReason::GraceExpired)
    );
}

#[tokio::test]
async fn pause_unpause_and_reset() {
    let mut fixture = Fixture::new(true);
    let mut console = fixture.boot(start(fixture.path())).await;
    let mut client = fixture.client().await;
    client.request(&launcher_api::Request::Pause).await.unwrap();
    client.request(&launcher_api::Request::Pause).await.unwrap();
    assert_eq!(
        client
            .request(&launcher_api::Request::Unpause)
            .await
            .unwrap()
            .phase,
        Phase::Running
    );
    hear(&mut console, b"b").await;
    console.write_all(b"^").await.unwrap();
    bounded("a reset by the guest", async {
        let mut watch = fixture.watch().await;
        while watch.next().await.unwrap().unwrap().resets < 1 {}
    })
    .await;
    hear(&mut console, b"c").await;
    client.request(&launcher_api::Request::Reset).await.unwrap();
    hear(&mut console, b"d").await;
    assert_eq!(client.state().await.unwrap().phase, Phase::Running);
}

#[tokio::test]
async fn a_launcher_that_was_killed_adopts_its_machine() {
    let mut fixture = Fixture::new(true);
    let _console = fixture.boot(start(fixture.path())).await;
    let before = fixture.client().await.state().await.unwrap();
    for round in 1..=3 {
        fixture.kill_launcher();
        assert!(fixture.qemu.unwrap().is_alive());
        fixture.launcher = launch(fixture.path());
        let after = bounded("adoption", async {
            let mut watch = fixture.watch().await;
            loop {
                let state = watch.next().await.unwrap().unwrap();
                if state.adoptions == round {
                    return state;
                }
            }
        })
        .await;
        assert_eq!((after.qemu, &after.phase), (before.qemu, &Phase::Running));
        assert!(after.sequence > before.sequence);
        let mut console =
            eventually("a console", async || console(fixture.path()).await.ok()).await;
        hear(&mut console, b"z").await;
    }
    assert_eq!(
        fixture.client().await.state().await.unwrap().times.running,
        before.times.running
    );
    fixture.client().await.kill().await.unwrap();
    assert_eq!(fixture.ended().await.2, EndReason::Killed);
}

#[tokio::test]
async fn a_qemu_whose_pid_was_not_written_yet_is_found_by_its_socket() {
    let mut fixture = Fixture::new(true);
    let _console = fixture.boot(start(fixture.path())).await;
    fixture.kill_launcher();
    let mut state = read_state(fixture.path()).unwrap().unwrap();
    let qemu = state.qemu.take();
    state.phase = Phase::Starting;
    std::fs::write(
        fixture.path().join("state.json"),
        serde_json::to_vec(&state).unwrap(),
    )
    .unwrap();
    fixture.launcher = launch(fixture.path());
    assert_eq!(fixture.reach("Running").await.qemu, qemu);
    fixture.client().await.kill().await.unwrap();
    assert_eq!(fixture.ended().await.2, EndReason::Killed);
}

#[tokio::test]
async fn a_guest_that_powered_off_while_no_launcher_looked_is_not_lost() {
    let mut fixture = Fixture::new(true);
    let console = fixture.boot(start(fixture.path())).await;
    drop(console);
    fixture.kill_launcher();
    // Monitor and serial port are free now: the guest powers off on a character.
    let socket = fixture.path().join("serial0.sock");
    let mut serial = eventually("the serial port", async || {
        UnixStream::connect(&socket).await.ok()
    })
    .await;
    serial.write_all(b"!").await.unwrap();
    let socket = fixture.path().join("qmp.sock");
    let (qmp, events) = qemu::Qmp::connect(&socket).await.unwrap();
    eventually("the guest is off", async || {
        let status = qmp
            .execute(qemu::command::QueryStatus {})
            .await
            .unwrap()
            .status;
        (status == qemu::command::RunState::Shutdown).then_some(())
    })
    .await;
    drop((qmp, events, serial));
    fixture.launcher = launch(fixture.path());
    let (status, outcome, reason, _) = fixture.ended().await;
    assert_eq!(
        (status.code(), outcome, reason),
        (Some(0), Outcome::Succeeded, EndReason::GuestShutdown)
    );
}

#[tokio::test]
async fn a_qemu_that_is_killed_is_a_failure_with_a_reason() {
    let mut fixture = Fixture::new(true);
    let _console = fixture.boot(start(fixture.path())).await;
    let pid = fixture.qemu.unwrap().pid.to_string();
    assert!(
        Command::new("kill")
            .args(["-9", &pid])
            .status()
            .unwrap()
            .success()
    );
    let (status, outcome, reason, message) = fixture.ended().await;
    assert_eq!(
        (status.code(), outcome, reason),
        (Some(1), Outcome::Failed, EndReason::QemuExited)
    );
    assert!(message.contains("signal 9"), "{message}");
}

#[tokio::test]
async fn a_qemu_that_died_while_no_launcher_looked_is_a_failure() {
    let mut fixture = Fixture::new(true);
    let _console = fixture.boot(start(fixture.path())).await;
    fixture.kill_launcher();
    let qemu = fixture.qemu.unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &qemu.pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    eventually("QEMU is gone", async || (!qemu.is_alive()).then_some(())).await;
    fixture.launcher = launch(fixture.path());
    let (_, outcome, reason, _) = fixture.ended().await;
    assert_eq!((outcome, reason), (Outcome::Failed, EndReason::QemuExited));
}

#[tokio::test]
async fn a_machine_that_cannot_start_says_why_in_qemus_words() {
    let mut fixture = Fixture::new(true);
    let mut start = start(fixture.path());
    start.machine.disks[0].path = fixture.path().join("missing.img").to_str().unwrap().into();
    fixture.client().await.start(start).await.unwrap();
    let (status, outcome, reason, message) = fixture.ended().await;
    assert_eq!(
        (status.code(), outcome, reason),
        (Some(1), Outcome::Failed, EndReason::StartFailed)
    );
    assert!(
        message.contains("missing.img") && message.contains("No such file"),
        "{message}"
    );
}

#[tokio::test]
async fn a_machine_may_start_paused() {
    let mut fixture = Fixture::new(true);
    let mut start = start(fixture.path());
    start.paused = true;
    fixture.client().await.start(start).await.unwrap();
    let state = fixture.reach("Paused").await;
    assert_eq!(state.times.running, None);
    fixture.remember(&state);
    let mut client = fixture.client().await;
    assert!(
        client
            .request(&launcher_api::Request::Unpause)
            .await
            .unwrap()
            .times
            .running
            .is_some()
    );
    let mut console = console(fixture.path()).await.unwrap();
    hear(&mut console, b"p").await;
}

#[tokio::test]
async fn a_launcher_without_a_machine_ends_in_order_and_a_second_one_is_refused() {
    let mut fixture = Fixture::new(true);
    let _client = fixture.client().await;
    let mut second = launch(fixture.path());
    let refused = eventually("the second launcher ends", async || {
        second.try_wait().unwrap()
    })
    .await;
    assert_eq!(refused.code(), Some(1));
    fixture.client().await.shutdown(30).await.unwrap();
    let (status, _, reason, _) = fixture.ended().await;
    assert_eq!((status.code(), reason), (Some(0), EndReason::NeverStarted));
}

/// As the node runtime starts it: no privilege, own network namespace and control group.
#[tokio::test]
async fn an_unprivileged_launcher_in_namespace_and_group_runs_a_machine() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::{PermissionsExt, chown};
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(dir.path().join("disk.img"), guest::disk(true)).unwrap();
    for path in [dir.path(), &dir.path().join("disk.img")] {
        chown(path, Some(107), Some(107)).unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let netns = elsewhere.path().join("netns");
    host::netns::create(&netns).unwrap();
    let cgroups = host::cgroup::Cgroups::detect().unwrap();
    let limits = host::cgroup::Limits {
        pids: Some(200),
        memory_bytes: Some(1 << 30),
        ..Default::default()
    };
    let group = cgroups
        .create(&format!("launcher-test-{}", std::process::id()), &limits)
        .unwrap();

    // By this name the executable needs no path that uid 107 may walk.
    let mut launch = host::spawn::Launch::new("/proc/self/exe", dir.path());
    launch.args = ["launcher_process", "--exact", "--nocapture"]
        .map(Into::into)
        .into();
    launch.env = vec![(DIRECTORY.into(), ".".into())];
    let log = std::fs::File::create(elsewhere.path().join("log")).unwrap();
    launch.stderr = host::spawn::Output::To(log.into());
    launch.netns = Some(host::netns::open(&netns).unwrap());
    launch.cgroup = group.entrance().unwrap();
    launch.user = Some(host::spawn::User {
        uid: 107,
        gid: 107,
        groups: vec![],
    });
    let launcher = host::spawn::spawn(launch).unwrap();

    let mut client = eventually("the launcher listens", async || {
        Client::connect(dir.path()).await.ok()
    })
    .await;
    client.start(start(dir.path())).await.unwrap();
    let mut console = eventually("a console", async || console(dir.path()).await.ok()).await;
    hear(&mut console, b"u").await;
    let qemu = client.state().await.unwrap().qemu.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", qemu.pid)).unwrap();
    assert!(
        status.contains("Uid:\t107\t107\t107\t107") && status.contains("CapBnd:\t0000000000000000")
    );
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"));
    assert!(group.processes().contains(&qemu.pid));
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(namespace(qemu.pid), namespace(std::process::id()));
    client.shutdown(300).await.unwrap();
    let exit = bounded("the end", launcher.exited()).await.unwrap();
    assert_eq!(exit, host::process::Exit::Code(0));
    group.dissolve().await.unwrap();
    host::netns::delete(&netns).unwrap();
}
