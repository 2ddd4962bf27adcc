//! `logs`: what the processes of a Pod wrote.

use clap::Args;
use futures_util::AsyncReadExt;
use http::Request;

use crate::catalog::{encode, with_query};
use crate::error::Error;
use crate::session::Session;

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt logs virt-launcher-vm1-x7k2p\n  ferrovirt logs virt-launcher-vm1-x7k2p -c guest-console-log -f\n  ferrovirt logs importer-disk --tail 20"
)]
pub struct LogsOptions {
    /// The Pod
    pod: String,
    /// Which container, where there are several
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Go on as more is written
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Of the container's run before this one
    #[arg(short, long)]
    previous: bool,
}

/// Does `logs`.
pub(crate) async fn run(session: &Session, options: &LogsOptions) -> Result<(), Error> {
    let pod = options.pod.as_str();
    let pod = pod
        .strip_prefix("pod/")
        .or_else(|| pod.strip_prefix("pods/"))
        .unwrap_or(pod);
    let tail = options.tail.map(|t| t.to_string());
    let mut query = Vec::new();
    query.extend(options.container.as_deref().map(|c| ("container", c)));
    query.extend(tail.as_deref().map(|t| ("tailLines", t)));
    if options.follow {
        query.push(("follow", "true"));
    }
    if options.previous {
        query.push(("previous", "true"));
    }
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/log",
        encode(&session.namespace),
        encode(pod)
    );
    let doing = format!("reading the logs of pod {pod}");
    let request = Request::get(with_query(&path, &query))
        .body(Vec::new())
        .map_err(|e| Error::Refused(format!("{doing}: {e}")))?;
    let stream = session.client.request_stream(request).await;
    let mut stream = std::pin::pin!(stream.map_err(session.failed(doing.clone()))?);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = stream
            .read(&mut buffer)
            .await
            .map_err(Error::io(doing.clone()))?;
        let Some(data) = buffer.get(..n).filter(|d| !d.is_empty()) else {
            return Ok(());
        };
        let mut out = std::io::stdout().lock();
        std::io::Write::write_all(&mut out, data)
            .and_then(|()| std::io::Write::flush(&mut out))
            .map_err(Error::io("writing to standard output"))?;
    }
}
