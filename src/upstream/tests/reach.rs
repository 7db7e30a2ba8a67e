use super::*;
use crate::limits;

async fn become_of(upstream: &Upstream, wanted: &[&str]) {
    let reached = async {
        while upstream.unusable() != wanted {
            tokio::task::yield_now().await;
        }
    };
    let within = limits::UPSTREAM_REACH_POLL * 3;
    let reached = tokio::time::timeout(within, reached).await;
    assert!(reached.is_ok(), "{:?}", upstream.unusable());
}

#[tokio::test]
async fn e03_one_cluster_of_two_that_is_away_is_named_and_the_other_stays_usable() {
    let ca = Ca::new().unwrap();
    let tls = ca.server_config(&["localhost"], &["h2"]).unwrap();
    let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("token"), "gateway-token").unwrap();
    std::fs::write(file("ca.crt"), ca.pem()).unwrap();
    let cluster = |name: &str, listener: &TcpListener| {
        let port = listener.local_addr().unwrap().port();
        write_kubeconfig(&file(name), &format!("https://localhost:{port}"));
        ClusterSettings {
            name: name.to_owned(),
            source: Source::Kubeconfig {
                file: file(name),
                context: None,
            },
        }
    };
    let settings = Settings {
        clusters: vec![cluster("away", &away), cluster("there", &there)],
    };
    drop(away);
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let (metrics, rendering) = Metrics::new();
    let upstream = Upstream::start(settings, &tasks, &metrics, &shutdown).unwrap();
    assert!(!upstream.is_usable(), "nothing was reached yet");
    assert_eq!(upstream.unusable().len(), 2);

    upstream.look(&tasks, &shutdown);
    let accept = async {
        while let Ok((tcp, _)) = there.accept().await {
            drop(TlsAcceptor::from(Arc::clone(&tls)).accept(tcp).await);
        }
    };
    let known = become_of(
        &upstream,
        &["the API server of cluster `away` cannot be reached"],
    );
    tokio::select! {
        () = known => {}
        () = accept => panic!("the listener is gone"),
    }
    assert!(upstream.is_usable());
    let text = rendering.render();
    for counted in ["usable\"} 1", "unreachable\"} 1", "rejected\"} 0"] {
        assert!(text.contains(counted), "{text}");
    }

    // A look is no word on the credential, and a look that fails is one on everything.
    let reach = |name: &str| &upstream.clusters.get(name).unwrap().reach;
    reach("there").rejected();
    assert_eq!(
        upstream.unusable()[1],
        "cluster `there` does not accept the gateway's credential"
    );
    drop(there);
    let both = ["away", "there"]
        .map(|name| format!("the API server of cluster `{name}` cannot be reached"));
    become_of(&upstream, &[&both[0], &both[1]]).await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
}
