//! Upgrades: a connection of their own, HTTP/1.1 only, never from or into a pool (threats B1).

use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cluster::{self, Cluster};
use super::connect::{self, Offer};
use super::credential::Access;
use super::error::UpstreamError;
use super::exchange::{Answer, Outgoing};
use super::identity::UpstreamIdentity;
use super::pool::Lease;
use super::{Call, UpgradeAnswer, headers};
use crate::gateway::body::{self, Body};
use crate::limits;

/// Sends an upgrade request and reads the whole head of the answer. Nothing of the client's follows
/// the request before a 101: bytes sent early can be lost by the API server, or be a second request.
pub(super) async fn upgrade(
    cluster: &Cluster,
    request: &Request<()>,
    identity: &UpstreamIdentity,
    call: &Call,
) -> Result<UpgradeAnswer<Body>, UpstreamError> {
    for _ in 0..2 {
        let access = cluster.access();
        let (response, guard) = ask(cluster, request, identity, call, &access).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            drop((response, guard));
            cluster.unauthorized().await?;
            continue;
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let answer = |body| Answer::new(body, Lease::Once(guard)).boxed_unsync();
            let refused = cluster.accept(response.map(answer), &access)?;
            return Ok(UpgradeAnswer::Refused(refused));
        }
        cluster.reach.answered();
        let (parts, body) = response.into_parts();
        let mut response = Response::from_parts(parts, ());
        drop(body);
        let io = hyper::upgrade::on(&mut response)
            .await
            .map_err(|_| UpstreamError::Broken {
                cluster: cluster.name.clone(),
            })?;
        drop(guard); // the connection's bytes are in `io` now
        return Ok(UpgradeAnswer::Switched {
            response,
            io: TokioIo::new(io),
        });
    }
    Err(UpstreamError::Unauthorized {
        cluster: cluster.name.clone(),
    })
}

async fn ask(
    cluster: &Cluster,
    request: &Request<()>,
    identity: &UpstreamIdentity,
    call: &Call,
    access: &Access,
) -> Result<(Response<hyper::body::Incoming>, DropGuard), UpstreamError> {
    let host = cluster::host(access)?;
    let headers: HeaderMap = cluster::with_ours(identity, call, access, |ours| {
        headers::upgrade(request.headers(), ours, &host)
    })??;
    let mut outgoing = Request::new(Outgoing::new(body::empty(), Arc::default()));
    *outgoing.method_mut() = request.method().clone();
    *outgoing.uri_mut() = cluster::target(request.uri(), access, false)?;
    *outgoing.headers_mut() = headers;

    let stream = connect::connect(access, Offer::Http1)
        .await
        .map_err(|error| cluster.unreachable(&error.to_string()))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits::UPSTREAM_HTTP1_BUFFER_BYTES_MAX)
        .max_headers(limits::HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| cluster.unreachable(&error.to_string()))?;
    let abort = CancellationToken::new();
    let aborted = abort.clone();
    let guard = abort.drop_guard();
    cluster.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = aborted.cancelled() => {}
            ended = connection.with_upgrades() => if let Err(error) = ended {
                tracing::debug!(%error, "an upgrade connection ended");
            },
        }
    });
    let answered = timeout(limits::UPSTREAM_HEAD_TIMEOUT, sender.send_request(outgoing)).await;
    let name = || cluster.name.clone();
    let response = answered
        .map_err(|_| UpstreamError::Timeout { cluster: name() })?
        .map_err(|error| {
            tracing::warn!(cluster = cluster.name, %error, "an upgrade request broke");
            UpstreamError::Broken { cluster: name() }
        })?;
    Ok((response, guard))
}
