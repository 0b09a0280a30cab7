"""A real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, as processes.

Everything lies below one folder and ends with it. RBAC decides who may do what, credentials are certificates of an authority of
the folder's own, and kube-apiserver asks kubelets for a certificate of that authority, too. There is no kubelet: the only nodes
are gateways.

No package installs these programs; `make test-cluster` builds them from Debian's source package (`kubernetes_programs.sh`).
"""

import base64
import json
import os
import random
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from cloud import issuing
from hedgerow.stack import free_port

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
FOLDER = "HEDGEROW_KUBERNETES"
"""The environment variable that names the folder of the programs."""
BUILT = Path(".hedgerow/cache/kubernetes")
"""Where they are built, below the project."""
START_S = 90.0
STOP_S = 20.0
_LIFE = timedelta(days=1)
_PROJECT = Path(__file__).parents[2]


def programs() -> dict[str, str]:
    """Where the programs are; those that are not found are left out."""
    named = os.environ.get(FOLDER)
    folders = [*([named] if named else []), str(_PROJECT / BUILT), os.environ.get("PATH", os.defpath)]
    found = {name: shutil.which(name, path=os.pathsep.join(folders)) for name in PROGRAMS}
    return {name: path for name, path in found.items() if path is not None}


def lacking() -> str:
    """Which programs are missing; empty when all are there."""
    found = programs()
    return ", ".join(name for name in PROGRAMS if name not in found)


class KubernetesFailed(Exception):
    """A program that does not come up, or the API's refusal; the text has its last words."""


