//! What a person reads of a DataVolume. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Deserialize;

/// Longest message that is taken over from an importer.
const MESSAGE_LIMIT: usize = 512;

#[derive(Deserialize)]
struct Line {
    progress: Progress,
}

#[derive(Deserialize)]
struct Progress {
    percent: Option<f64>,
}

/// The progress that a line of the importer's log tells, as CDI writes it: `12.34%`.
pub(super) fn progress(log: &str) -> Option<String> {
    let line: Line = serde_json::from_str(log.lines().last()?).ok()?;
    let percent = line.progress.percent.filter(|p| p.is_finite())?;
    Some(format!("{:.2}%", percent.clamp(0.0, 100.0)))
}

/// The one container of an importer.
pub(super) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// Why the importer failed last, in its own words.
pub(super) fn failure(pod: &Pod) -> Option<String> {
    let status = container(pod)?;
    let ended = [status.state.as_ref(), status.last_state.as_ref()]
        .into_iter()
        .flatten()
        .find_map(|s| s.terminated.as_ref())?;
    if ended.exit_code == 0 {
        return None;
    }
    let words = ended
        .message
        .clone()
        .filter(|m| !m.trim().is_empty())
        .unwrap_or_else(|| format!("the importer ended with exit code {}", ended.exit_code));
    Some(words.trim().chars().take(MESSAGE_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_last_line_and_nothing_else() {
        let line = r#"{"progress":{"read":1,"total":8,"percent":12.5,"phase":"copy"}}"#;
        assert_eq!(progress(line).as_deref(), Some("12.50%"));
        assert_eq!(progress("starting up"), None);
        assert_eq!(progress(r#"{"progress":{"percent":null}}"#), None);
        assert_eq!(
            progress(r#"{"progress":{"percent":250.0}}"#).as_deref(),
            Some("100.00%")
        );
        assert_eq!(progress(""), None);
    }
}
