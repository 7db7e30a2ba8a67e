//! Readiness: which clusters can be reached is known without traffic.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::support::process::Process;
use crate::support::world::{Caller, Kubectl, Options, Workshop, World};

/// An API server that is there and is asked nothing. Gone when dropped.
fn come_up(workshop: &Workshop, address: SocketAddr) -> DropGuard {
    let tls = workshop.ca.server_config(&["127.0.0.1"], &["h2"]).unwrap();
    let gone = CancellationToken::new();
    let until = gone.clone();
    let listener = workshop
        .runtime()
        .block_on(TcpListener::bind(address))
        .unwrap();
    let accept = async move {
        let tls = TlsAcceptor::from(tls);
        while let Ok((tcp, _)) = listener.accept().await {
            drop(tls.accept(tcp).await);
        }
    };
    TaskTracker::new().spawn_on(
        async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = accept => {}
            }
        },
        workshop.runtime(),
    );
    gone.drop_guard()
}

/// `/readyz`: its text and, on the last line, its code.
fn readyz(world: &World) -> String {
    let url = format!("{}/readyz", world.control_url());
    let curl = Process::new(world.runtime(), "curl").args(["-sS", "-w", "%{http_code}", &url]);
    curl.run().stdout
}

#[track_caller]
fn becomes(world: &World, wanted: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while tokio::time::Instant::now() < deadline {
        if readyz(world) == wanted {
            return;
        }
        world.gateway().pause();
    }
    panic!("{:?} does not become {wanted:?}", readyz(world));
}

#[test]
fn e03_a_cluster_that_is_gone_or_back_is_noticed_without_traffic() {
    const AWAY: &str = "the API server of cluster `demo` cannot be reached\n503";
    let workshop = Arc::new(Workshop::new());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let options = Options {
        upstream: Some(format!("https://{address}")),
        unready: true,
        ..Options::default()
    };
    let world = World::start_with(Arc::clone(&workshop), &options);
    becomes(&world, AWAY);
    let counted = "portcullis_clusters{state=\"unreachable\"} 1";
    let metrics = world.control("/metrics");
    assert!(metrics.contains(counted));
    assert!(metrics.contains("portcullis_healthcheck{name=\"clusters\"} 0"));
    assert!(metrics.contains("portcullis_healthcheck{name=\"audit-log\"} 1"));
    let outcome = world.run(Kubectl::Current, Caller::OnCall, &["get", "pods"]);
    outcome.expect_code(1);

    let up = come_up(&workshop, address);
    becomes(&world, "ok\n200");
    let counted = "portcullis_clusters{state=\"usable\"} 1";
    let metrics = world.control("/metrics");
    assert!(metrics.contains(counted));
    assert!(metrics.contains("portcullis_healthcheck{name=\"clusters\"} 1"));
    drop(up);
    becomes(&world, AWAY);
}
