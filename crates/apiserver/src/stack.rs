//! A deep stack for code that descends as deep as its input nests.

/// Runs on a thread of its own with `bytes` of stack, and waits for it. `None` when there is no such thread to have.
///
/// For work of milliseconds: the caller's thread waits.
pub(crate) fn deep<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(bytes);
        let thread = thread.spawn_scoped(scope, work);
        match thread {
            Ok(thread) => match thread.join() {
                Ok(done) => Some(done),
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(e) => {
                tracing::error!(error = %e, "starting a thread with a deep stack");
                None
            }
        }
    })
}

/// Compiles expressions, see [`deep`].
pub(crate) fn compiling<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    deep(cel::limits::PARSER_STACK, work)
}

/// What is said when there was no thread.
pub(crate) const NO_STACK: &str = "the server has no resources to compile expressions; try again";
