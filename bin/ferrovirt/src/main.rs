//! The `ferrovirt` binary.
fn main() {}
