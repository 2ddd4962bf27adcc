//! The page of `/metrics`.

use std::sync::atomic::Ordering::Relaxed;

use super::process;
use super::text::Page;
use crate::flow::{Gate, IN_PROCESS, Refusal};
use crate::server::Inner;

/// Everything there is to count.
pub(crate) fn render(inner: &Inner) -> String {
    let mut page = Page::default();
    let metrics = &inner.metrics;
    metrics.requests.render(&mut page);
    let inflight = "apiserver_current_inflight_requests";
    page.family(
        inflight,
        "gauge",
        "Requests in flight, long-running ones not counted.",
    );
    for (kind, gauge) in [
        ("mutating", &metrics.mutating),
        ("readOnly", &metrics.reading),
    ] {
        page.sample(inflight, &[("request_kind", kind)], gauge.load(Relaxed));
    }
    flow(&mut page, &inner.flow);
    page.single(
        "ferrovirt_apiserver_bodies_receiving",
        "gauge",
        "Request bodies that are being received.",
        inner.intake.receiving(),
    );
    page.single(
        "ferrovirt_apiserver_slow_watches_ended_total",
        "counter",
        "Watches ended because their clients did not read.",
        inner.registry.slow_watches.load(Relaxed),
    );
    inner.registry.store_stats.render(&mut page);
    inner.registry.webhooks.calls.render(&mut page);
    if let Some(audit) = &inner.audit {
        audit.log.render(&mut page);
    }
    page.family(
        "kubernetes_build_info",
        "gauge",
        "The Kubernetes API that is served, and the product that serves it.",
    );
    page.sample(
        "kubernetes_build_info",
        &[
            ("major", "1"),
            ("minor", "36"),
            ("git_version", &format!("v1.36.0+{}", inner.product)),
            ("platform", &crate::health::platform()),
        ],
        1,
    );
    process::render(&mut page);
    page.into_text()
}

fn flow(page: &mut Page, gate: &Gate) {
    let rules = gate.rules();
    let p = "apiserver_flowcontrol";
    let mut levels: Vec<(&str, crate::flow::LevelLimits, usize)> = rules
        .targets
        .iter()
        .map(|t| (t.level.name.as_str(), t.limits, t.slot))
        .collect();
    levels.push(("in-process", gate.in_process_limits(), IN_PROCESS));
    let states: Vec<_> = levels
        .iter()
        .map(|(_, _, slot)| gate.level_state(*slot))
        .collect();
    let mut gauge = |name: &str, help: &str, values: Vec<u64>| {
        let name = format!("{p}_{name}");
        page.family(&name, "gauge", help);
        for ((level, ..), value) in levels.iter().zip(values) {
            page.sample(&name, &[("priority_level", level)], value);
        }
    };
    let limits = |of: fn(&crate::flow::LevelLimits) -> u32| {
        levels.iter().map(move |(_, l, _)| u64::from(of(l)))
    };
    gauge(
        "nominal_limit_seats",
        "Seats of a level's own.",
        limits(|l| l.nominal).collect(),
    );
    gauge(
        "lower_limit_seats",
        "Seats that a level is sure to get.",
        limits(|l| l.reserved).collect(),
    );
    gauge(
        "current_executing_seats",
        "Seats that requests hold.",
        states.iter().map(|s| s.used.into()).collect(),
    );
    gauge(
        "current_executing_requests",
        "Requests that hold seats.",
        states.iter().map(|s| s.requests.into()).collect(),
    );
    gauge(
        "current_inqueue_requests",
        "Requests that wait for seats.",
        states.iter().map(|s| s.waiting as u64).collect(),
    );
    let of = |schema: &crate::flow::FlowSchema, index: usize| -> [(&'static str, String); 2] {
        let level = rules.targets.get(index).map(|t| t.level.name.clone());
        [
            ("priority_level", level.unwrap_or_default()),
            ("flow_schema", schema.name.clone()),
        ]
    };
    let dispatched = format!("{p}_dispatched_requests_total");
    page.family(&dispatched, "counter", "Requests that got their seats.");
    for (schema, index) in &rules.schemas {
        let labels = of(schema, *index);
        let labels = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
        page.sample(&dispatched, &labels, schema.stats.dispatched.load(Relaxed));
    }
    let rejected = format!("{p}_rejected_requests_total");
    page.family(&rejected, "counter", "Requests sent away with 429.");
    for (schema, index) in &rules.schemas {
        let labels = of(schema, *index);
        let [a, b] = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
        for why in Refusal::ALL {
            page.sample(
                &rejected,
                &[a, b, ("reason", why.label())],
                schema.stats.refused(why),
            );
        }
    }
    let waited = format!("{p}_request_wait_duration_seconds");
    page.family(
        &waited,
        "histogram",
        "Time that requests waited for their seats, in seconds.",
    );
    for (schema, index) in &rules.schemas {
        let labels = of(schema, *index);
        let [a, b] = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
        page.histogram(&waited, &[a, b, ("execute", "true")], &schema.stats.waited);
    }
}
