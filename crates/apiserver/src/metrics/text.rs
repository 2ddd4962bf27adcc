//! Prometheus' text format, version 0.0.4, as kube-apiserver writes it. Pure.
//!
//! (prometheus-client writes OpenMetrics alone, in which counters have other family names than dashboards of
//! Kubernetes ask for: ADR 0008.)

use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// The media type of the format.
pub(crate) const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

/// Names and values of labels.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Begins a family. `kind` is `counter`, `gauge` or `histogram`.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn labels(&mut self, labels: Labels<'_>, more: Option<(&str, &str)>) {
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(more) {
            let _ = write!(self.text, "{separator}{name}=\"");
            separator = ',';
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str(r"\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if separator == ',' {
            self.text.push('}');
        }
    }

    /// A sample of the family.
    pub(crate) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The samples of a histogram of the family.
    pub(crate) fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let (buckets, sum) = histogram.read();
        let mut count = 0;
        for (bound, below) in buckets {
            let bound = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".to_owned()
            };
            let _ = write!(self.text, "{name}_bucket");
            self.labels(labels, Some(("le", &bound)));
            let _ = writeln!(self.text, " {below}");
            count = below;
        }
        for (suffix, value) in [("sum", sum.to_string()), ("count", count.to_string())] {
            let _ = write!(self.text, "{name}_{suffix}");
            self.labels(labels, None);
            let _ = writeln!(self.text, " {value}");
        }
    }

    /// The whole text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_format_is_that_of_prometheus() {
        let mut page = Page::default();
        page.family("a_total", "counter", "What a\\b\nis.");
        page.sample("a_total", &[("x", "1\"2\\3\n"), ("y", "")], 7);
        page.single("g", "gauge", "G.", 0.5);
        let histogram = Histogram::new(&[0.5]);
        histogram.observe(Duration::from_millis(250));
        page.family("h", "histogram", "H.");
        page.histogram("h", &[("v", "GET")], &histogram);
        assert_eq!(
            page.into_text(),
            "# HELP a_total What a\\\\b\\nis.\n# TYPE a_total counter\n\
             a_total{x=\"1\\\"2\\\\3\\n\",y=\"\"} 7\n\
             # HELP g G.\n# TYPE g gauge\ng 0.5\n\
             # HELP h H.\n# TYPE h histogram\n\
             h_bucket{v=\"GET\",le=\"0.5\"} 1\nh_bucket{v=\"GET\",le=\"+Inf\"} 1\n\
             h_sum{v=\"GET\"} 0.25\nh_count{v=\"GET\"} 1\n"
        );
    }
}
