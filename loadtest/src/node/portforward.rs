//! `portforward`: connections to the simulated services of a pod, over SPDY, over SPDY inside a
//! WebSocket, or over the older WebSocket form.

mod legacy;
mod services;
mod spdy;
mod tunnel;

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::pod::PodRef;
use super::query::Query;
use super::reply::Fault;
use super::spdy::Gone;
use super::{Body, Node, upgrade, websocket};

/// The only version of the protocol.
const VERSION: &str = "portforward.k8s.io";
/// The same inside of a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Bytes between the connection and a service.
const PIPE: usize = 32 << 10;
/// Pieces that wait for a service.
const PIECES: usize = 16;
/// How long a service may read nothing before the session is given up.
const STALL_LIMIT: Duration = Duration::from_mins(10);

/// Answers `…/portforward`.
pub(super) fn answer<B>(
    node: &Node,
    request: Request<B>,
    query: &Query,
    pod: &PodRef,
) -> Result<Response<Body>, Fault> {
    let headers = request.headers();
    upgrade::require(headers)?;
    if pod.is_finished() || pod.phase() == "Pending" {
        let message = format!(
            "unable to forward port because pod is not running. Current status={}\n",
            pod.phase()
        );
        return Err(Fault::text(StatusCode::INTERNAL_SERVER_ERROR, message));
    }
    let site = services::Site::of(pod);
    if websocket::is_upgrade(headers) {
        if websocket::offered(headers)
            .iter()
            .any(|offer| offer == TUNNEL)
        {
            let accepted = websocket::accept(request, &[TUNNEL])?;
            node.tasks().spawn(async move {
                if let Some(socket) = websocket::connect(accepted.upgrade).await {
                    tunnel::serve(socket, site).await;
                }
            });
            return Ok(accepted.response);
        }
        let ports = legacy::ports(query)?;
        let accepted = websocket::accept(request, legacy::SUPPORTED)?;
        node.tasks().spawn(async move {
            if let Some(socket) = websocket::connect(accepted.upgrade).await {
                legacy::serve(socket, accepted.protocol, ports, site).await;
            }
        });
        return Ok(accepted.response);
    }
    let accepted = upgrade::accept(request, &[VERSION])?;
    node.tasks().spawn(async move {
        if let Ok(upgraded) = accepted.upgrade.await {
            spdy::serve(TokioIo::new(upgraded), site).await;
        }
    });
    Ok(accepted.response)
}

/// One connection to a port, until both sides have finished. The error is for the client to read.
async fn forward<F>(
    site: &services::Site,
    port: u16,
    mut input: mpsc::Receiver<Bytes>,
    mut output: impl FnMut(Bytes) -> F,
) -> Result<(), String>
where
    F: Future<Output = Result<(), Gone>>,
{
    if !services::listens(port) {
        return Err(site.refusal(port));
    }
    let (near, far) = tokio::io::duplex(PIPE);
    let (mut reading, mut writing) = tokio::io::split(near);
    let up = async {
        while let Some(bytes) = input.recv().await {
            if writing.write_all(&bytes).await.is_err() {
                break;
            }
        }
        if let Err(error) = writing.shutdown().await {
            tracing::trace!(%error, "service has closed");
        }
        // A service that closed early: what is still sent to it is read and dropped.
        while input.recv().await.is_some() {}
    };
    let down = async {
        let mut buffer = BytesMut::with_capacity(PIPE);
        while reading
            .read_buf(&mut buffer)
            .await
            .is_ok_and(|read| read > 0)
        {
            if output(buffer.split().freeze()).await.is_err() {
                return;
            }
            buffer.reserve(PIPE);
        }
    };
    let serving = async { tokio::join!(services::run(site, port, far), down) };
    tokio::select! {
        _ = serving => {}
        // The client may finish first; the answer is still on its way.
        () = async { up.await; std::future::pending().await } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
