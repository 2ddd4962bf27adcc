//! End-to-end tests: the real binary, the real QEMU, the real kubectl.
//!
//! Each test has a platform of its own and may run beside others. What they share is in [`guest`]
//! (manifests, booting) and [`objects`] (reading and asking through the API).
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bad_input;
mod boot;
mod clients;
mod crash;
mod cycles;
mod durability;
mod guest;
mod kubectl;
mod objects;
mod preflight;
mod replicas;
mod runtime;
mod strategies;
mod switch;
