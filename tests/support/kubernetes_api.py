"""A stand-in for Kubernetes and Dask's operator: as much of the API as Dask's client uses, pods as processes here.

>>> with serving(folder) as api: ...               # api.environment leads kr8s and the names of services to it

A ``DaskCluster`` that is created becomes a scheduler and workers with the commands of its manifest, on ports of this
machine; deleting it ends them. With ``pending=True`` no node has place for its pods.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes_manifests import Object, container, variables, words
from slurm_cluster import free_ports

PATH = re.compile(r"/(?:api/v1|apis/[\w.]+/v1)/namespaces/([\w-]+)/(\w+)(?:/([\w.-]+))?")
MISSING = {"kind": "Status", "code": 404, "message": "not found"}

NAMES = """
import socket
_real = socket.getaddrinfo
def getaddrinfo(host, *args, **more):
    return _real("127.0.0.1" if str(host).endswith(".volengine") else host, *args, **more)
socket.getaddrinfo = getaddrinfo
"""
"""What makes a service's name an address, as the DNS of a cluster does."""


class Api(ThreadingHTTPServer):
    """Objects by (plural, name), and (method, plural) of every request that is about one."""

    daemon_threads = True

    def __init__(self, folder: Path, pending: bool):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.pending = folder, pending
        self.objects: dict[tuple[str, str], Object] = {}
        self.seen: list[tuple[str, str]] = []
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.ports = free_ports(2)
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}],
            "users": [{"name": "u", "user": {"token": "x"}}],
            "contexts": [{"name": "k", "context": {"cluster": "c", "user": "u", "namespace": "volengine"}}],
            "current-context": "k",
        }
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        (folder / "sitecustomize.py").write_text(NAMES)
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "PYTHONPATH": path}

    def operate(self, cluster: Object) -> None:
        """Do what the operator does with a new cluster."""
        cluster["status"] = {"phase": "Running"}
        if self.pending:
            return
        name, spec = cluster["metadata"]["name"], cluster["spec"]
        labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
        service = spec["scheduler"]["service"]
        assert service["selector"].items() <= labels.items(), "the service finds no pod"
        places = dict(zip(("8786", "8787"), map(str, self.ports), strict=True))
        self.processes[name] = [self._start(spec["scheduler"]["spec"], "scheduler", places)]
        ready = [{"type": what, "status": "True"} for what in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "conditions": ready, "containerStatuses": [{"state": {"running": {}}}]}
        self._add("pods", f"{name}-scheduler-0", labels, spec["scheduler"]["spec"], status)
        ports = [{**port, "port": int(places[str(port["port"])])} for port in service["ports"]]
        self._add("services", f"{name}-scheduler", labels, {**service, "clusterIP": "10.0.0.1", "ports": ports}, {})
        self._add("daskworkergroups", f"{name}-default", labels, {"cluster": name, "worker": spec["worker"]}, {})
        address = {"tcp://x:8786": f"tcp://127.0.0.1:{self.ports[0]}", "8788": "0", "8789": "0"}
        for number in range(spec["worker"]["replicas"]):
            worker = f"{name}-worker-{number}"
            self.processes[name].append(self._start(spec["worker"]["spec"], worker, {**address, "w": worker}))

    def _start(self, pod: Object, name: str, places: dict[str, str]) -> subprocess.Popen[bytes]:
        box = container(pod)
        command = [places.get(word, word) for word in words(box)]
        command = [word.replace(":8787", f"127.0.0.1:{self.ports[1]}") for word in command]
        command = [str(self.folder) if word == "/tmp" else word for word in command]
        assert command[0] == "dask"
        program = [sys.executable, "-m", f"distributed.cli.dask_{command[1]}", *command[2:]]
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(program, env={**os.environ, **variables(box)}, stdout=log, stderr=log)

    def _add(self, plural: str, name: str, labels: dict[str, str], spec: Object, status: Object) -> None:
        metadata = {"name": name, "namespace": "volengine", "labels": labels}
        self.objects[plural, name] = {"metadata": metadata, "spec": spec, "status": status}

    def end(self, name: str) -> None:
        for process in self.processes.pop(name, []):
            process.terminate()
            process.wait()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait for the client to confirm the head
    server: Api

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.rstrip("/") == "/version":
            return self.answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        match = PATH.fullmatch(url.path)
        if match is None:
            return self.answer(404, MISSING)
        _, plural, name = match.groups()
        known = self.server.objects
        self.server.seen.append(("GET", plural))
        if name:
            found = known.get((plural, name))
            return self.answer(200 if found else 404, found or MISSING)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        labels, fields = (_pairs(asked.get(kind, "")) for kind in ("labelSelector", "fieldSelector"))
        items = [
            one
            for (kind, _), one in known.items()
            if kind == plural
            and labels.items() <= one["metadata"].get("labels", {}).items()
            and fields.get("metadata.name", one["metadata"]["name"]) == one["metadata"]["name"]
        ]
        return self.answer(200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match = PATH.fullmatch(urlsplit(self.path).path)
        assert match is not None
        self.server.seen.append(("POST", match[2]))
        self.server.objects[match[2], body["metadata"]["name"]] = body
        if match[2] == "daskclusters":
            self.server.operate(body)
        self.answer(201, body)

    def do_DELETE(self) -> None:
        match = PATH.fullmatch(urlsplit(self.path).path)
        assert match is not None
        self.server.seen.append(("DELETE", match[2]))
        found = self.server.objects.pop((match[2], match[3]), None)
        self.server.end(match[3])
        self.answer(200 if found else 404, found or MISSING)


def _pairs(selector: str) -> dict[str, str]:
    return dict(part.replace("==", "=").split("=") for part in selector.split(",") if part)


@contextmanager
def serving(folder: Path, pending: bool = False) -> Iterator[Api]:
    """An API in a thread of this process, for as long as the context lasts; its pods end with it."""
    folder.mkdir(parents=True, exist_ok=True)
    api = Api(folder, pending)
    thread = threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.shutdown()
        api.server_close()
        thread.join()
        for name in list(api.processes):
            api.end(name)
