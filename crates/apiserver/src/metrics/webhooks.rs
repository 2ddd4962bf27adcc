//! Calls of admission webhooks, by webhook.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::histogram::{Histogram, WEBHOOKS};
use super::text::Page;
use crate::limits;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// HTTP code that the webhook's answer stands for.
    pub code: u16,
    /// Whether the request was refused.
    pub rejected: bool,
    /// Whether the webhook could not be asked.
    pub failed: bool,
}

#[derive(Debug)]
struct Calls {
    took: Histogram,
    /// Of calls by code, and whether they were refused.
    codes: BTreeMap<(u16, bool), u64>,
    /// Refusals by `error_type` and code.
    rejections: BTreeMap<(&'static str, u16), u64>,
    failed_open: u64,
}

type Webhook = (String, &'static str, &'static str);

/// See the module. A call takes milliseconds: a lock does no harm.
#[derive(Debug, Default)]
pub(crate) struct WebhookCalls(Mutex<BTreeMap<Webhook, Calls>>);

impl WebhookCalls {
    /// Counts a call. `kind` is `validating` or `admit`, as kube-apiserver says.
    pub(crate) fn record(
        &self,
        name: &str,
        kind: &'static str,
        operation: &'static str,
        took: Duration,
        outcome: Outcome,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (name.to_owned(), kind, operation);
        if all.len() >= limits::MAX_SERIES && !all.contains_key(&key) {
            key.0 = "other".to_owned();
        }
        let calls = all.entry(key).or_insert_with(|| Calls {
            took: Histogram::new(WEBHOOKS),
            codes: BTreeMap::new(),
            rejections: BTreeMap::new(),
            failed_open: 0,
        });
        calls.took.observe(took);
        *calls
            .codes
            .entry((outcome.code, outcome.rejected))
            .or_default() += 1;
        if outcome.rejected {
            let error = if outcome.failed {
                "calling_webhook_error"
            } else {
                "no_error"
            };
            *calls.rejections.entry((error, outcome.code)).or_default() += 1;
        } else if outcome.failed {
            calls.failed_open += 1;
        }
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = |(name, kind, operation): &'_ Webhook| -> [(&'static str, String); 3] {
            [
                ("name", name.clone()),
                ("type", (*kind).to_owned()),
                ("operation", (*operation).to_owned()),
            ]
        };
        let duration = "apiserver_admission_webhook_admission_duration_seconds";
        page.family(
            duration,
            "histogram",
            "Time that admission webhooks took, in seconds.",
        );
        for (webhook, calls) in all.iter() {
            let labels = labels(webhook);
            let labels = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
            page.histogram(duration, &labels, &calls.took);
        }
        let requests = "apiserver_admission_webhook_request_total";
        page.family(requests, "counter", "Calls of admission webhooks.");
        for (webhook, calls) in all.iter() {
            let labels = labels(webhook);
            let [a, b, c] = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
            for ((code, rejected), count) in &calls.codes {
                let (code, rejected) = (code.to_string(), rejected.to_string());
                page.sample(
                    requests,
                    &[a, b, c, ("code", &code), ("rejected", &rejected)],
                    count,
                );
            }
        }
        let rejections = "apiserver_admission_webhook_rejection_count";
        page.family(
            rejections,
            "counter",
            "Requests refused by admission webhooks.",
        );
        for (webhook, calls) in all.iter() {
            let labels = labels(webhook);
            let [a, b, c] = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
            for ((error, code), count) in &calls.rejections {
                let code = code.to_string();
                page.sample(
                    rejections,
                    &[a, b, c, ("error_type", error), ("rejection_code", &code)],
                    count,
                );
            }
        }
        let open = "apiserver_admission_webhook_fail_open_count";
        page.family(
            open,
            "counter",
            "Requests let through although their webhook could not be asked.",
        );
        for ((name, kind, _), calls) in all.iter().filter(|(_, c)| c.failed_open > 0) {
            page.sample(open, &[("name", name), ("type", kind)], calls.failed_open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_and_failures_are_told_apart() {
        let calls = WebhookCalls::default();
        let took = Duration::from_millis(3);
        let outcome = |code, rejected, failed| Outcome {
            code,
            rejected,
            failed,
        };
        calls.record(
            "a.example.com",
            "validating",
            "CREATE",
            took,
            outcome(200, false, false),
        );
        calls.record(
            "a.example.com",
            "validating",
            "CREATE",
            took,
            outcome(403, true, false),
        );
        calls.record(
            "a.example.com",
            "validating",
            "CREATE",
            took,
            outcome(500, false, true),
        );
        let mut page = Page::default();
        calls.render(&mut page);
        let text = page.into_text();
        let of = r#"name="a.example.com",type="validating",operation="CREATE""#;
        for line in [
            format!("apiserver_admission_webhook_admission_duration_seconds_count{{{of}}} 3"),
            format!("apiserver_admission_webhook_request_total{{{of},code=\"403\",rejected=\"true\"}} 1"),
            format!("apiserver_admission_webhook_rejection_count{{{of},error_type=\"no_error\",rejection_code=\"403\"}} 1"),
            r#"apiserver_admission_webhook_fail_open_count{name="a.example.com",type="validating"} 1"#.to_owned(),
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in {text}");
        }
    }
}
