//! End-to-end tests: they are in `tests/it`, one test binary for all.
