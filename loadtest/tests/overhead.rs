//! `overhead` before the demo: the same kubeconfigs as before a real cluster.

use std::process::Command;

use anyhow::Context as _;
use clap::Parser as _;
use loadtest::demo::{Args, Demo};
use loadtest::harness::report::Report;
use loadtest::harness::run::overhead;
use loadtest::harness::scenario::Target;
use loadtest::harness::upstream::templates::Encoding;

fn free() -> std::io::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

async fn a_pod_that_logs(kubeconfig: &std::path::Path) -> anyhow::Result<String> {
    let endpoint = overhead::kubeconfig::endpoint(kubeconfig).await?;
    let mut client = endpoint.http1().await?;
    let path = "/api/v1/namespaces/default/pods";
    client.get(&endpoint, path, Encoding::Json).await?;
    let mut text = Vec::new();
    while client.read(|bytes| text.extend_from_slice(bytes)).await? {}
    let pods: serde_json::Value = serde_json::from_slice(&text)?;
    let pods = pods.pointer("/items").and_then(serde_json::Value::as_array);
    let mut names = pods
        .into_iter()
        .flatten()
        .filter_map(|pod| pod.pointer("/metadata/name")?.as_str());
    let name = names.find(|name| name.starts_with("web-"));
    Ok(name.context("no Pod of Deployment web")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_timed_on_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let [gateway, control, api_server, issuer] = [(); 4].map(|()| free().unwrap());
    let args = Args::parse_from([
        "demo",
        "--dir",
        folder.path().to_str().unwrap(),
        "--gateway-address",
        &gateway,
        "--control-address",
        &control,
        "--apiserver-address",
        &api_server,
        "--issuer-address",
        &issuer,
    ]);
    let demo = Demo::start(&args).await.unwrap();
    let pod = a_pod_that_logs(&folder.path().join("admin.kubeconfig"))
        .await
        .unwrap();
    let json = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command
        .args([
            "overhead",
            "--rounds",
            "2",
            "--repeat",
            "5",
            "--namespace",
            "default",
            "--pod",
            &pod,
            "--container",
            "web",
        ])
        .arg("--kubeconfig")
        .arg(folder.path().join("admin.kubeconfig"))
        .arg("--gateway-kubeconfig")
        .arg(folder.path().join("developer.kubeconfig"))
        .arg("--json")
        .arg(&json);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report.samples.len(), 4);
    for sample in &report.samples {
        for what in ["get", "list", "event", "echo", "line"] {
            let median = sample.get(&format!("{what}P50"));
            assert!(
                median.is_some_and(|median| median >= 0.0),
                "{what} of {}",
                sample.target
            );
        }
    }
    assert!(
        report
            .samples
            .iter()
            .any(|sample| sample.target == Target::Portcullis)
    );
    demo.stop().await;
}
