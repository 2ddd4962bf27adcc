//! Jobs and CronJobs: data here, with the defaults and generated selectors that clients compare against.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text};
use super::spot::{Faults, Spot};
use super::{job_rules, pod_defaults};
use crate::strategy::{Context, Strategy};

pub(super) struct Job;
pub(super) struct CronJob;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";

fn complete(spec: &mut Map<String, Value>) {
    // A work queue has parallelism and no number of completions.
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    if spec.contains_key("backoffLimitPerIndex") {
        default(spec, "backoffLimit", i64::from(i32::MAX));
    } else {
        default(spec, "backoffLimit", 6);
    }
    default_text(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    let replacement = if spec.contains_key("podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    default_text(spec, "podReplacementPolicy", replacement);
    let rules = spec
        .get_mut("podFailurePolicy")
        .and_then(|policy| policy.get_mut("rules"))
        .and_then(Value::as_array_mut);
    for pattern in rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.get_mut("onPodConditions")?.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default_text(pattern, "status", "True");
    }
    if let Some(template) = spec.get_mut("template") {
        // Without a policy a Pod restarts always, which a Job's may not: the validation says so.
        pod_defaults::complete_template(template);
    }
}

/// Selects the Pods of this Job by its UID, unless the client chose a selector itself. What the client set instead is
/// left for the rules to refuse.
fn generate_selector(object: &mut Value) {
    let uid = meta::uid(object).unwrap_or_default().to_owned();
    let name = meta::name(object).unwrap_or_default().to_owned();
    let Some(spec) = child(object, "spec") else {
        return;
    };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    if let Some(template) = spec.get_mut("template") {
        for (key, by_uid) in job_rules::OWN_LABELS {
            if meta::label(template, key).is_none() {
                meta::set_label(template, key, if by_uid { &uid } else { &name });
            }
        }
    }
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    if let Some(labels) = child(selector, "matchLabels") {
        labels.entry(UID_LABEL).or_insert_with(|| json!(uid));
    }
}

/// A Job without labels takes those of its Pods.
fn inherit_labels(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let own = meta::labels(object).is_some_and(|labels| !labels.is_empty());
    if let (Some(Value::Object(labels)), false) = (labels, own) {
        for (key, value) in &labels {
            meta::set_label(object, key, value.as_str().unwrap_or_default());
        }
    }
}

#[async_trait]
impl Strategy for Job {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        inherit_labels(object);
        if let Some(spec) = child(object, "spec") {
            complete(spec);
        }
        generate_selector(object);
        object["status"] = json!({});
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource.is_empty()
            && let Some(spec) = child(object, "spec")
        {
            complete(spec);
        }
        Ok(())
    }

    fn complete(&self, cx: &Context<'_>, object: &mut Value) {
        if cx.subresource.is_empty()
            && let Some(spec) = child(object, "spec")
        {
            complete(spec);
        }
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        if cx.subresource.is_empty() {
            job_rules::job(object, &mut faults);
            if let Some(old) = old {
                job_rules::unchanged(object, old, &mut faults);
            }
        } else if cx.subresource == "status" {
            let status = Spot::of(object, "status");
            faults.not_negative(&status, &["active", "succeeded", "failed"]);
        }
        Ok(faults.0)
    }
}

fn complete_cron_job(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        default_text(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) = spec.get_mut("jobTemplate").and_then(Value::as_object_mut) {
            template.entry("metadata").or_insert_with(|| json!({}));
            if let Some(job) = template.get_mut("spec").and_then(Value::as_object_mut)
                && let Some(pod) = job.get_mut("template")
            {
                pod_defaults::complete_template(pod);
            }
        }
    }
}

#[async_trait]
impl Strategy for CronJob {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_cron_job(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource.is_empty() {
            self.prepare_create(cx, object).await?;
        }
        Ok(())
    }

    fn complete(&self, cx: &Context<'_>, object: &mut Value) {
        if cx.subresource.is_empty() {
            complete_cron_job(object);
        }
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        if cx.subresource.is_empty() {
            cron_job(object, cx.name, &mut faults);
        }
        Ok(faults.0)
    }
}

