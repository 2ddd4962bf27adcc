//! A stream of bytes from the server, for verbs of other crates.

use futures_util::AsyncReadExt;
use http::Request;

use crate::GlobalOptions;
use crate::error::Error;
use crate::session::Session;

/// GETs a path and gives what comes to `take`, chunk by chunk, on a runtime of its own.
///
/// # Errors
/// As a person should read it: `doing`, and why that failed.
pub fn download(
    global: &GlobalOptions,
    doing: &str,
    path: &str,
    take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("starting: {error}"))?;
    let done = runtime.block_on(stream(global, doing, path, take));
    runtime.shutdown_background();
    done.map_err(|error| error.render())
}

async fn stream(
    global: &GlobalOptions,
    doing: &str,
    path: &str,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Error> {
    let session = Session::open(global).await?;
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|e| Error::Refused(format!("{doing}: {e}")))?;
    let stream = session.client.request_stream(request).await;
    let mut stream = std::pin::pin!(stream.map_err(session.failed(doing))?);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = stream.read(&mut buffer).await.map_err(Error::io(doing))?;
        let Some(data) = buffer.get(..n).filter(|data| !data.is_empty()) else {
            return Ok(());
        };
        take(data).map_err(Error::io("writing what the server sends"))?;
    }
}
