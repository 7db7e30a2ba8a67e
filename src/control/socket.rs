//! The socket `control.sock` in the data directory: the sessions API for whoever may use that file,
//! which is the gateway's own user and root.

use std::convert::Infallible;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Reports;
use crate::limits;

/// The name of the socket in the data directory.
pub const FILE: &str = "control.sock";

/// The socket's file; it is removed with this.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, "the control socket is gone already");
        }
    }
}

/// Makes the socket with mode 0600, in the place of one that a crash left behind. It is made in a
/// folder that nobody else can enter, so that there is no moment in which others could connect.
pub(super) fn bind(data_directory: &Path) -> io::Result<(StdListener, Socket)> {
    let path = data_directory.join(FILE);
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        let message = "another gateway serves it; two cannot share a data directory";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    let folder = data_directory.join(".control");
    if let Err(error) = std::fs::remove_dir_all(&folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    DirBuilder::new().mode(0o700).create(&folder)?;
    let made = folder.join("s");
    let listener = StdListener::bind(&made)?;
    std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    std::fs::rename(&made, &path)?;
    std::fs::remove_dir(&folder)?;
    listener.set_nonblocking(true)?;
    Ok((listener, Socket(path)))
}

/// Serves the socket until `shutdown`.
pub(super) async fn serve(
    listener: StdListener,
    reports: Arc<Reports>,
    shutdown: CancellationToken,
) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the control socket is not served");
            return;
        }
    };
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits::CONTROL_CONNECTIONS_MAX));
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            connections.spawn(connection(stream, Arc::clone(&reports), place));
        }
    }
    connections.close();
}

async fn connection(stream: UnixStream, reports: Arc<Reports>, _place: OwnedSemaphorePermit) {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let answer = service_fn(move |request: Request<Incoming>| {
        let reports = Arc::clone(&reports);
        async move { Ok::<_, Infallible>(super::route_local(request, uid, &reports).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::CONTROL_HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the control socket ended early");
    }
}
