//! A request whose answer may be long, on a connection of its own.

use std::io;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::super::Call;
use super::super::credential::Access;
use super::super::error::UpstreamError;
use super::super::headers;
use super::super::identity::UpstreamIdentity;
use super::super::pool::{NoAnswer, Own, Seat};
use super::{Cluster, host, target, with_ours};
use crate::gateway::body::Body;
use crate::limits;

impl Cluster {
    /// The same on a connection of its own; `None` where it has to share one.
    pub(super) async fn directly(
        &self,
        parts: &Parts,
        identity: &UpstreamIdentity,
        call: &Call,
    ) -> Result<Option<Response<Body>>, UpstreamError> {
        for _ in 0..limits::UPSTREAM_ATTEMPTS_MAX {
            let Some(seat) = self.pool.direct.seat() else {
                break;
            };
            let access = self.access();
            let Some(own) = self.own_connection(seat, &access).await? else {
                break;
            };
            let may_be_stale = own.is_used;
            let request = Self::own_request(parts, &access, identity, call)?;
            let cluster = || self.name.clone();
            let answer = own.ask(&request);
            let answer = if call.long_running {
                answer.await
            } else {
                timeout(limits::UPSTREAM_HEAD_TIMEOUT, answer)
                    .await
                    .map_err(|_| UpstreamError::Timeout { cluster: cluster() })?
            };
            match answer {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    drop(response);
                    self.unauthorized().await?;
                }
                Ok(response) => {
                    let response = response.map(BodyExt::boxed_unsync);
                    return self.accept(response, &access).map(Some);
                }
                // The server had closed it before the request came: nothing was processed twice, as it only reads.
                Err(NoAnswer::Gone(_)) if may_be_stale => {}
                Err(NoAnswer::Unreadable(why)) => {
                    tracing::warn!(cluster = self.name, %why, "an answer of the API server cannot be read");
                    return Err(UpstreamError::Unacceptable {
                        cluster: cluster(),
                        why: "it is not well-formed HTTP/1.1",
                    });
                }
                Err(NoAnswer::Gone(error) | NoAnswer::Broken(error)) => {
                    tracing::warn!(cluster = self.name, %error, "an exchange with the API server broke");
                    return Err(UpstreamError::Broken { cluster: cluster() });
                }
            }
        }
        Ok(None)
    }

    /// `None` where there is none to be had, but perhaps a shared one.
    async fn own_connection(
        &self,
        seat: Seat,
        access: &Access,
    ) -> Result<Option<Own>, UpstreamError> {
        match seat.connection(access).await {
            Ok(own) => Ok(own),
            // TLS did not agree on HTTP/1.1, or on nothing; the shared connections will tell.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(self.unreachable(&error.to_string())),
        }
    }

    fn own_request(
        parts: &Parts,
        access: &Access,
        identity: &UpstreamIdentity,
        call: &Call,
    ) -> Result<Request<()>, UpstreamError> {
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = target(&parts.uri, access, false)?;
        let host = host(access)?;
        *request.headers_mut() = with_ours(identity, call, access, |ours| {
            headers::request(&parts.headers, ours, Some(&host))
        })??;
        Ok(request)
    }
}
