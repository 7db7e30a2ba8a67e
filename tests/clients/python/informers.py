"""Follows a namespace with the stock Python client: list, watch from there, list again when the version is gone.

Environment: KUBECONFIG; NAMESPACE; WATCH_SECONDS, how long one watch lasts; END, the name of the object after which
an informer is done; EVENTS, a file that gets every event as a line of JSON. Prints a line of JSON an informer: what it
counted and what its store holds. tests/e2e/informers.rs reads both, and tests/clients/kube-rs writes the same.
"""

import collections
import json
import os
import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

NAMESPACE = os.environ["NAMESPACE"]
WATCH_SECONDS = int(os.environ["WATCH_SECONDS"])
END = os.environ["END"]

lock = threading.Lock()
events_file = open(os.environ["EVENTS"], "w", encoding="utf-8")


class Informer:
    def __init__(self, resource, list_function):
        self.resource = resource
        self.list_function = list_function
        self.store = {}
        self.events = 0
        self.errors = collections.Counter()

    def take(self, kind, item):
        self.events += 1
        name = item["metadata"]["name"]
        if kind == "DELETED":
            self.store.pop(name, None)
        else:
            self.store[name] = item
        line = json.dumps({"resource": self.resource, "type": kind, "object": item})
        with lock:
            events_file.write(line + "\n")

    def list(self):
        """What is there, and its version. Raw, since the models of this client would hide fields."""
        answer = json.loads(self.list_function(NAMESPACE, _preload_content=False).data)
        self.store.clear()
        for item in answer["items"]:
            self.take("LISTED", item)
        return answer["metadata"]["resourceVersion"]

    def run(self):
        version = None
        while END not in self.store:
            try:
                version = version or self.list()
                watcher = watch.Watch()
                events = watcher.stream(
                    self.list_function, NAMESPACE, resource_version=version,
                    timeout_seconds=WATCH_SECONDS, allow_watch_bookmarks=True,
                )
                for event in events:
                    if event["type"] != "BOOKMARK":
                        self.take(event["type"], event["raw_object"])
                    if END in self.store:
                        break
                version = watcher.resource_version
            except ApiException as error:
                self.errors[f"{error.status} {str(error.reason).split(':')[0]}"] += 1
                version = None
            except Exception as error:  # an informer goes on; the test sees the count
                self.errors[f"{type(error).__name__}: {error}"] += 1
        report = {
            "informer": "python", "resource": self.resource,
            "events": self.events, "errors": self.errors, "store": self.store,
        }
        with lock:
            print(json.dumps(report), flush=True)


def main():
    config.load_kube_config()
    api = client.CoreV1Api()
    api.api_client.user_agent = "python"  # says who it is, so that requests can be counted
    informers = [
        Informer("secrets", api.list_namespaced_secret),
        Informer("configmaps", api.list_namespaced_config_map),
        Informer("pods", api.list_namespaced_pod),
    ]
    threads = [threading.Thread(target=informer.run) for informer in informers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events_file.close()


main()
