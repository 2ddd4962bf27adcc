//! Options of `ferrovirt up` about requests: how many at once, and what is logged of them. Names are kube-apiserver's.

use std::path::PathBuf;

use anyhow::Context;
use apiserver::{AuditLog, AuditLogOptions, AuditMode, AuditPolicy, Config};

/// See the module.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct RequestOptions {
    /// Together with the next option: how many requests of clients are answered at the same time. Priority levels
    /// (flowcontrol.apiserver.k8s.io) divide them.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_requests_inflight: u32,
    /// See above.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    max_mutating_requests_inflight: u32,
    /// What is logged of which request: a Policy of audit.k8s.io/v1.
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    audit_policy_file: Option<PathBuf>,
    /// Where it is logged, one JSON object a line; `-` is standard output.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    audit_log_path: Option<PathBuf>,
    /// Whether requests wait for the log: blocking, blocking-strict (what cannot be logged is refused) or batch.
    #[arg(
        long,
        value_name = "MODE",
        default_value = "blocking",
        requires = "audit_log_path"
    )]
    audit_log_mode: AuditMode,
    /// Mebibytes of a log file before it is put aside; 0 is no bound.
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 100,
        requires = "audit_log_path"
    )]
    audit_log_maxsize: u64,
    /// Log files that are kept beside the current one; 0 keeps all.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        requires = "audit_log_path"
    )]
    audit_log_maxbackup: usize,
}

impl RequestOptions {
    /// Puts the options into the server's configuration. Gives the audit log, to be flushed at the end.
    pub(crate) fn apply(&self, config: &mut Config) -> anyhow::Result<Option<AuditLog>> {
        config.seats = self.max_requests_inflight + self.max_mutating_requests_inflight;
        let (Some(policy), Some(path)) = (&self.audit_policy_file, &self.audit_log_path) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(policy)
            .with_context(|| format!("reading the audit policy {}", policy.display()))?;
        let parsed = AuditPolicy::parse(&text)
            .with_context(|| format!("understanding {}", policy.display()))?;
        let log = AuditLog::open(&AuditLogOptions {
            path: path.clone(),
            mode: self.audit_log_mode,
            max_size: self.audit_log_maxsize,
            max_backups: self.audit_log_maxbackup,
        })
        .with_context(|| format!("opening the audit log {}", path.display()))?;
        config.audit = Some((parsed, log.clone()));
        Ok(Some(log))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        requests: RequestOptions,
    }

    fn config(dir: &std::path::Path) -> Config {
        let store = store::log::LogStore::open(dir.join("store"), store::log::Options::default());
        let keys = pki::ServiceAccountKeys::load_or_create(dir.join("pki"));
        Config::new(Arc::new(store.unwrap()), Arc::new(keys.unwrap()))
    }

    #[test]
    fn a_policy_needs_a_log_and_a_log_a_policy() {
        for alone in [
            ["up", "--audit-log-path", "-"],
            ["up", "--audit-policy-file", "p"],
        ] {
            let error = Command::try_parse_from(alone).unwrap_err().to_string();
            assert!(error.contains("--audit-"), "{error}");
        }
        let mode = [
            "up",
            "--audit-policy-file",
            "p",
            "--audit-log-path",
            "-",
            "--audit-log-mode",
            "loud",
        ];
        let error = Command::try_parse_from(mode).unwrap_err().to_string();
        assert!(
            error.contains("must be blocking, blocking-strict or batch"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_policy_is_named_with_its_rule() {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy.yaml");
        std::fs::write(
            &policy,
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n",
        )
        .unwrap();
        let arguments = |policy: &std::path::Path| {
            let log = dir.path().join("audit.log");
            let text = |path: &std::path::Path| path.display().to_string();
            [
                "up".to_owned(),
                "--audit-policy-file".to_owned(),
                text(policy),
                "--audit-log-path".to_owned(),
                text(&log),
            ]
        };
        let mut config = config(dir.path());
        let options = Command::parse_from(arguments(&policy)).requests;
        let error = format!("{:#}", options.apply(&mut config).unwrap_err());
        assert!(
            error.contains("policy.yaml") && error.contains("rules[0].level"),
            "{error}"
        );
        std::fs::write(
            &policy,
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n",
        )
        .unwrap();
        assert!(options.apply(&mut config).unwrap().is_some());
        assert!(config.audit.is_some());
        assert_eq!(config.seats, 600);
    }
}
