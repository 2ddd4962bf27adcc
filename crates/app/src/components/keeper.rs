//! Keeps one component as it is desired.
//!
//! ```text
//!            desired            ended or panicked
//!  Stopped ─────────► Running ◄──────────────────► BackOff
//!     ▲                  │ not desired                │
//!     └── token, bound ──┴────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use telemetry::component::SPAN;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error, error_span, info, warn};

use super::{Board, Component, Ended, Place, Report, State, this_second};

/// How long a component may go on after it was told to stop; then it is dropped.
const STOP: Duration = Duration::from_millis(500);
/// First and longest wait before a component is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// One that has run for so long begins with the first wait again.
const RAN_WELL: Duration = Duration::from_secs(600);

/// Whether a component is to run.
type Wanted = watch::Receiver<Option<bool>>;

/// Runs until `stop`.
pub(super) async fn keep(
    component: Component,
    mut wanted: Wanted,
    place: Arc<Place>,
    board: Arc<Board>,
    stop: CancellationToken,
) {
    let span = error_span!(SPAN, name = component.name);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = until(&mut wanted, |on| on.is_some()) => {}
        }
        let on = *wanted.borrow();
        if on == Some(true) {
            if let Err(error) = place.logs.open(&place.logs_dir, component.name) {
                warn!(component = component.name, %error, "opening its log");
            }
            let run = run(&component, &mut wanted, &board, &stop).instrument(span.clone());
            run.await;
            if stop.is_cancelled() {
                // Its Pod and its log stay, as it will run again.
                return;
            }
        }
        if let Err(error) = place.logs.remove(&place.logs_dir, component.name) {
            warn!(component = component.name, %error, "removing its log");
        }
        board.post(
            component.name,
            Report {
                state: State::Stopped,
                ..Report::UNKNOWN
            },
        );
        tokio::select! {
            () = stop.cancelled() => return,
            () = until(&mut wanted, |on| on == Some(true)) => {}
        }
    }
}

/// Until it is not desired any more.
async fn run(component: &Component, wanted: &mut Wanted, board: &Board, stop: &CancellationToken) {
    let name = component.name;
    let mut report = Report::UNKNOWN;
    let mut wait = BACK_OFF.0;
    loop {
        let token = CancellationToken::new();
        let since = this_second();
        let begun = Instant::now();
        info!("started");
        let work = (component.start)(token.clone());
        let mut task = tokio::spawn(work.instrument(Span::current()));
        report.state = State::Running { since };
        board.post(name, report.clone());
        let ended = tokio::select! {
            ended = &mut task => ended,
            () = unwanted(wanted, stop) => {
                end(&mut task, &token).await;
                info!("stopped");
                return;
            }
        };
        let message = why(ended);
        if begun.elapsed() >= RAN_WELL {
            wait = BACK_OFF.0;
        }
        error!(again_in = ?wait, "{message}");
        let finished_at = this_second();
        report.last = Some(Ended {
            started_at: since,
            finished_at,
            message,
        });
        let seconds = i64::try_from(wait.as_secs()).unwrap_or_default();
        let until = finished_at.checked_add(jiff::SignedDuration::from_secs(seconds));
        let until = until.unwrap_or(finished_at);
        report.state = State::BackOff { until };
        board.post(name, report.clone());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = unwanted(wanted, stop) => return,
        }
        wait = wait.saturating_mul(2).min(BACK_OFF.1);
        report.restarts = report.restarts.saturating_add(1);
    }
}

