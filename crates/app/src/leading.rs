//! What runs once in a cluster, and where.
//!
//! ```text
//! alone      this process leads from its start to its end
//! together   election ─► term (a token) ─► engine's cluster-wide loops, controllers of the platform
//! ```
//! A component that is not led yet runs and waits, as controllers of Kubernetes do that stand for election.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::components::Work;

/// How long what is led may go on after the end of a term.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// The term under way, if this process leads: its token is cancelled at its end.
pub(crate) type Term = watch::Receiver<Option<CancellationToken>>;

/// The term of a process that is alone: as long as it runs.
pub(crate) fn alone(stop: &CancellationToken) -> Term {
    watch::Sender::new(Some(stop.child_token())).subscribe()
}

/// Stands for election until `stop`. `begin` starts the engine's part of a term.
pub(crate) fn together(
    client: Client,
    node: &str,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    begin: impl Fn(&CancellationToken, &TaskTracker) + Send + Sync + 'static,
) -> Term {
    let (terms, term) = watch::channel(None);
    let identity = format!("{node}_{}", uuid::Uuid::new_v4());
    let stop = stop.clone();
    tasks.spawn(async move {
        let lead = |token: CancellationToken| {
            let tasks = TaskTracker::new();
            begin(&token, &tasks);
            terms.send_replace(Some(token.clone()));
            let terms = &terms;
            async move {
                token.cancelled().await;
                terms.send_replace(None);
                tasks.close();
                tasks.wait().await;
                // Components have the same moment, and are not counted here.
                tokio::time::sleep(LAST_MOMENT).await;
            }
        };
        engine::election::run(client, identity, stop, lead).await;
    });
    term
}

/// Runs `work` in every term of this process, until `stop` or its own end.
pub(crate) async fn led(
    mut term: Term,
    stop: CancellationToken,
    work: impl Fn(CancellationToken) -> Work,
) {
    loop {
        let token = tokio::select! {
            () = stop.cancelled() => return,
            // The sender of a process that is alone is gone, and its term is there.
            current = term.wait_for(Option::is_some) => match current {
                Ok(current) => current.clone().unwrap_or_default(),
                Err(_) => return,
            },
        };
        let ending = stop.child_token();
        let overdue = async {
            tokio::select! {
                () = token.cancelled() => ending.cancel(),
                () = ending.cancelled() => {}
            }
            tokio::time::sleep(LAST_MOMENT).await;
        };
        tokio::select! {
            // One that ends by itself is started again by its keeper.
            () = work(ending.clone()) => if !token.is_cancelled() { return },
            () = overdue => {}
        }
        // Until the end of the term is published as well.
        tokio::select! {
            () = stop.cancelled() => return,
            ended = term.wait_for(|now| now.as_ref().is_none_or(|now| !now.is_cancelled())) => {
                if ended.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_led_runs_in_terms_only() {
        let (terms, term) = watch::channel(None);
        let (stop, running) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&running);
        let task = tokio::spawn(led(term, stop.clone(), move |ending| {
            let running = Arc::clone(&counted);
            Box::pin(async move {
                running.fetch_add(1, Ordering::Relaxed);
                ending.cancelled().await;
                running.fetch_sub(1, Ordering::Relaxed);
            })
        }));
        let a_while = || tokio::time::sleep(Duration::from_secs(1));
        a_while().await;
        assert_eq!(running.load(Ordering::Relaxed), 0);
        for _ in 0..3 {
            let token = CancellationToken::new();
            terms.send_replace(Some(token.clone()));
            a_while().await;
            assert_eq!(running.load(Ordering::Relaxed), 1);
            token.cancel();
            a_while().await;
            assert_eq!(running.load(Ordering::Relaxed), 0);
            terms.send_replace(None);
            a_while().await;
            assert_eq!(running.load(Ordering::Relaxed), 0);
        }
        stop.cancel();
        task.await.unwrap();
    }
}
