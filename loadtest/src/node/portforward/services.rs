//! What listens in a pod: an HTTP server, an echo, and one that never reads.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use crate::node::Body;
use crate::node::pod::PodRef;
use crate::node::reply;

/// The longest answer to `/bytes/N`.
const BYTES_LIMIT: usize = 1 << 30;
/// One piece of it.
static PIECE: &[u8] = &[b'x'; 32 << 10];

/// A pod as its services see it.
#[derive(Debug, Clone)]
pub(super) struct Site {
    name: String,
    id: String,
    password: String,
}

impl Site {
    pub(super) fn of(pod: &PodRef) -> Self {
        let containers = pod
            .object
            .pointer("/spec/containers")
            .and_then(serde_json::Value::as_array);
        let first = containers.and_then(|all| all.first()?.get("name")?.as_str());
        let environment = pod
            .container(first)
            .map(|container| container.environment)
            .unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pod.key().as_bytes());
        Self {
            name: pod.name.clone(),
            id: reply::hexadecimal(digest.as_ref()),
            password: environment
                .get("DB_PASSWORD")
                .cloned()
                .unwrap_or_else(|| "S3cr3t-Pa55w0rd!".to_owned()),
        }
    }

    /// What the container runtime says about a port where nothing listens.
    pub(super) fn refusal(&self, port: u16) -> String {
        let id = &self.id;
        let network = id.get(..8).unwrap_or_default();
        format!(
            "error forwarding port {port} to pod {id}, uid : failed to execute portforward in network namespace \
             \"/var/run/netns/cni-{network}\": failed to connect to localhost:{port} inside namespace \"{id}\", \
             IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused IPv6 dial tcp6: address localhost: \
             no suitable address found "
        )
    }
}

/// Whether something listens on a port.
pub(super) fn listens(port: u16) -> bool {
    matches!(port, 7 | 9 | 80 | 8080)
}

/// Serves one connection.
pub(super) async fn run(site: &Site, port: u16, io: DuplexStream) {
    match port {
        7 => {
            let (mut reading, mut writing) = tokio::io::split(io);
            if let Err(error) = tokio::io::copy(&mut reading, &mut writing).await {
                tracing::trace!(%error, "echo ended");
            }
        }
        9 => {
            let _unread = io;
            std::future::pending::<()>().await;
        }
        _ => {
            let service = service_fn(|request| {
                let answer = page(site, http::Request::uri(&request).path());
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.half_close(true).title_case_headers(true);
            if let Err(error) = server.serve_connection(TokioIo::new(io), service).await {
                tracing::trace!(%error, "HTTP connection ended");
            }
        }
    }
}

fn page(site: &Site, path: &str) -> Response<Body> {
    let name = &site.name;
    let body = match path {
        "/" | "/index.html" => {
            reply::full(format!("hello from {name}, password={}\n", site.password))
        }
        "/long.txt" => {
            let lines =
                (0..200).map(|number| format!("line {number} of a longer page for {name}\n"));
            reply::full(lines.collect::<String>())
        }
        _ => {
            let count = path
                .strip_prefix("/bytes/")
                .and_then(|count| count.parse::<usize>().ok());
            let Some(count) = count.filter(|count| *count <= BYTES_LIMIT) else {
                let mut missing = Response::new(reply::full("404 Not Found\n"));
                *missing.status_mut() = StatusCode::NOT_FOUND;
                return missing;
            };
            reply::stream(stream::unfold(count, |left| async move {
                let piece = PIECE
                    .get(..left.min(PIECE.len()))
                    .filter(|piece| !piece.is_empty())?;
                Some((Bytes::from_static(piece), left - piece.len()))
            }))
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/html"),
    );
    response
}
