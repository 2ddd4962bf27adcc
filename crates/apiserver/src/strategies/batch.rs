//! Jobs and CronJobs: data here, with the defaults and generated selectors that clients compare against.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text, immutable, text};
use super::spot::{Faults, Spot};
use super::{pod_defaults, pod_validate};
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
    if let Some(template) = spec.get_mut("template") {
        // Without a policy a Pod restarts always, which a Job's may not: the validation says so.
        pod_defaults::complete_template(template);
    }
}

/// Selects the Pods of this Job by its UID, unless the client chose a selector itself.
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
        for (key, value) in [
            (UID_LABEL, &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &uid),
            ("job-name", &name),
        ] {
            meta::set_label(template, key, value);
        }
    }
    default(spec, "selector", json!({"matchLabels": {UID_LABEL: uid}}));
}

#[async_trait]
impl Strategy for Job {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        if let Some(spec) = child(object, "spec") {
            complete(spec);
        }
        generate_selector(object);
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

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        if !cx.subresource.is_empty() {
            return Ok(errors);
        }
        let spec = object.get("spec").unwrap_or(&Value::Null);
        job(spec, &FieldPath::new("spec"), &mut errors);
        if let Some(old) = old {
            immutable(
                object,
                old,
                &["/spec/completions", "/spec/selector", "/spec/template"],
                &mut errors,
            );
        }
        Ok(errors)
    }
}

fn job(spec: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        if let Some(given) = spec.get(field).and_then(Value::as_i64).filter(|n| *n < 0) {
            errors.push(FieldError::invalid(
                &at.child(field),
                given,
                "must be greater than or equal to 0",
            ));
        }
    }
    let template = Spot::new(spec, at.clone()).child("template");
    let mut faults = Faults::default();
    pod_validate::template(&template, &mut faults);
    let pod = template.child("spec");
    if pod.text("restartPolicy") == "Always" {
        let detail = "valid values: \"OnFailure\", \"Never\"";
        faults.required(&pod.at("restartPolicy"), detail);
    }
    errors.extend(faults.0);
}

#[async_trait]
impl Strategy for CronJob {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
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

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];
        let mut errors = Vec::new();
        if !cx.subresource.is_empty() {
            return Ok(errors);
        }
        let spec = FieldPath::new("spec");
        let schedule = text(object, "/spec/schedule");
        if schedule.is_empty() {
            errors.push(FieldError::required(&spec.child("schedule"), ""));
        } else if !is_schedule(schedule) {
            let detail = "expected exactly 5 fields of numbers, ranges, steps or names, or a descriptor such as @hourly";
            errors.push(FieldError::invalid(
                &spec.child("schedule"),
                schedule,
                detail,
            ));
        }
        let policy = text(object, "/spec/concurrencyPolicy");
        if !POLICIES.contains(&policy) {
            errors.push(FieldError::not_supported(
                &spec.child("concurrencyPolicy"),
                policy,
                &POLICIES,
            ));
        }
        let template = object
            .pointer("/spec/jobTemplate/spec")
            .unwrap_or(&Value::Null);
        job(
            template,
            &spec.child("jobTemplate").child("spec"),
            &mut errors,
        );
        if cx.name.len() > 52 {
            let at = FieldPath::new("metadata").child("name");
            errors.push(FieldError::invalid(
                &at,
                cx.name,
                "must be no more than 52 characters",
            ));
        }
        Ok(errors)
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
