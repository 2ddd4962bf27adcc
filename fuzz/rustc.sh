#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of the fuzz targets: our own crates report their coverage to libFuzzer.
# The flags are those that cargo-fuzz uses without a sanitizer; they are stable ones.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions
