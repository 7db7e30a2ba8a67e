"""Follows a watch of Secrets and the log of a pod over WebSocket, with the library under the stock Python client.

Environment: KUBECONFIG and POD (a running pod in `default`).
Prints one JSON line a stream; tests/e2e/watch.rs asserts on the lines. Or, as arguments:

    follow PATH   prints one JSON line an event, and how the stream ended
    stall PATH    reads nothing of the stream until its own input ends
"""

import base64
import json
import os
import socket
import sys

import websocket
from kubernetes import client, config
from kubernetes.stream.ws_client import get_websocket_url


def connect(path, *protocols, sockopt=()):
    configuration = client.Configuration.get_default_copy()
    token = configuration.auth_settings()["BearerToken"]["value"]
    return websocket.create_connection(
        get_websocket_url(f"{configuration.host}/api/v1/namespaces/default/{path}"),
        header=[f"Authorization: {token}"],
        sslopt={"ca_certs": configuration.ssl_ca_cert},
        subprotocols=protocols or None,
        sockopt=sockopt,
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
    for _ in range(10):
        binary = messages(path, "binary.k8s.io")
        encoded = messages(path, "base64.binary.k8s.io")
        text = b"".join(data for _, data in binary)
        same = text == b"".join(base64.b64decode(data) for _, data in encoded)
        # The pod may have printed another line in between.
        if same:
            break
    return {
        "first": [binary[0][1].decode(), encoded[0][1].decode()],
        "same": same,
        "lines": text.decode().count("\n"),
    }


def refused():
    try:
        connect("secrets?watch=1", "one", "two")
    except websocket.WebSocketBadStatusException as error:
        return {"status": error.status_code}
    return {"status": 101}


def follow(path):
    connection = connect(path)
    connection.settimeout(60)
    while True:
        kind, data = connection.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            print(json.dumps({"closed": int.from_bytes(data[:2], "big")}), flush=True)
            return
        event = json.loads(data)
        found = event["object"]
        line = {"type": event["type"], "name": found["metadata"].get("name"), "code": found.get("code")}
        print(json.dumps(line), flush=True)


def stall(path):
    connect(path, sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)])
    print("connected", flush=True)
    sys.stdin.read()


def main():
    config.load_kube_config()
    if len(sys.argv) > 1:
        {"follow": follow, "stall": stall}[sys.argv[1]](sys.argv[2])
        return
    for name, step in {"watch": watch, "log": log, "refused": refused}.items():
        try:
            facts = step()
        except Exception as error:  # every step gets its line
            facts = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"step": name, **facts}), flush=True)


main()
