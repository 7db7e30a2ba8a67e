//! `nodes/NAME/proxy`: exec, attach and port-forward as a kubelet serves them, at paths and with parameters
//! of its own (`pkg/kubelet/server/server.go`).

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use portcullis::gateway::body::Body;

use super::{Call, subresource};
use crate::apiserver::status::ApiError;

/// Answers a request below `/proxy/`.
pub(super) async fn answer(
    call: Call,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let tail = call
        .info
        .path
        .split_once("/proxy/")
        .map_or("", |(_, tail)| tail);
    let parts: Vec<&str> = tail.trim_end_matches('/').split('/').collect();
    let (subresource, namespace, pod, container) = match parts.as_slice() {
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            ("exec", *namespace, *pod, *container)
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            ("attach", *namespace, *pod, *container)
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            ("portforward", *namespace, *pod, "")
        }
        _ => return Err(ApiError::no_path()),
    };
    let found = call.state.store.get("pods", namespace, pod);
    let here = |object: &serde_json::Value| {
        object
            .pointer("/spec/nodeName")
            .and_then(|name| name.as_str())
            == Some(node(&call))
    };
    let pod = found
        .filter(|object| here(&object.value))
        .ok_or_else(|| ApiError::new(404, "NotFound", "pod does not exist"))?;
    let query = query_of_pod(request.uri().query().unwrap_or_default(), container);
    *request.uri_mut() = Uri::builder()
        .path_and_query(format!("/{subresource}?{query}"))
        .build()
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(subresource::on_node(&call, &pod, request).await)
}

/// The node of `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
fn node(call: &Call) -> &str {
    let parts: Vec<&str> = call.info.name.split(':').collect();
    match parts.as_slice() {
        [name] | [name, _] | [_, name, _] => name,
        _ => "",
    }
}

/// A kubelet's query in the words of the pod's subresources. Nothing but `1` is yes.
fn query_of_pod(query: &str, container: &str) -> String {
    let mut words = vec![format!("container={container}")];
    for pair in query.split('&') {
        words.push(match pair.split_once('=') {
            Some(("input", "1")) => "stdin=true".to_owned(),
            Some(("output", "1")) => "stdout=true".to_owned(),
            Some(("error", "1")) => "stderr=true".to_owned(),
            Some(("tty", "1")) => "tty=true".to_owned(),
            Some(("port", ports)) => format!("ports={ports}"),
            Some(("command", _)) => pair.to_owned(),
            _ => continue,
        });
    }
    words.join("&")
}
