use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::process::Exit;

const BOUND: Duration = Duration::from_secs(20);

async fn shell(
    dir: &std::path::Path,
    script: &str,
    adjust: impl FnOnce(&mut Launch),
) -> (Exit, String) {
    let out = dir.join("out");
    let mut launch = Launch::new("/bin/sh", "/");
    launch.args = vec!["-c".into(), script.into()];
    launch.stdout = Output::To(File::create(&out).unwrap().into());
    adjust(&mut launch);
    let process = spawn(launch).unwrap();
    let exit = timeout(BOUND, process.exited()).await.unwrap().unwrap();
    (exit, std::fs::read_to_string(out).unwrap())
}

#[tokio::test]
async fn a_process_gets_what_is_given_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    // Not close-on-exec on purpose: a library may open such a thing.
    let leaked = File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let script = "env | grep -v -e PWD -e SHLVL -e '^_='; ls /proc/self/fd | wc -w; pwd; readlink /proc/self/fd/0; \
                  [ $(ps -o sid= -p $$) -eq $$ ] && echo leader; exit 3";
    let (exit, out) = shell(dir.path(), script, |launch| {
        launch.env = vec![("A".into(), "b c".into())];
    })
    .await;
    assert_eq!(exit, Exit::Code(3));
    // 0, 1, 2 and the directory `ls` reads.
    assert_eq!(out, "A=b c\n4\n/\n/dev/null\nleader\n");
}

#[tokio::test]
async fn an_unprivileged_process_can_gain_nothing() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = "id -u; id -g; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/self/status; ulimit -n";
    let (exit, out) = shell(dir.path(), script, |launch| {
        launch.user = Some(User {
            uid: 107,
            gid: 107,
            groups: vec![108],
        });
        launch.rlimits = vec![(Resource::Nofile, 77)];
    })
    .await;
    assert_eq!(exit, Exit::Code(0));
    let zero = "0000000000000000";
    let expected = format!(
        "107\n107\n107 108\nCapInh:\t{zero}\nCapPrm:\t{zero}\nCapEff:\t{zero}\nCapBnd:\t{zero}\nCapAmb:\t{zero}\n\
         NoNewPrivs:\t1\n77\n"
    );
    assert_eq!(out, expected);
}

#[tokio::test]
async fn a_failure_names_its_step() {
    let missing = spawn(Launch::new("/nonexistent/program", "/")).unwrap_err();
    assert_eq!(
        (missing.step, missing.source.kind()),
        (Step::Execute, io::ErrorKind::NotFound)
    );
    let mut launch = Launch::new("/bin/true", "/");
    launch.netns = Some(File::open("/dev/null").unwrap());
    let error = spawn(launch).unwrap_err();
    assert_eq!(error.step, Step::Netns);
    assert_eq!(
        error.to_string(),
        "starting /bin/true: its network namespace cannot be entered"
    );
}

#[test]
fn a_question_ends_with_the_one_who_asks() {
    // The kernel watches the thread: its end stands for the end of the process.
    let asker = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut command = tokio::process::Command::new("sleep");
            die_with_parent(&mut command);
            let child = command.arg("60").spawn().unwrap();
            crate::process::Identity::of(child.id().unwrap()).unwrap()
        })
    });
    let asked = asker.join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        if let Some(process) = Process::open(asked).unwrap() {
            let ended = timeout(BOUND, process.exited());
            ended.await.expect("it was killed").unwrap();
        }
    });
    assert!(!asked.is_alive());
}
