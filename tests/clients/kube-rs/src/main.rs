//! Drives the stock Rust client through the gateway and prints one JSON line a step.
//!
//! Environment: `KUBECONFIG`, `POD` (a running pod in `default`), `SECRET` (a secret of `default` with the key
//! `password`), `NEW_VALUE` (the value this program stores; it never prints it).
//! `tests/e2e/clients.rs` asserts on the lines; `tests/clients/python` and `tests/clients/node` print the same.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{
    AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Facts = Result<Value, Box<dyn Error>>;

#[tokio::main]
async fn main() {
    let client = Client::try_default()
        .await
        .expect("KUBECONFIG names a usable cluster");
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = std::env::var("POD").expect("POD");
    let secret = std::env::var("SECRET").expect("SECRET");
    let value = std::env::var("NEW_VALUE").expect("NEW_VALUE");

    step("list secrets", list_secrets(&secrets)).await;
    step("get secret", get_secret(&secrets, &secret)).await;
    step("watch secrets", watch_secrets(&secrets, &value)).await;
    step("patch secret", patch_secret(&secrets)).await;
    step(
        "replace with placeholder",
        replace_with_placeholder(&secrets),
    )
    .await;
    step("delete secret", delete_secret(&secrets)).await;
    step("list pods", list_pods(&pods)).await;
    step("exec", exec(&pods, &pod)).await;
    step("exec with stdin", exec_with_stdin(&pods, &pod)).await;
    step("follow logs", follow_logs(&pods, &pod)).await;
    step("forward port", forward_port(&pods, &pod)).await;
}

/// Runs one step and prints its line, whatever becomes of it.
async fn step(name: &str, work: impl Future<Output = Facts>) {
    let mut line = match tokio::time::timeout(Duration::from_secs(20), work).await {
        Ok(Ok(facts)) => facts,
        Ok(Err(error)) => json!({"error": error.to_string()}),
        Err(_) => json!({"error": "timed out"}),
    };
    line["step"] = json!(name);
    println!("{line}");
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    Some(String::from_utf8_lossy(&value.0).into_owned())
}

async fn list_secrets(secrets: &Api<Secret>) -> Facts {
    let list = secrets.list(&ListParams::default()).await?;
    let names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
    Ok(json!({"names": names}))
}

async fn get_secret(secrets: &Api<Secret>, name: &str) -> Facts {
    Ok(json!({"value": text(&secrets.get(name).await?, "password")}))
}

/// Watches from the list's version and creates a secret meanwhile: the event must arrive without a second one.
async fn watch_secrets(secrets: &Api<Secret>, value: &str) -> Facts {
    let version = secrets
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .unwrap_or_default();
    let mut events = secrets
        .watch(&WatchParams::default(), &version)
        .await?
        .boxed();
    let mut secret = Secret::default();
    secret.metadata.name = Some("made-by-kube-rs".to_owned());
    secret.data = Some([("password".to_owned(), ByteString(value.as_bytes().to_vec()))].into());
    let created = secrets.create(&PostParams::default(), &secret).await?;
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Added(seen) = event {
            return Ok(json!({
                "name": seen.name_any(),
                "value": text(&seen, "password"),
                "created": text(&created, "password"),
            }));
        }
    }
    Err("the watch ended before the event".into())
}

async fn patch_secret(secrets: &Api<Secret>) -> Facts {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"patched": "yes"}}}));
    let patched = secrets
        .patch("made-by-kube-rs", &PatchParams::default(), &patch)
        .await?;
    Ok(json!({"value": text(&patched, "password"), "label": patched.labels().get("patched")}))
}

async fn replace_with_placeholder(secrets: &Api<Secret>) -> Facts {
    let masked = secrets.get("made-by-kube-rs").await?;
    match secrets
        .replace("made-by-kube-rs", &PostParams::default(), &masked)
        .await
    {
        Err(kube::Error::Api(status)) => {
            Ok(json!({"code": status.code, "message": status.message}))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(json!({"code": 200})),
    }
}

async fn delete_secret(secrets: &Api<Secret>) -> Facts {
    secrets
        .delete("made-by-kube-rs", &DeleteParams::default())
        .await?;
    Ok(json!({"gone": secrets.get_opt("made-by-kube-rs").await?.is_none()}))
}

async fn list_pods(pods: &Api<Pod>) -> Facts {
    let names: Vec<String> = pods
        .list(&ListParams::default())
        .await?
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    Ok(json!({"names": names}))
}

async fn exec(pods: &Api<Pod>, pod: &str) -> Facts {
    let parameters = AttachParams::default()
        .stdin(false)
        .stdout(true)
        .stderr(true);
    let command = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    let mut process = pods.exec(pod, command, &parameters).await?;
    let status = process.take_status().ok_or("no status")?;
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (
        process.stdout().ok_or("no stdout")?,
        process.stderr().ok_or("no stderr")?,
    );
    tokio::try_join!(
        stdout.read_to_string(&mut out),
        stderr.read_to_string(&mut err)
    )?;
    let status = status.await.ok_or("the session ended without a status")?;
    let causes = status
        .details
        .and_then(|details| details.causes)
        .unwrap_or_default();
    let cause = causes
        .into_iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code: Option<i32> = cause.and_then(|cause| cause.message?.parse().ok());
    Ok(json!({"stdout": out, "stderr": err, "exit": code}))
}

async fn exec_with_stdin(pods: &Api<Pod>, pod: &str) -> Facts {
    let parameters = AttachParams::default()
        .stdin(true)
        .stdout(true)
        .stderr(false);
    let mut process = pods.exec(pod, ["head", "-n", "1"], &parameters).await?;
    let mut stdin = process.stdin().ok_or("no stdin")?;
    let mut stdout = process.stdout().ok_or("no stdout")?;
    stdin.write_all(b"typed\n").await?;
    let mut out = String::new();
    stdout.read_to_string(&mut out).await?;
    Ok(json!({"stdout": out}))
}

async fn follow_logs(pods: &Api<Pod>, pod: &str) -> Facts {
    let parameters = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let mut lines = pods.log_stream(pod, &parameters).await?.lines();
    let mut count = 0;
    while count < 3 && lines.try_next().await?.is_some() {
        count += 1;
    }
    Ok(json!({"lines": count}))
}

async fn forward_port(pods: &Api<Pod>, pod: &str) -> Facts {
    let mut forwarder = pods.portforward(pod, &[8080]).await?;
    let mut stream = forwarder.take_stream(8080).ok_or("no stream")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(json!({"status": answer.lines().next()}))
}
