//! `/metrics`: counts of requests in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Count and seconds by verb and code.
type Counts = BTreeMap<(&'static str, u16), (u64, f64)>;

/// Requests by verb and code, with their time.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<Counts>,
}

impl Metrics {
    pub(crate) fn record(&self, verb: &'static str, code: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, seconds) = requests.entry((verb, code)).or_default();
        *count += 1;
        *seconds += took.as_secs_f64();
    }

    pub(crate) fn render(&self) -> String {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP apiserver_request_total Requests by verb and code.\n# TYPE apiserver_request_total counter\n",
        );
        for ((verb, code), (count, _)) in requests.iter() {
            let _ = writeln!(
                text,
                "apiserver_request_total{{verb=\"{verb}\",code=\"{code}\"}} {count}"
            );
        }
        text.push_str("# HELP apiserver_request_duration_seconds_sum Time spent on requests.\n# TYPE apiserver_request_duration_seconds_sum counter\n");
        for ((verb, code), (_, seconds)) in requests.iter() {
            let _ = writeln!(
                text,
                "apiserver_request_duration_seconds_sum{{verb=\"{verb}\",code=\"{code}\"}} {seconds}"
            );
        }
        text
    }
}
