//! One server, one identity, one default namespace.
//!
//! Where the kubeconfig comes from, first match wins: `--kubeconfig`, `$KUBECONFIG` (a list, merged as
//! kubectl does), the file that `ferrovirt up` writes, `~/.kube/config`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::GlobalOptions;
use crate::error::{Error, chain};

/// Written by `ferrovirt up`.
const ADMIN: &str = "/var/lib/ferrovirt/admin.kubeconfig";

/// An open client.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    server: String,
    origin: String,
}

#[derive(Debug, PartialEq)]
enum Source {
    File(PathBuf),
    /// `$KUBECONFIG`, which may be a list.
    Environment,
    Nothing,
}

fn choose(
    flag: Option<&Path>,
    environment: Option<&OsStr>,
    home: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
) -> Source {
    if let Some(path) = flag {
        return Source::File(path.to_owned());
    }
    if environment.is_some_and(|e| !e.is_empty()) {
        return Source::Environment;
    }
    let admin = PathBuf::from(ADMIN);
    let own = home.map(|h| h.join(".kube/config"));
    [Some(admin), own]
        .into_iter()
        .flatten()
        .find(|p| exists(p))
        .map_or(Source::Nothing, Source::File)
}

impl Session {
    pub(crate) async fn open(global: &GlobalOptions) -> Result<Self, Error> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let environment = std::env::var_os("KUBECONFIG");
        let source = choose(
            global.kubeconfig.as_deref(),
            environment.as_deref(),
            home.as_deref(),
            Path::exists,
        );
        let refused = |origin: &str, e: &(dyn std::error::Error + 'static)| {
            Error::Refused(format!("reading the kubeconfig {origin}: {}", chain(e)))
        };
        let (kubeconfig, origin) = match source {
            Source::File(path) => {
                let origin = path.display().to_string();
                let read = Kubeconfig::read_from(&path).map_err(|e| refused(&origin, &e))?;
                (read, origin)
            }
            Source::Environment => {
                let origin = "$KUBECONFIG".to_owned();
                let read = Kubeconfig::from_env().map_err(|e| refused(&origin, &e))?;
                (read.unwrap_or_default(), origin)
            }
            Source::Nothing => {
                return Err(Error::Refused(format!(
                    "no server is known: --kubeconfig is not given, $KUBECONFIG is not set, and neither {ADMIN} nor ~/.kube/config can be read\n  start one with `ferrovirt up`; it prints the path of its kubeconfig"
                )));
            }
        };
        let options = KubeConfigOptions {
            context: global.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|e| refused(&origin, &e))?;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let namespace = global
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let faults = apimachinery::name::dns1123_label(&namespace);
        if !faults.is_empty() {
            return Err(Error::Usage(format!(
                "namespace {namespace:?}: {}",
                faults.join("; ")
            )));
        }
        let client = Client::try_from(config).map_err(|e| refused(&origin, &e))?;
        Ok(Self {
            client,
            namespace,
            server,
            origin,
        })
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Turns a failure of the client into ours.
    pub(crate) fn failed(&self, doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
        let (doing, server, origin) = (doing.into(), self.server.clone(), self.origin.clone());
        move |source| Error::Request {
            doing,
            server,
            origin,
            source: Box::new(source),
        }
    }

    /// A GET of JSON.
    pub(crate) async fn get(&self, doing: &str, path: &str) -> Result<Value, Error> {
        self.get_as(doing, path, "application/json").await
    }

    /// A GET with an `Accept` of its own.
    pub(crate) async fn get_as<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
        accept: &str,
    ) -> Result<T, Error> {
        let request = Request::get(path)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(|e| Error::Refused(format!("{doing}: {e}")))?;
        self.client
            .request(request)
            .await
            .map_err(self.failed(doing))
    }

    /// Sends JSON; gives back the text of the answer.
    pub(crate) async fn send(
        &self,
        doing: &str,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<String, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::ACCEPT, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|e| Error::Refused(format!("{doing}: {e}")))?;
        self.client
            .request_text(request)
            .await
            .map_err(self.failed(doing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_source_wins() {
        let home = Path::new("/home/u");
        let all = |_: &Path| true;
        let none = |_: &Path| false;
        let list = Some(OsStr::new("/a:/b"));
        assert_eq!(
            choose(Some(Path::new("k")), list, Some(home), all),
            Source::File("k".into())
        );
        assert_eq!(choose(None, list, Some(home), all), Source::Environment);
        assert_eq!(
            choose(None, Some(OsStr::new("")), Some(home), all),
            Source::File(ADMIN.into())
        );
        assert_eq!(
            choose(None, None, Some(home), |p| p.starts_with("/home")),
            Source::File("/home/u/.kube/config".into())
        );
        assert_eq!(choose(None, None, Some(home), none), Source::Nothing);
    }
}
