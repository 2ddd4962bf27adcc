//! A whole platform for tests: the real binary, the real QEMU, the real kubectl.
//!
//! ```text
//!  run(Options, async |platform| ..) ─► Platform::start ─► `ferrovirt up` in /tmp/fvt-XXXXXX
//!       │                                  │ kubectl, kube::Client, Console, kill9, restart, stop
//!       │ Err or panic: log, objects       │
//!       └────────────────────────────────► drop: own processes, mounts, cgroups, directory
//! ```
//!
//! Invariants:
//! - Tests run side by side: everything of a platform is found by its directory, and nothing else is
//!   ever touched. What is killed is killed by pid, after its identity was checked.
//! - Every wait has a bound and says at its end what it saw last ([`eventually`]).
//! - What an aborted run left behind (its owner is dead) is removed by the next one.

mod binary;
mod console;
mod eventually;
mod failure;
mod image_server;
mod kubectl;
mod leftovers;
mod platform;
mod processes;
mod remains;

pub use binary::{client_files, clients, ferrovirt, tiny_image};
pub use console::{Closed, Console};
pub use eventually::{eventually, eventually_within};
pub use image_server::{ImageServer, Serving};
pub use kubectl::{Kubectl, Output};
pub use leftovers::Leftovers;
pub use platform::{Options, Platform};
pub use processes::{Process, is_alive, kill};

/// Runs a test with a platform of its own: starts it, runs `body`, shows logs and objects if that
/// fails, and removes everything.
///
/// # Panics
/// When the platform does not start or the body fails.
pub fn run<F>(options: Options, body: F)
where
    F: AsyncFnOnce(&mut Platform) -> anyhow::Result<()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let failed = runtime.block_on(Box::pin(async {
        let mut platform = match Platform::start(options).await {
            Ok(platform) => platform,
            Err(error) => return Some(format!("starting the platform: {error:#}")),
        };
        match Box::pin(body(&mut platform)).await {
            Ok(()) => {
                platform.passed();
                None
            }
            Err(error) => {
                failure::show(&platform).await;
                Some(format!("{error:#}"))
            }
        }
    }));
    if let Some(failed) = failed {
        panic!("{failed}");
    }
}
