"""Opens sessions at a kubelet, through nodes/NAME/proxy, with the streams of the stock Python client.

Environment: KUBECONFIG, NODE, POD and CONTAINER (a running pod in `default`).
Prints one JSON line a step; tests/e2e/kubelet.rs asserts on the lines.
"""

import json
import os
from urllib.parse import urlencode

from kubernetes import client, config
from kubernetes.stream.ws_client import PortForward, WSClient, create_websocket, get_websocket_url

NODE = os.environ["NODE"]
TARGET = f"default/{os.environ['POD']}"
CONTAINER = os.environ["CONTAINER"]


def parameters(path, query, **headers):
    configuration = client.Configuration.get_default_copy()
    url = f"{configuration.host}/api/v1/nodes/{NODE}/proxy/{path}?{urlencode(query)}"
    token = configuration.auth_settings()["BearerToken"]["value"]
    return configuration, get_websocket_url(url), {"authorization": token, **headers}


def exec_command():
    query = [("command", word) for word in ("sh", "-c", "echo out; echo err >&2; exit 7")]
    path = f"exec/{TARGET}/{CONTAINER}"
    session = WSClient(*parameters(path, [*query, ("output", "1"), ("error", "1")]), capture_all=True)
    session.run_forever(timeout=15)
    return {"stdout": session.read_stdout(), "stderr": session.read_stderr(), "exit": session.returncode}


def attach():
    """Reads a line of the container's main process and leaves."""
    session = WSClient(*parameters(f"attach/{TARGET}/{CONTAINER}", {"output": "1"}), capture_all=True)
    line = session.readline_stdout(timeout=15)
    session.close()
    return {"line": line}


def forward_port():
    query = {"port": "8080"}
    protocol = {"sec-websocket-protocol": "v4.channel.k8s.io"}
    forward = PortForward(create_websocket(*parameters(f"portForward/{TARGET}", query, **protocol)), [8080])
    socket = forward.socket(8080)
    socket.settimeout(15)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
    answer = b""
    while received := socket.recv(4096):
        answer += received
    socket.close()
    return {"status": answer.split(b"\r\n")[0].decode()}


def main():
    config.load_kube_config()
    for name, step in {"exec": exec_command, "attach": attach, "forward port": forward_port}.items():
        try:
            facts = step()
        except Exception as error:  # every step gets its line
            facts = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"step": name, **facts}), flush=True)
    os._exit(0)  # the port-forward thread of the client may linger


main()
