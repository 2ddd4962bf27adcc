//! Probes of containers, and what runs at their start and end.

use super::spot::{Faults, Spot};

/// `livenessProbe`, `readinessProbe`, `startupProbe` and `lifecycle`; `grace` is the Pod's grace period in seconds.
pub(super) fn probes(container: &Spot<'_>, grace: i64, faults: &mut Faults) {
    if let Some(lifecycle) = container.given("lifecycle") {
        for field in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.given(field) {
                const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
                handler(&hook, &HOOKS, grace, faults);
            }
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(given) = container.given(field) {
            probe(&given, field, grace, faults);
        }
    }
}

fn probe(probe: &Spot<'_>, field: &str, grace: i64, faults: &mut Faults) {
    const PROBES: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
    handler(probe, &PROBES, grace, faults);
    faults.not_negative(
        probe,
        &[
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ],
    );
    let termination = "terminationGracePeriodSeconds";
    if let Some(given) = probe.int(termination) {
        if given <= 0 {
            faults.invalid(&probe.at(termination), given, "must be greater than 0");
        }
        if field == "readinessProbe" {
            let detail = "must not be set for readinessProbes";
            faults.invalid(&probe.at(termination), given, detail);
        }
    }
    let threshold = probe.int("successThreshold").unwrap_or(0);
    if field != "readinessProbe" && threshold != 1 {
        faults.invalid(&probe.at("successThreshold"), threshold, "must be 1");
    }
}

/// Exactly one of `kinds`.
fn handler(handler: &Spot<'_>, kinds: &[&str], grace: i64, faults: &mut Faults) {
    let mut first = true;
    for kind in kinds {
        let Some(action) = handler.given(kind) else {
            continue;
        };
        if !first {
            faults.forbidden(&action.path, "may not specify more than 1 handler type");
            continue;
        }
        first = false;
        match *kind {
            "exec" if action.count("command") == 0 => faults.required(&action.at("command"), ""),
            "httpGet" => {
                faults.demanded(&action, &["path"]);
                faults.port_or_name(&action.child("port"));
                let scheme = action.text("scheme");
                if !matches!(scheme, "HTTP" | "HTTPS") {
                    faults.not_supported(&action.at("scheme"), scheme, &["HTTP", "HTTPS"]);
                }
                for header in action.items("httpHeaders") {
                    let given = header.text("name");
                    if !is_header(given) {
                        faults.invalid(&action.at("httpHeaders"), given, NOT_A_HEADER);
                    }
                }
            }
            "tcpSocket" | "grpc" => faults.port_or_name(&action.child("port")),
            "sleep" => {
                let seconds = action.int("seconds").unwrap_or(0);
                if !(0..=grace).contains(&seconds) {
                    let detail = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    );
                    faults.invalid(&action.path, seconds, detail);
                }
            }
            _ => {}
        }
    }
    if first {
        faults.required(&handler.path, "must specify a handler type");
    }
}

const NOT_A_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

fn is_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::json;

    #[test]
    fn a_probe_has_one_complete_handler_and_sane_numbers() {
        let get = json!({"path": "/", "port": 80, "scheme": "HTTP"});
        for (container, expected) in [
            (
                json!({"livenessProbe": {"httpGet": get, "successThreshold": 1}}),
                vec![],
            ),
            (
                json!({"readinessProbe": {"grpc": {"port": 1}, "successThreshold": 3}}),
                vec![],
            ),
            (
                json!({"livenessProbe": {"successThreshold": 2, "tcpSocket": {"port": 0}}}),
                vec![
                    "c.livenessProbe.successThreshold Invalid",
                    "c.livenessProbe.tcpSocket.port Invalid",
                ],
            ),
            (
                json!({"readinessProbe": {"periodSeconds": -1, "terminationGracePeriodSeconds": 5}}),
                vec![
                    "c.readinessProbe Required",
                    "c.readinessProbe.periodSeconds Invalid",
                    "c.readinessProbe.terminationGracePeriodSeconds Invalid",
                ],
            ),
            (
                json!({"startupProbe": {"exec": {}, "tcpSocket": {"port": "a"}, "successThreshold": 1}}),
                vec![
                    "c.startupProbe.exec.command Required",
                    "c.startupProbe.tcpSocket Forbidden",
                ],
            ),
            (
                json!({"startupProbe": {"httpGet": {"path": "", "port": "_", "scheme": "FTP", "httpHeaders": [{"name": "a b"}]}, "successThreshold": 1}}),
                vec![
                    "c.startupProbe.httpGet.httpHeaders Invalid",
                    "c.startupProbe.httpGet.path Required",
                    "c.startupProbe.httpGet.port Invalid",
                    "c.startupProbe.httpGet.scheme NotSupported",
                ],
            ),
            (
                json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}, "postStart": {}}}),
                vec![
                    "c.lifecycle.postStart Required",
                    "c.lifecycle.preStop.sleep Invalid",
                ],
            ),
        ] {
            let spot = Spot::new(&container, FieldPath::new("c"));
            let found = judged(|faults| probes(&spot, 30, faults));
            assert_eq!(found, expected, "{container}");
        }
    }
}
