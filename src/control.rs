//! The control listener: health, readiness and metrics, on an own thread with an own runtime, so that
//! no scrape slows a stream (principle 10 of the style guide).
//!
//! Plain HTTP, meant for loopback or a cluster-internal address; it serves no API request and needs no
//! token. Approvals, sessions and the console join it later.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::body::{self, Body};
use crate::limits;

/// Where the control listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; port 0 picks a free one.
    pub address: SocketAddr,
}

/// What the control listener reports on.
pub struct Reports {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Every reason why the gateway is not ready; empty when it is.
    pub not_ready: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// Starts the control plane's thread; returns the address it listens on.
pub fn start(
    settings: &Settings,
    reports: Reports,
    shutdown: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(settings.address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, Arc::new(reports), shutdown).await,
                    Err(error) => tracing::error!(%error, "the control listener did not start"),
                }
            });
        })?;
    Ok(address)
}

async fn serve(listener: TcpListener, reports: Arc<Reports>, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(tokio::sync::Semaphore::new(limits::CONTROL_CONNECTIONS_MAX));
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = upkeep.tick() => {
                reports.metrics.run_upkeep(); // without it histograms only grow
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control listener could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let reports = Arc::clone(&reports);
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = answer(request.method(), request.uri().path(), &reports);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::CONTROL_HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a control connection ended early");
            }
            drop(place);
        });
    }
    connections.close();
}

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

fn answer(method: &Method, path: &str, reports: &Reports) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is served here\n".to_owned(),
        );
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let reasons = (reports.not_ready)();
            if reasons.is_empty() {
                text(StatusCode::OK, "ok\n".to_owned())
            } else {
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("{}\n", reasons.join("\n")),
                )
            }
        }
        "/metrics" => text(StatusCode::OK, reports.metrics.render()),
        _ => text(
            StatusCode::NOT_FOUND,
            "served here: /healthz /readyz /metrics\n".to_owned(),
        ),
    }
}

fn text(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = code;
    // The Prometheus text format's own content type; plain text to everyone else.
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn readiness_lists_every_reason() {
        let reports = |reasons: &'static [&'static str]| Reports {
            metrics: Metrics::new().1,
            not_ready: Box::new(move || reasons.iter().map(|&reason| reason.to_owned()).collect()),
        };
        let ready = answer(&Method::GET, "/readyz", &reports(&[]));
        assert_eq!(ready.status(), StatusCode::OK);
        let not = answer(
            &Method::GET,
            "/readyz",
            &reports(&["no keys", "no cluster"]),
        );
        assert_eq!(not.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            answer(&Method::POST, "/metrics", &reports(&[])).status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert_eq!(
            answer(&Method::GET, "/api/v1/secrets", &reports(&[])).status(),
            StatusCode::NOT_FOUND
        );
    }
}
