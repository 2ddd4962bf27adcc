//! What a host is, and the mechanisms it offers to confine and watch processes.
//!
//! | module | what it does | who uses it |
//! |---|---|---|
//! | [`kvm`] | runs guest code against a clock and says whether KVM is worth using | node agent, preflight |
//! | [`cpu`], [`memory`], [`clock`], [`storage`], [`kernel`] | facts of the machine, found by trying | node agent, preflight |
//! | [`cgroup`] | a group per Pod on v1, hybrid and v2 hosts alike | node runtime |
//! | [`netns`] | network namespaces with a name that outlive every process | node runtime |
//! | [`spawn`] | starts a confined process | node runtime, launcher |
//! | [`process`] | identity, liveness, exit and death of processes, children or not | node runtime, launcher |
//! | [`sandbox`] | Landlock: what files a process and its children may touch | launcher |
//!
//! Everything here is mechanism: who gets which group, namespace or user is decided elsewhere.
//! `unsafe` stands where the kernel's interfaces need it (KVM's ioctls and shared memory, code between fork and
//! exec), each with its reason.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

pub mod cgroup;
pub mod clock;
pub mod cpu;
pub mod kernel;
pub mod kvm;
pub mod limits;
pub mod memory;
pub mod netns;
pub mod process;
pub mod sandbox;
pub mod spawn;
pub mod storage;