class KubernetesCluster:
    """One control plane, below a folder."""

    def __init__(self, folder: Path, options: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`options` are further ones, by program."""
        self.folder = folder
        self._programs = programs()
        self._options = dict(options or {})
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._authority: issuing.Issued | None = None
        # Below the system's ephemeral range: a client that retries while nobody listens could connect to itself there.
        self.port, self._etcd, self._peer = (free_port(p) for p in random.sample(range(20_000, 32_000), 3))
        self.url = f"https://127.0.0.1:{self.port}"
        self.admin = folder / "admin.kubeconfig"
        """Rights to everything: a person's kubeconfig."""
        self.ca = folder / "ca.crt"
        """Of the API server's certificate, and of the one that it shows to kubelets."""

    @property
    def version(self) -> str:
        """As kube-apiserver says it: `1.20.2`."""
        said = subprocess.run(
            [self._programs["kube-apiserver"], "--version"], capture_output=True, text=True, timeout=30
        )
        found = re.search(r"v(\d+\.\d+\.\d+)", said.stdout)
        return found[1] if found else ""

    def start(self) -> None:
        """Start everything, and return when pods can be made in the default namespace. Raises KubernetesFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._credentials()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        try:
            self.run("etcd")
            self.run("kube-apiserver")
            self.until_ready()
            self.run("kube-controller-manager")
            self.run("kube-scheduler")
            self._until(lambda: self.call("GET", account)[0] == 200, "kube-controller-manager")
        except KubernetesFailed:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, the last first."""
        for name in reversed(PROGRAMS):
            self.end(name)

    def run(self, name: str) -> None:
        """Start one program, unless it runs."""
        if name in self._running:
            return
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [self._programs[name], *self._arguments(name), *self._options.get(name, ())]
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one program by a signal, and wait; nothing if it does not run."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def signal(self, name: str, number: int) -> None:
        """Send a program a signal: SIGSTOP makes it hang, SIGCONT go on."""
        self._running[name].send_signal(number)

    def until_ready(self) -> None:
        """Wait until the API server says that it is ready. Raises KubernetesFailed."""
        self._until(lambda: self.call("GET", "/readyz")[0] == 200, "kube-apiserver")

    def call(self, method: str, path: str, body: Any = None, timeout_s: float = 10.0) -> tuple[int, Any]:
        """One request with all rights: status and what is answered; status 0 without an answer."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
        content = None if body is None else json.dumps(body).encode()
        patch = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(self.url + path, content, {"Content-Type": patch}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:
                status, said = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, said = error.code, error.read()
        except OSError:
            return 0, None
        try:
            return status, json.loads(said)
        except ValueError:
            return status, said

    def account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with the token of a service account: its rights and no others. Raises KubernetesFailed."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        status, answer = self.call("POST", path, asked)
        if status != 201:
            raise KubernetesFailed(f"no token for {namespace}/{name}: {status} {answer}")
        kubeconfig = self.folder / f"{namespace}-{name}.kubeconfig"
        self._kubeconfig(kubeconfig, {"token": answer["status"]["token"]})
        return kubeconfig

    def authority(self) -> issuing.Issued:
        """What signs the certificates that the API server believes, kubelets' among them."""
        assert self._authority is not None, "it was not started"
        return self._authority

    def log(self, name: str) -> str:
        """What a program has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _until(self, condition: Any, name: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            ended = [program for program, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                culprit = ended[0] if ended else name
                raise KubernetesFailed(f"{culprit} does not come up:\n{self.log(culprit)[-3000:]}")
            time.sleep(0.05)

    def _credentials(self) -> None:
        if self._authority is not None:
            return
        authority = self._authority = issuing.authority("kubernetes", _LIFE)
        self._write("ca.crt", authority.certificate_pem)
        hosts = [issuing.general_name(host) for host in ("127.0.0.1", "localhost", "kubernetes.default.svc")]
        certificates = {
            "apiserver": issuing.issue(authority, "kube-apiserver", issuing.SERVER, _LIFE, hosts=hosts),
            "accounts": issuing.issue(authority, "service-accounts", issuing.CLIENT, _LIFE),
            **{
                name: issuing.issue(authority, called, issuing.CLIENT, _LIFE, groups=groups)
                for name, called, groups in (
                    ("admin", "kubernetes-admin", ["system:masters"]),
                    ("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"]),
                    ("controller-manager", "system:kube-controller-manager", []),
                    ("scheduler", "system:kube-scheduler", []),
                )
            },
        }
        for name, made in certificates.items():
            self._write(f"{name}.crt", made.certificate_pem)
            self._write(f"{name}.key", made.key_pem)
        for name in ("controller-manager", "scheduler", "admin"):
            files = {"client-certificate": f"{name}.crt", "client-key": f"{name}.key"}
            user = {f"{key}-data": _in_base64(self.folder / file) for key, file in files.items()}
            self._kubeconfig(self.folder / f"{name}.kubeconfig", user)

    def _kubeconfig(self, path: Path, user: dict[str, str]) -> None:
        cluster = {"server": self.url, "certificate-authority-data": _in_base64(self.ca)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "user"}}],
            "current-context": "real",
        }
        self._write(path.name, yaml.safe_dump(content).encode())

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.touch(0o600)
        path.write_bytes(content)

    def _arguments(self, name: str) -> list[str]:
        return {"etcd": self._of_etcd, "kube-apiserver": self._of_apiserver}.get(
            name, lambda: self._of_controller(name)
        )()

    def _of_etcd(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            *(f"--{of}-client-urls={client}" for of in ("listen", "advertise")),
            *(f"--{of}-peer-urls={peer}" for of in ("listen", "initial-advertise")),
            f"--initial-cluster=default={peer}",
        ]

    def _of_apiserver(self) -> list[str]:
        file = self.folder.joinpath
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}"),
            "--endpoint-reconciler-type=none",  # loopback is no address of a Service
            *(f"--cert-dir={self.folder}", f"--client-ca-file={self.ca}"),
            *(f"--tls-cert-file={file('apiserver.crt')}", f"--tls-private-key-file={file('apiserver.key')}"),
            f"--kubelet-client-certificate={file('kubelet-client.crt')}",
            f"--kubelet-client-key={file('kubelet-client.key')}",
            f"--kubelet-certificate-authority={self.ca}",
            "--kubelet-preferred-address-types=InternalDNS,InternalIP,Hostname",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={file('accounts.crt')}",
            f"--service-account-signing-key-file={file('accounts.key')}",
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            *("--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true", "--profiling=false"),
        ]

    def _of_controller(self, name: str) -> list[str]:
        short = name.removeprefix("kube-")
        arguments = [f"--kubeconfig={self.folder / short}.kubeconfig", "--leader-elect=false", "--secure-port=0"]
        if tuple(map(int, self.version.split(".")[:2])) < (1, 24):
            arguments.append("--port=0")  # the old one, without TLS
        if short == "controller-manager":
            arguments += ["--use-service-account-credentials=true", f"--root-ca-file={self.ca}"]
            arguments.append(f"--service-account-private-key-file={self.folder / 'accounts.key'}")
        return arguments


def _in_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
