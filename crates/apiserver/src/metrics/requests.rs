//! Requests by verb, resource and scope: one record for each combination, found without a lock.
//!
//! ```text
//! (verb, group, version, resource, subresource, scope) ─ hash ─► map that is replaced when it grows ─► Arc<Series>
//! ```
//! Combinations are as many as verbs and resources that exist, and bounded: what is not served is one resource, and
//! past [`limits::MAX_SERIES`] everything new is one record. Names of objects and users are in none.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::histogram::{Histogram, REQUESTS};
use super::text::Page;
use crate::limits;

/// Status codes that are counted by themselves; others are counted as 0.
const CODES: [u16; 31] = [
    0, 101, 200, 201, 202, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 405, 406, 409, 410,
    412, 413, 414, 415, 422, 429, 499, 500, 502, 503, 504, 507,
];

/// What a request is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a> {
    pub verb: &'static str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub scope: &'static str,
}

/// The record of one key.
#[derive(Debug)]
pub(crate) struct Series {
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub scope: &'static str,
    codes: [AtomicU64; CODES.len()],
    took: Histogram,
    /// Watches and other long-running requests that are open.
    pub open: AtomicI64,
    /// Events that watches have sent, and their bytes.
    pub events: AtomicU64,
    pub event_bytes: AtomicU64,
}

impl Series {
    fn new(key: Key<'_>) -> Self {
        Series {
            verb: key.verb,
            group: key.group.to_owned(),
            version: key.version.to_owned(),
            resource: key.resource.to_owned(),
            subresource: key.subresource.to_owned(),
            scope: key.scope,
            codes: [const { AtomicU64::new(0) }; CODES.len()],
            took: Histogram::new(REQUESTS),
            open: AtomicI64::new(0),
            events: AtomicU64::new(0),
            event_bytes: AtomicU64::new(0),
        }
    }

    fn is(&self, key: &Key<'_>) -> bool {
        self.verb == key.verb
            && self.resource == key.resource
            && self.group == key.group
            && self.version == key.version
            && self.subresource == key.subresource
            && self.scope == key.scope
    }

    /// Counts an answer. Long-running requests have no duration that says anything.
    pub(crate) fn answered(&self, code: u16, took: Option<Duration>) {
        let index = CODES.binary_search(&code).unwrap_or(0);
        if let Some(count) = self.codes.get(index) {
            count.fetch_add(1, Relaxed);
        }
        if let Some(took) = took {
            self.took.observe(took);
        }
    }

    fn labels(&self) -> [(&str, &str); 6] {
        [
            ("verb", self.verb),
            ("group", &self.group),
            ("version", &self.version),
            ("resource", &self.resource),
            ("subresource", &self.subresource),
            ("scope", self.scope),
        ]
    }
}

type Known = HashMap<u64, Arc<Series>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Requests {
    known: ArcSwap<Known>,
    growing: Mutex<()>,
    rest: Arc<Series>,
    hasher: RandomState,
}

impl Default for Requests {
    fn default() -> Self {
        Requests {
            known: ArcSwap::default(),
            growing: Mutex::default(),
            rest: Arc::new(Series::new(Key {
                verb: "",
                group: "",
                version: "",
                resource: "other",
                subresource: "",
                scope: "",
            })),
            hasher: RandomState::new(),
        }
    }
}

