//! `/metrics`: what is counted, under kube-apiserver's names where it has one.
//!
//! ```text
//! request ─► Requests: a record per (verb, resource, scope), atomics    ─┐
//! storage, webhooks, audit, flow ─► atomics and histograms of their own ─┼─► Page (text) ─► GET /metrics
//! /proc/self ────────────────────────────────────────────────────────────┘
//! ```
//! Counting takes no lock: a request costs one hash of its key and a few relaxed additions.

pub(crate) mod histogram;
mod process;
mod render;
pub(crate) mod requests;
pub(crate) mod text;
mod webhooks;

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

pub(crate) use render::render;
pub(crate) use requests::{Key, Requests, Series};
pub(crate) use webhooks::{Outcome, WebhookCalls};

/// The counters that many parts share.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub requests: Requests,
    /// Requests in flight that change something, long-running ones not counted.
    pub mutating: AtomicI64,
    /// And those that only read.
    pub reading: AtomicI64,
}

/// Counts something as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a AtomicI64);

impl<'a> Counted<'a> {
    pub(crate) fn new(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Counted(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Counts a request in flight while the value lives.
    pub(crate) fn in_flight(&self, verb: &str) -> Counted<'_> {
        let reads = matches!(verb, "get" | "list" | "watch" | "head" | "options");
        Counted::new(if reads { &self.reading } else { &self.mutating })
    }
}
