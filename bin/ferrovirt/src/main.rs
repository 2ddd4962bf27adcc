//! The `ferrovirt` binary. By the name it is called, it is `virtctl`, `kubectl-virt` or `bmctl` too.

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
