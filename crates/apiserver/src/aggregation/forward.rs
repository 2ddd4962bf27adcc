//! One request, sent on: the body, the answer and an upgraded connection are streamed, none is kept.

use std::io;
use std::time::Duration;

use ::authz::User;
use apimachinery::status::ApiError;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming as Received;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::headers;
use super::remote::Remote;
use crate::body::{RequestBody, ResponseBody};
use crate::flow::WatchPlace;
use crate::limits;
use crate::subresource::Response;

/// Time for the head of an answer, as upstream's for whole requests that do not run long.
const HEAD: Duration = Duration::from_secs(60);

/// A request on its way to another server.
pub(crate) struct Incoming {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: RequestBody,
    pub upgrade: Option<OnUpgrade>,
    pub user: User,
    /// Held as long as the answer streams, for those that run long.
    pub permit: Option<WatchPlace>,
}

impl Remote {
    /// The answer of the server.
    ///
    /// # Errors
    /// 503 when it cannot be reached, 502 when it does not keep to the protocol, 504 when it is silent.
    pub(crate) async fn forward(&self, mut incoming: Incoming) -> Result<Response, ApiError> {
        if let Err(unavailable) = &self.health().available {
            return Err(ApiError::service_unavailable(&unavailable.message));
        }
        let mut sent = headers::request(&incoming.headers, &incoming.user)?;
        let upgrade = incoming.upgrade.take();
        if upgrade.is_none() {
            // HTTP/2 has other ways, and what came without can have none.
            sent.remove(header::UPGRADE);
            sent.remove(header::CONNECTION);
        }
        let path = incoming.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut request = Request::new(incoming.body);
        *request.method_mut() = incoming.method;
        *request.uri_mut() = self.uri(path)?;
        *request.headers_mut() = sent;
        let mut response = self.send(request, HEAD).await?;
        let status = response.status();
        if status.is_redirection() && response.headers().contains_key(header::LOCATION) {
            return Err(gateway(
                StatusCode::BAD_GATEWAY,
                "the aggregated API server attempted to redirect this request, which is not permitted",
            ));
        }
        let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        let mut answer = http::Response::new(ResponseBody::empty());
        *answer.status_mut() = status;
        *answer.headers_mut() = headers::answer(response.headers(), upgraded);
        if upgraded {
            let Some(client) = upgrade.filter(|_| headers::upgrade(&incoming.headers).is_some())
            else {
                return Err(gateway(
                    StatusCode::BAD_GATEWAY,
                    "the aggregated API server changed the protocol unasked",
                ));
            };
            let server = hyper::upgrade::on(&mut response);
            let (gone, permit) = (self.gone.clone(), incoming.permit);
            tokio::spawn(async move {
                let _permit = permit;
                tokio::select! {
                    spliced = splice(client, server) => {
                        if let Err(e) = spliced {
                            tracing::debug!(error = %e, "a forwarded connection ended");
                        }
                    }
                    () = gone.cancelled() => {}
                }
            });
        } else {
            *answer.body_mut() = stream(response.into_body(), incoming.permit);
        }
        Ok(answer)
    }

    /// The URI of a path on the server.
    pub(super) fn uri(&self, path: &str) -> Result<Uri, ApiError> {
        let authority = self.authority.clone();
        let authority = authority.ok_or_else(|| {
            ApiError::service_unavailable("the name of the Service is no name of a host")
        })?;
        Uri::builder()
            .scheme("https")
            .authority(authority)
            .path_and_query(path)
            .build()
            .map_err(|e| ApiError::bad_request(format!("the path cannot be sent on: {e}")))
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<RequestBody>,
        bound: Duration,
    ) -> Result<http::Response<Received>, ApiError> {
        let unreachable = |why: &str| {
            ApiError::service_unavailable(format!("error trying to reach service: {why}"))
        };
        let client = self.client.as_ref().map_err(|why| unreachable(why))?;
        match tokio::time::timeout(bound, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => {
                self.recheck.notify_one();
                Err(unreachable(&chain(&e)))
            }
            Err(_) => {
                self.recheck.notify_one();
                Err(gateway(
                    StatusCode::GATEWAY_TIMEOUT,
                    &format!("the aggregated API server gave no answer within {bound:?}"),
                ))
            }
        }
    }
}

fn gateway(code: StatusCode, message: &str) -> ApiError {
    ApiError::service_unavailable(message).with_code(code.as_u16())
}

/// The whole story of an error: the pool's own words say little.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Gives the body on as it comes, no faster than the client reads.
fn stream(mut body: Received, permit: Option<WatchPlace>) -> ResponseBody {
    use http_body::Body as _;
    if body.is_end_stream() {
        return ResponseBody::empty();
    }
    let (sender, answer) = ResponseBody::channel(limits::WATCH_BUFFER);
    tokio::spawn(async move {
        let _permit = permit;
        loop {
            // A client that has gone is noticed also while the server is silent.
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = sender.closed() => return,
            };
            let data: io::Result<Bytes> = match frame {
                None => return,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    // Trailers.
                    Err(_) => continue,
                },
                Some(Err(e)) => Err(io::Error::other(e)),
            };
            let failed = data.is_err();
            if sender.send(data).await.is_err() || failed {
                return;
            }
        }
    });
    answer
}

async fn splice(client: OnUpgrade, server: OnUpgrade) -> io::Result<()> {
    let open = async |side: OnUpgrade| -> io::Result<TokioIo<Upgraded>> {
        side.await.map(TokioIo::new).map_err(io::Error::other)
    };
    let (mut client, mut server) = tokio::try_join!(open(client), open(server))?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
