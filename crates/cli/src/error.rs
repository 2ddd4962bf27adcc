//! What went wrong, where, and what to do about it.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;

use kube::core::Status;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is wrong in a way that only the verb can tell.
    #[error("{0}")]
    Usage(String),
    /// The verb cannot or may not do it; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The parts failed and were already reported.
    #[error("already reported")]
    Reported,
    /// The server was asked and did not do it.
    #[error("{doing}")]
    Request {
        /// What was being done, to what.
        doing: String,
        /// The address of the server.
        server: String,
        /// Where the address comes from.
        origin: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// A file or a stream.
    #[error("{doing}")]
    Io {
        /// What was being done, to what.
        doing: String,
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::Reported => true,
            // `ferrovirt get ... | head`: the reader has what it wanted.
            Self::Io { source, .. } => source.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }

    /// The server's own refusal, if that is what happened.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Request { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn is_conflict(&self) -> bool {
        self.status().is_some_and(|s| s.code == 409)
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(|s| s.code == 404)
    }

    /// For a person: one sentence, causes below it.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Request {
                doing,
                server,
                origin,
                source,
            } => match source.as_ref() {
                kube::Error::Api(status) => format!("{doing}: {}", render_status(status)),
                other => unreachable(doing, server, origin, other),
            },
            other => chain(other),
        }
    }
}

/// What the server said, as kubectl shows it, with every cause that the message leaves out.
pub(crate) fn render_status(status: &Status) -> String {
    let mut text = if status.reason.is_empty() {
        format!("error from server: {}", status.message)
    } else {
        format!("error from server ({}): {}", status.reason, status.message)
    };
    let causes = status.details.iter().flat_map(|d| &d.causes);
    for cause in causes.filter(|c| !status.message.contains(&c.message)) {
        let field = if cause.field.is_empty() {
            &cause.reason
        } else {
            &cause.field
        };
        let _ = write!(text, "\n  {field}: {}", cause.message);
    }
    match status.code {
        401 => text.push_str(
            "\n  the kubeconfig's credentials are not (or no longer) valid for this server",
        ),
        409 if status.message.contains("Apply failed") => {
            text.push_str("\n  another manager owns these fields: leave them out, or take them over with --force-conflicts");
        }
        _ => {}
    }
    text
}

fn unreachable(doing: &str, server: &str, origin: &str, error: &kube::Error) -> String {
    let why = chain(error);
    let what = if io_kind(error) == Some(io::ErrorKind::ConnectionRefused) {
        format!(
            "nothing listens on {server} (connection refused)\n  is `ferrovirt up` running? the address is from {origin}; choose another with --kubeconfig"
        )
    } else if why.contains("UnknownIssuer") || why.contains("BadSignature") {
        format!(
            "the certificate of {server} is not from the authority that {origin} names\n  take the kubeconfig of this server's data directory (--kubeconfig DIR/admin.kubeconfig)"
        )
    } else if matches!(error, kube::Error::SerdeError(_)) {
        format!("the answer of {server} makes no sense: {why}")
    } else {
        format!("talking to {server} (from {origin}): {why}")
    };
    format!("{doing}: {what}")
}

/// The kind of the I/O error at the root, if there is one.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    let mut found = None;
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            found = Some(io.kind());
        }
        next = error.source();
    }
    found
}

/// `a: b: c`, leaving out what an outer text already says.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            let _ = write!(text, ": {part}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(source: kube::Error) -> Error {
        Error::Request {
            doing: "getting virtualmachines".to_owned(),
            server: "https://127.0.0.1:6443".to_owned(),
            origin: "/tmp/admin.kubeconfig".to_owned(),
            source: Box::new(source),
        }
    }

    fn status(value: serde_json::Value) -> kube::Error {
        kube::Error::Api(Box::new(serde_json::from_value(value).unwrap()))
    }

    #[test]
    fn a_refused_connection_says_what_to_do() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = request(kube::Error::Service(Box::new(refused)));
        assert_eq!(
            error.render(),
            "getting virtualmachines: nothing listens on https://127.0.0.1:6443 (connection refused)\n  is `ferrovirt up` running? the address is from /tmp/admin.kubeconfig; choose another with --kubeconfig"
        );
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn causes_are_shown_once() {
        let error = request(status(json!({
            "kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "VirtualMachine.kubevirt.io \"vm1\" is invalid: spec.a: Required value",
            "details": {"causes": [
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
                {"reason": "FieldValueInvalid", "message": "must be positive", "field": "spec.b"},
            ]},
        })));
        assert_eq!(
            error.render(),
            "getting virtualmachines: error from server (Invalid): VirtualMachine.kubevirt.io \"vm1\" is invalid: spec.a: Required value\n  spec.b: must be positive"
        );
    }

    #[test]
    fn usage_is_exit_code_two_and_broken_pipes_are_silent() {
        assert_eq!(Error::Usage("x".to_owned()).exit_code(), 2);
        let pipe = Error::io("writing")(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(pipe.is_silent());
    }
}