/// Comes back when that is so. Nobody decides any more only when all is ending: then never.
async fn until(wanted: &mut Wanted, is: impl Fn(Option<bool>) -> bool) {
    if wanted.wait_for(|on| is(*on)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Comes back when the component is to stop.
async fn unwanted(wanted: &mut Wanted, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = until(wanted, |on| on == Some(false)) => {}
    }
}

/// Ends a task: asks, waits for a moment, drops it. It is gone when this comes back.
async fn end(task: &mut JoinHandle<()>, token: &CancellationToken) {
    token.cancel();
    if tokio::time::timeout(STOP, &mut *task).await.is_err() {
        task.abort();
        let _ = task.await;
    }
}

/// Why a task has ended that should have gone on.
fn why(ended: Result<(), JoinError>) -> String {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(()) => "it ended by itself".to_owned(),
        Err(Ok(panic)) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            format!("it panicked: {said}")
        }
        Err(Err(error)) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::Needs;
    use super::*;
    use telemetry::component::ComponentLogs;

    /// A component that counts its starts and those of its tasks that live.
    struct Counted {
        starts: Arc<AtomicUsize>,
        living: Arc<AtomicUsize>,
    }

    struct Lives(Arc<AtomicUsize>);

    impl Drop for Lives {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn place(dir: &Path) -> Arc<Place> {
        Arc::new(Place {
            node: "n1".into(),
            host_ip: "127.0.0.1".into(),
            logs_dir: dir.to_owned(),
            logs: ComponentLogs::default(),
        })
    }

    /// `work` gets the number of the start and the token.
    fn component<F>(
        work: impl Fn(usize, CancellationToken) -> F + Send + Sync + 'static,
    ) -> (Component, Counted)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let counted = Counted {
            starts: Arc::default(),
            living: Arc::default(),
        };
        let (starts, living) = (counted.starts.clone(), counted.living.clone());
        let start = move |token: CancellationToken| -> super::super::Work {
            let n = starts.fetch_add(1, Ordering::SeqCst);
            living.fetch_add(1, Ordering::SeqCst);
            let lives = Lives(living.clone());
            let work = work(n, token);
            Box::pin(async move {
                let _lives = lives;
                work.await;
            })
        };
        let component = Component {
            name: "virt-controller",
            labels: &[],
            needs: Needs::VmStack,
            start: Box::new(start),
        };
        (component, counted)
    }

    async fn until(board: &Board, is: impl Fn(&Report) -> bool) -> Report {
        for _ in 0..10_000 {
            let report = board.read("virt-controller");
            if is(&report) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", board.read("virt-controller"));
    }

    fn runs(report: &Report) -> bool {
        matches!(report.state, State::Running { .. })
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_started_and_stopped_as_desired_and_leaves_no_task() {
        let dir = tempfile::tempdir().unwrap();
        let (component, counted) = component(|_, token| async move { token.cancelled().await });
        let board = Arc::new(Board::new([component.name]));
        let stop = CancellationToken::new();
        let (tx, rx) = watch::channel(None);
        let keeper = tokio::spawn(keep(
            component,
            rx,
            place(dir.path()),
            board.clone(),
            stop.clone(),
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Before anything is decided, nothing is done and nothing is said.
        assert_eq!(board.read("virt-controller"), Report::UNKNOWN);
        for round in 1..=50 {
            tx.send(Some(true)).unwrap();
            until(&board, runs).await;
            assert_eq!(counted.starts.load(Ordering::SeqCst), round);
            assert!(dir.path().join("virt-controller.log").exists());
            tx.send(Some(false)).unwrap();
            until(&board, |r| r.state == State::Stopped).await;
            assert_eq!(counted.living.load(Ordering::SeqCst), 0);
            assert!(!dir.path().join("virt-controller.log").exists());
        }
        stop.cancel();
        keeper.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_listen_is_dropped_within_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (component, counted) = component(|_, _| std::future::pending());
        let board = Arc::new(Board::new([component.name]));
        let (tx, rx) = watch::channel(Some(true));
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep(
            component,
            rx,
            place(dir.path()),
            board.clone(),
            stop.clone(),
        ));
        until(&board, runs).await;
        let told = Instant::now();
        tx.send(Some(false)).unwrap();
        until(&board, |r| r.state == State::Stopped).await;
        assert!(told.elapsed() < STOP * 2, "{:?}", told.elapsed());
        assert_eq!(counted.living.load(Ordering::SeqCst), 0);
        stop.cancel();
        keeper.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_ends_or_panics_is_started_again_with_growing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (component, counted) = component(|n, token| async move {
            assert!(n != 0, "the first start goes wrong");
            if n >= 3 {
                token.cancelled().await;
            }
        });
        let board = Arc::new(Board::new([component.name]));
        let (_tx, rx) = watch::channel(Some(true));
        let stop = CancellationToken::new();
        let begun = Instant::now();
        let keeper = tokio::spawn(keep(
            component,
            rx,
            place(dir.path()),
            board.clone(),
            stop.clone(),
        ));
        let first = until(&board, |r| r.last.is_some()).await;
        let last = first.last.unwrap();
        assert_eq!(last.message, "it panicked: the first start goes wrong");
        assert!(matches!(first.state, State::BackOff { .. }));
        let now = until(&board, |r| runs(r) && r.restarts == 3).await;
        assert_eq!(now.last.unwrap().message, "it ended by itself");
        // 0.5 + 1 + 2 seconds.
        assert!(begun.elapsed() >= Duration::from_millis(3500));
        assert_eq!(counted.starts.load(Ordering::SeqCst), 4);
        assert_eq!(counted.living.load(Ordering::SeqCst), 1);
        stop.cancel();
        keeper.await.unwrap();
        assert_eq!(counted.living.load(Ordering::SeqCst), 0);
    }
}
