//! The `ferrovirt` binary. By the name it is called, it is `virtctl`, `kubectl-virt` or `bmctl` too.

use std::process::ExitCode;

/// Requests are many small objects that live for microseconds: see docs/performance.md for what the C library's
/// allocator makes of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    app::main()
}