impl Requests {
    /// The record of a key.
    pub(crate) fn series(&self, key: Key<'_>) -> Arc<Series> {
        let hash = self.hasher.hash_one(key);
        match self.known.load().get(&hash) {
            Some(series) if series.is(&key) => return Arc::clone(series),
            // Two keys of one hash: possible, never seen.
            Some(_) => return Arc::clone(&self.rest),
            None => {}
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        if let Some(series) = known.get(&hash) {
            return Arc::clone(series);
        }
        if known.len() >= limits::MAX_SERIES {
            return Arc::clone(&self.rest);
        }
        let series = Arc::new(Series::new(key));
        let mut larger = Known::clone(&known);
        larger.insert(hash, Arc::clone(&series));
        self.known.store(Arc::new(larger));
        series
    }

    fn sorted(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<Arc<Series>> = self.known.load().values().cloned().collect();
        all.sort_by(|a, b| a.labels().cmp(&b.labels()));
        all.push(Arc::clone(&self.rest));
        all
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let all = self.sorted();
        let total = "apiserver_request_total";
        page.family(
            total,
            "counter",
            "Requests by verb, group, version, resource, scope and HTTP status code.",
        );
        for series in &all {
            for (code, count) in CODES.iter().zip(&series.codes) {
                let count = count.load(Relaxed);
                if count == 0 {
                    continue;
                }
                let code = code.to_string();
                let [verb, group, version, resource, subresource, scope] = series.labels();
                let component = ("component", "apiserver");
                let labels = [
                    ("code", code.as_str()),
                    component,
                    group,
                    resource,
                    scope,
                    subresource,
                    verb,
                    version,
                ];
                page.sample(total, &labels, count);
            }
        }
        let duration = "apiserver_request_duration_seconds";
        page.family(
            duration,
            "histogram",
            "Time from the head of a request to the head of its answer, in seconds.",
        );
        for series in all.iter().filter(|s| s.took.count() > 0) {
            page.histogram(duration, &series.labels(), &series.took);
        }
        let open = "apiserver_longrunning_requests";
        page.family(open, "gauge", "Long-running requests that are open.");
        for series in all.iter().filter(|s| is_long_running(s)) {
            page.sample(open, &series.labels(), series.open.load(Relaxed));
        }
        let watched = all.iter().filter(|s| s.verb == "WATCH");
        let mut events: std::collections::BTreeMap<_, (u64, u64)> = Default::default();
        for series in watched {
            let of = (
                series.group.as_str(),
                series.version.as_str(),
                series.resource.as_str(),
            );
            let sums = events.entry(of).or_default();
            sums.0 += series.events.load(Relaxed);
            sums.1 += series.event_bytes.load(Relaxed);
        }
        for (name, help, pick) in [
            (
                "apiserver_watch_events_total",
                "Events sent to watchers.",
                (|sums: &(u64, u64)| sums.0) as fn(&(u64, u64)) -> u64,
            ),
            (
                "apiserver_watch_events_bytes_total",
                "Bytes of events sent to watchers.",
                |sums| sums.1,
            ),
        ] {
            page.family(name, "counter", help);
            for ((group, version, resource), sums) in &events {
                let labels = [
                    ("group", *group),
                    ("version", *version),
                    ("resource", *resource),
                ];
                page.sample(name, &labels, pick(sums));
            }
        }
    }
}

fn is_long_running(series: &Series) -> bool {
    series.verb == "WATCH" || series.verb == "CONNECT"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(resource: &str) -> Key<'_> {
        Key {
            verb: "GET",
            group: "",
            version: "v1",
            resource,
            subresource: "",
            scope: "resource",
        }
    }

    #[test]
    fn codes_are_sorted_for_their_search() {
        assert!(CODES.is_sorted());
    }

    #[test]
    fn a_key_has_one_record_and_records_are_bounded() {
        let requests = Requests::default();
        let pods = requests.series(key("pods"));
        assert!(Arc::ptr_eq(&pods, &requests.series(key("pods"))));
        pods.answered(200, Some(Duration::from_millis(1)));
        pods.answered(299, None);
        for n in 0..limits::MAX_SERIES + 10 {
            requests.series(key(&format!("r{n}"))).answered(404, None);
        }
        let mut page = Page::default();
        requests.render(&mut page);
        let text = page.into_text();
        assert!(text.contains(
            "apiserver_request_total{code=\"200\",component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"} 1\n"
        ));
        assert!(text.contains("code=\"0\",component=\"apiserver\",group=\"\",resource=\"pods\""));
        assert!(
            text.contains(
                "resource=\"other\",scope=\"\",subresource=\"\",verb=\"\",version=\"\"} 11\n"
            ),
            "{text}"
        );
    }
}
