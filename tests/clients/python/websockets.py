"""Follows a watch of Secrets and the log of a pod over WebSocket, with the library under the stock Python client.

Environment: KUBECONFIG and POD (a running pod in `default`).
Prints one JSON line a stream; tests/e2e/watch.rs asserts on the lines.
"""

import base64
import json
import os

import websocket
from kubernetes import client, config
from kubernetes.stream.ws_client import get_websocket_url


def connect(path, *protocols):
    configuration = client.Configuration.get_default_copy()
    token = configuration.auth_settings()["BearerToken"]["value"]
    return websocket.create_connection(
        get_websocket_url(f"{configuration.host}/api/v1/namespaces/default/{path}"),
        header=[f"Authorization: {token}"],
        sslopt={"ca_certs": configuration.ssl_ca_cert},
        subprotocols=protocols or None,
        timeout=15,
    )


def messages(path, *protocols):
    """Every message up to the Close, with the kind of its frames."""
    connection = connect(path, *protocols)
    found = []
    while True:
        kind, data = connection.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            return found
        found.append((kind, data))


def watch():
    events = messages("secrets?watch=1&timeoutSeconds=1")
    text = all(kind == websocket.ABNF.OPCODE_TEXT for kind, _ in events)
    parsed = [json.loads(data) for _, data in events]
    passwords = [
        base64.b64decode(event["object"]["data"]["password"]).decode()
        for event in parsed
        if "password" in event["object"].get("data", {})
    ]
    return {"text": text, "types": [event["type"] for event in parsed], "passwords": passwords}


def log():
    path = f"pods/{os.environ['POD']}/log?tailLines=3"
    binary = messages(path, "binary.k8s.io")
    encoded = messages(path, "base64.binary.k8s.io")
    return {
        "first": [binary[0][1].decode(), encoded[0][1].decode()],
        "same": b"".join(data for _, data in binary) == b"".join(base64.b64decode(data) for _, data in encoded),
        "lines": b"".join(data for _, data in binary).decode().count("\n"),
    }


def refused():
    try:
        connect("secrets?watch=1", "one", "two")
    except websocket.WebSocketBadStatusException as error:
        return {"status": error.status_code}
    return {"status": 101}


def main():
    config.load_kube_config()
    for name, step in {"watch": watch, "log": log, "refused": refused}.items():
        try:
            facts = step()
        except Exception as error:  # every step gets its line
            facts = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"step": name, **facts}), flush=True)


main()