fn cron_job(object: &Value, name: &str, faults: &mut Faults) {
    /// A Job's name has eleven characters more.
    const LONGEST: usize = 52;
    let spec = Spot::of(object, "spec");
    let (schedule, at) = (spec.text("schedule"), spec.at("schedule"));
    if schedule.is_empty() {
        faults.required(&at, "");
    } else if schedule.contains("TZ=") {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        faults.invalid(&at, schedule, detail);
    } else if !is_schedule(schedule) {
        let detail = "expected exactly 5 fields of numbers, ranges, steps or names, or a descriptor such as @hourly";
        faults.invalid(&at, schedule, detail);
    }
    faults.not_negative(
        &spec,
        &[
            "startingDeadlineSeconds",
            "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit",
        ],
    );
    faults.choice(&spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    if spec.has("timeZone") {
        time_zone(&spec.at("timeZone"), spec.text("timeZone"), faults);
    }
    let job = spec.child("jobTemplate").child("spec");
    job_rules::specification(&job, faults);
    if let Some(selector) = job.given("selector") {
        let detail = "`selector` will be auto-generated";
        faults.invalid(&selector.path, selector.value.clone(), detail);
    }
    if job.flag("manualSelector") {
        faults.not_supported(&job.at("manualSelector"), true, &["nil", "false"]);
    }
    if name.len() > LONGEST {
        let at = FieldPath::new("metadata").child("name");
        faults.invalid(&at, name, "must be no more than 52 characters");
    }
}

/// A name of the time zone database; the machine's own zone has no meaning for others.
fn time_zone(at: &FieldPath, given: &str, faults: &mut Faults) {
    if given.is_empty() {
        faults.invalid(at, given, "timeZone must be nil or non-empty string");
    } else if given.eq_ignore_ascii_case("local") {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        faults.invalid(at, given, detail);
    } else if !jiff::tz::db().is_definitively_empty() && jiff::tz::TimeZone::get(given).is_err() {
        faults.invalid(at, given, format!("unknown time zone {given}"));
    }
}

/// Five fields of what cron understands, each within its range, or a descriptor.
fn is_schedule(text: &str) -> bool {
    if let Some(descriptor) = text.strip_prefix('@') {
        return matches!(
            descriptor,
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly"
        ) || descriptor.starts_with("every ");
    }
    const RANGES: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    let fields: Vec<&str> = text.split_whitespace().collect();
    fields.len() == RANGES.len()
        && fields
            .iter()
            .zip(RANGES)
            .all(|(field, range)| field.split(',').all(|part| is_part(part, range)))
}

fn is_part(part: &str, (low, high): (u32, u32)) -> bool {
    const NAMES: [&str; 19] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun",
        "mon", "tue", "wed", "thu", "fri", "sat",
    ];
    let (range, step) = part.split_once('/').unwrap_or((part, "1"));
    if !step.parse::<u32>().is_ok_and(|s| s > 0) {
        return false;
    }
    if matches!(range, "*" | "?") {
        return true;
    }
    let number = |text: &str| match text.parse::<u32>() {
        Ok(n) => (low..=high).contains(&n).then_some(n),
        Err(_) => NAMES.contains(&text.to_lowercase().as_str()).then_some(low),
    };
    match range.split_once('-') {
        None => number(range).is_some(),
        Some((from, to)) => matches!((number(from), number(to)), (Some(a), Some(b)) if a <= b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_labels_that_the_server_sets() {
        let mut object = json!({
            "metadata": {"name": "j", "uid": "u"},
            "spec": {"template": {"metadata": {"labels": {"a": "b", "job-name": "mine"}}}},
        });
        inherit_labels(&mut object);
        generate_selector(&mut object);
        assert_eq!(meta::label(&object, "a"), Some("b"));
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["job-name"], "mine");
        assert_eq!(labels["batch.kubernetes.io/controller-uid"], "u");
        assert_eq!(
            object["spec"]["selector"]["matchLabels"],
            json!({UID_LABEL: "u"})
        );
    }

    #[test]
    fn schedules_are_those_of_cron() {
        for good in [
            "* * * * *",
            "*/5 0-12 1,15 jan-dec mon",
            "@hourly",
            "@every 1h",
        ] {
            assert!(is_schedule(good), "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "61 * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "@never",
            "a * * * *",
        ] {
            assert!(!is_schedule(bad), "{bad}");
        }
    }
}
